//! One stream: the whole answer at once, and anew whenever it differs (SPIFFE Workload API, section 4.3). It is made only
//! when the client takes it, so a client that does not read costs one message of memory.

use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tonic::Status;

/// What a client is told that may have nothing.
pub(super) const NOBODY: &str = "the workload has no identity at present";
/// How long a first certificate may take before a client is told that there is none.
const FIRST: Duration = Duration::from_secs(5);
/// How often the clock is read while nothing changes: what expires must be taken back, and wall clocks jump.
const LOOK: Duration = Duration::from_secs(5);

/// The messages of one stream.
pub(super) type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// What a stream tells, and what wakes it.
pub(super) struct Watching<M> {
    /// The answer of this moment; `None` when the workload may have nothing.
    pub(super) look: Box<dyn Fn() -> Option<M> + Send>,
    /// Changes of what is looked at.
    pub(super) changes: Vec<watch::Receiver<u64>>,
    /// Its place among the streams of the socket.
    pub(super) _place: OwnedSemaphorePermit,
}

impl<M: Clone + PartialEq + Send + Sync + 'static> Watching<M> {
    /// Begins to tell. The stream ends with `PERMISSION_DENIED` when nothing comes in time, or what was given has to be
    /// taken back (SPIFFE Workload API, sections 5.2.1 and 5.2.2).
    pub(super) fn messages(self) -> Messages<M> {
        let state = Some((self, None::<M>, Instant::now() + FIRST));
        Box::pin(futures_util::stream::unfold(state, |state| async move {
            let (mut watching, told, patience) = state?;
            Some(match watching.next(told.as_ref(), patience).await {
                Some(message) => (Ok(message.clone()), Some((watching, Some(message), patience))),
                None => (Err(Status::permission_denied(NOBODY)), None),
            })
        }))
    }

    /// The next answer that differs from what was told; `None` when there is none any more, or none in time.
    async fn next(&mut self, told: Option<&M>, patience: Instant) -> Option<M> {
        loop {
            // Marked as seen before the look: what changes during it wakes the next one.
            self.changes.iter_mut().for_each(watch::Receiver::mark_unchanged);
            match (self.look)() {
                Some(message) if told != Some(&message) => return Some(message),
                None if told.is_some() || Instant::now() >= patience => return None,
                Some(_) | None => {}
            }
            let until = Instant::now() + LOOK;
            let until = if told.is_some() { until } else { until.min(patience) };
            let changed = self.changes.iter_mut().map(|changes| Box::pin(changes.changed()));
            let changed = futures_util::future::select_all(changed);
            tokio::select! {
                // A source that is gone changes no more; the clock still goes on.
                (changed, ..) = changed => if changed.is_err() { tokio::time::sleep_until(until).await },
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }
}
