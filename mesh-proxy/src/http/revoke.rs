//! What runs because of something that may be withdrawn, so that its withdrawal can end it: exchanges because of
//! policies, connections because of trust. One index per worker and kind.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::facts::Facts;

/// What runs, each with the facts that it was admitted for.
pub(crate) struct Streams<F = Facts> {
    running: RefCell<BTreeMap<u64, Running<F>>>,
    next: Cell<u64>,
}

type Running<F> = (Rc<F>, Rc<Signal>);

impl<F> Default for Streams<F> {
    fn default() -> Self {
        Self { running: RefCell::default(), next: Cell::default() }
    }
}

impl<F> fmt::Debug for Streams<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("running", &self.running.borrow().len()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Signal {
    revoked: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// The view of one that runs: it learns when access is withdrawn. Dropping it takes it out of the index.
#[derive(Debug)]
pub(crate) struct Watch<F = Facts> {
    signal: Rc<Signal>,
    place: u64,
    streams: Rc<Streams<F>>,
}

impl<F> Streams<F> {
    /// Adds one that runs.
    pub(crate) fn watch(self: &Rc<Self>, facts: &Rc<F>) -> Watch<F> {
        let place = self.next.get();
        self.next.set(place + 1);
        let signal = Rc::new(Signal::default());
        self.running.borrow_mut().insert(place, (Rc::clone(facts), Rc::clone(&signal)));
        Watch { signal, place, streams: Rc::clone(self) }
    }

    /// Ends everything that is no longer allowed. Returns how many.
    pub(crate) fn recheck(&self, allowed: impl Fn(&F) -> bool) -> usize {
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

impl<F> Watch<F> {
    /// Whether access is withdrawn.
    pub(crate) fn is_revoked(&self) -> bool {
        self.signal.revoked.get()
    }

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

impl<F> Drop for Watch<F> {
    fn drop(&mut self) {
        self.streams.running.borrow_mut().remove(&self.place);
    }
}
