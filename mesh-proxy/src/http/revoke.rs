//! Exchanges that run, so that a policy which comes into force can end them. One index per worker.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::facts::{Facts, SharedFacts};

/// The running exchanges that were authorized here.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    running: RefCell<BTreeMap<u64, (SharedFacts, Rc<Signal>)>>,
    next: Cell<u64>,
}

#[derive(Debug, Default)]
struct Signal {
    revoked: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// One exchange's view: it learns when access is withdrawn. Dropping it takes the exchange out of the index.
#[derive(Debug)]
pub(crate) struct Watch {
    signal: Rc<Signal>,
    place: u64,
    streams: Rc<Streams>,
}

impl Streams {
    /// Adds an exchange.
    pub(crate) fn watch(self: &Rc<Self>, facts: &SharedFacts) -> Watch {
        let place = self.next.get();
        self.next.set(place + 1);
        let signal = Rc::new(Signal::default());
        self.running.borrow_mut().insert(place, (Rc::clone(facts), Rc::clone(&signal)));
        Watch { signal, place, streams: Rc::clone(self) }
    }

    /// Ends every exchange that is no longer allowed. Returns how many.
    pub(crate) fn recheck(&self, allowed: impl Fn(&Facts) -> bool) -> usize {
        let running = self.running.borrow();
        let denied = running.values().filter(|(facts, signal)| !signal.revoked.get() && !allowed(facts));
        let signals: Vec<_> = denied.map(|(_, signal)| Rc::clone(signal)).collect();
        drop(running);
        for signal in &signals {
            signal.revoked.set(true);
            if let Some(waker) = signal.waker.borrow_mut().take() {
                waker.wake();
            }
        }
        signals.len()
    }
}

impl Watch {
    /// Ready once access is withdrawn.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.signal.revoked.get() {
            return Poll::Ready(());
        }
        let mut waker = self.signal.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until access is withdrawn.
    pub(crate) async fn revoked(&mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.streams.running.borrow_mut().remove(&self.place);
    }
}
