//! Clients that have proven no identity, from the moment they connect: how many there may be, and for how long. A new
//! one takes the place of the oldest, so that whoever keeps places occupied keeps nobody out who is quick.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};

/// Everyone without a proven identity on one port. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Strangers {
    most: usize,
    present: Arc<Mutex<Present>>,
}

#[derive(Debug, Default)]
struct Present {
    next: u64,
    /// In the order of their coming. Dropping an entry sends its owner away.
    stays: BTreeMap<u64, oneshot::Sender<()>>,
}

/// Why a stranger has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Over {
    #[error("too many clients without an identity are connected; the oldest go first")]
    Crowded,
    #[error("a client without an identity took too long")]
    Late,
}

impl Strangers {
    /// At most this many at a time.
    pub(super) fn new(most: usize) -> Self {
        Self { most, present: Arc::default() }
    }

    /// Takes one more in for this long, and sends the oldest away if there are too many.
    pub(super) fn admit(&self, long: Duration) -> Stay {
        let (place, told) = oneshot::channel();
        let mut present = self.present();
        let number = present.next;
        present.next += 1;
        present.stays.insert(number, place);
        if present.stays.len() > self.most {
            present.stays.pop_first();
        }
        drop(present);
        Stay { number, strangers: self.clone(), told, late: Box::pin(sleep(long)) }
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stranger's place, given up when dropped. As a future it ends when the stranger has to go.
#[derive(Debug)]
pub(super) struct Stay {
    number: u64,
    strangers: Strangers,
    told: oneshot::Receiver<()>,
    late: Pin<Box<Sleep>>,
}

impl Stay {
    /// Lets it stay for this long from now on.
    pub(super) fn extend(&mut self, long: Duration) {
        self.late.as_mut().reset(Instant::now() + long);
    }
}

impl Future for Stay {
    type Output = Over;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Over> {
        if Pin::new(&mut self.told).poll(cx).is_ready() {
            return Poll::Ready(Over::Crowded);
        }
        self.late.as_mut().poll(cx).map(|()| Over::Late)
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.strangers.present().stays.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn one_more_than_there_may_be_sends_the_oldest_away() {
        let strangers = Strangers::new(2);
        let (oldest, second) = (strangers.admit(LONG), strangers.admit(LONG));
        drop(second);
        let second = strangers.admit(LONG);
        let third = strangers.admit(LONG);
        assert_eq!(oldest.await, Over::Crowded);
        drop(second);
        assert_eq!(third.await, Over::Late, "nobody came after it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stay_can_be_extended() {
        let strangers = Strangers::new(2);
        let mut stay = strangers.admit(LONG);
        let began = Instant::now();
        stay.extend(3 * LONG);
        assert_eq!(stay.await, Over::Late);
        assert!(began.elapsed() >= 3 * LONG, "{:?}", began.elapsed());
    }
}
