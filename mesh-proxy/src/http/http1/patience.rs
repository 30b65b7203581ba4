//! How long a client is waited for: between two requests, and within a head. One timer serves both, and it is
//! moved only when it fires too early or would fire too late.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The patience with one client.
#[derive(Debug)]
pub(super) struct Patience {
    idle: Duration,
    head: Duration,
    /// When the wait began, and when the head did.
    since: Instant,
    begun: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn new(idle: Duration, head: Duration) -> Self {
        Self { idle, head, since: Instant::now(), begun: None, timer: None }
    }

    /// From now on a head is waited for no longer than this.
    pub(super) fn shorten(&mut self, idle: Duration) {
        self.idle = self.idle.min(idle);
    }

    /// A wait for a head begins.
    pub(super) fn renew(&mut self) {
        (self.since, self.begun) = (Instant::now(), None);
    }

    /// Ready when the wait was too long. `begun`: some of the head is there.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, begun: bool) -> Poll<()> {
        let due = match begun {
            true => *self.begun.get_or_insert_with(Instant::now) + self.head,
            false => self.since + self.idle,
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}
