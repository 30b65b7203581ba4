//! Draining: how a proxy, or one of its listeners, ends without losing what it has begun.
//!
//! [`Plan`] is the state machine, without IO; [`Drain`] runs it on tokio's timers and [`Signal`] tells
//! connections of it. What each protocol does in a phase lives with that protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// The phases of a drain, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Everything is served.
    Serving,
    /// Readiness is off; everything is still served, so that clients have time to go elsewhere.
    LameDuck,
    /// No new connections; HTTP asks its clients to leave, opaque connections run on.
    Closing,
    /// What is left is cut.
    Stopped,
}

/// How long the phases last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainTimes {
    /// From readiness off to the closing of listeners.
    pub lame_duck: Duration,
    /// From the beginning to the cut, at the latest.
    pub deadline: Duration,
}

impl Default for DrainTimes {
    fn default() -> Self {
        Self { lame_duck: Duration::from_secs(2), deadline: Duration::from_secs(30) }
    }
}

/// The state machine of one drain. Time is counted from its beginning.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    times: DrainTimes,
    phase: Phase,
}

impl Plan {
    /// A drain that begins now. A lame duck never outlives the deadline.
    pub fn begin(times: DrainTimes) -> Self {
        let lame_duck = times.lame_duck.min(times.deadline);
        Self { times: DrainTimes { lame_duck, ..times }, phase: Phase::LameDuck }
    }

    /// The phase after `elapsed`, while `active` connections are open. It never goes back.
    pub fn advance(&mut self, elapsed: Duration, active: usize) -> Phase {
        if self.phase == Phase::LameDuck && elapsed >= self.times.lame_duck {
            self.phase = Phase::Closing;
        } else if self.phase == Phase::Closing && (active == 0 || elapsed >= self.times.deadline) {
            self.phase = Phase::Stopped;
        }
        self.phase
    }

    /// When the phase changes next without anything else happening; `None` at the end.
    pub fn next_change(&self) -> Option<Duration> {
        match self.phase {
            Phase::Serving | Phase::LameDuck => Some(self.times.lame_duck),
            Phase::Closing => Some(self.times.deadline),
            Phase::Stopped => None,
        }
    }
}

#[derive(Debug, Default)]
struct Active {
    count: AtomicUsize,
    changed: Notify,
}

/// The owner's side: begins the drain and waits for its end.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
    active: Arc<Active>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { phase: watch::Sender::new(Phase::Serving), active: Arc::default() }
    }
}

impl Drain {
    /// What a connection or listener holds.
    pub fn signal(&self) -> Signal {
        Signal { phases: vec![self.phase.subscribe()], active: vec![Arc::clone(&self.active)] }
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Connections and accept loops that are still open.
    pub fn active(&self) -> usize {
        self.active.count.load(Ordering::Acquire)
    }

    /// Runs the drain to its end. Called again while it runs, both calls end with it.
    pub async fn run(&self, times: DrainTimes) {
        let began = tokio::time::Instant::now();
        let mut plan = Plan::begin(times);
        self.reach(Phase::LameDuck);
        while let Some(next) = plan.next_change() {
            let idle = self.active.changed.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            let before = plan.phase;
            let phase = plan.advance(began.elapsed(), self.active());
            self.reach(phase);
            if phase == before {
                let _ = tokio::time::timeout_at(began + next, idle).await;
            }
        }
    }

    /// Cuts everything now.
    pub fn stop(&self) {
        self.reach(Phase::Stopped);
    }

    fn reach(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
    }
}

/// A connection's side of one or more drains: of the proxy, and of the listener that accepted it.
#[derive(Debug, Clone)]
pub struct Signal {
    phases: Vec<watch::Receiver<Phase>>,
    active: Vec<Arc<Active>>,
}

impl Signal {
    /// A signal that follows this drain as well.
    #[must_use]
    pub fn and(&self, other: &Drain) -> Self {
        let Self { mut phases, mut active } = self.clone();
        phases.push(other.phase.subscribe());
        active.push(Arc::clone(&other.active));
        Self { phases, active }
    }

    /// The furthest phase of its drains. An owner that is gone counts as stopped.
    pub fn phase(&self) -> Phase {
        let one = |phase: &watch::Receiver<Phase>| {
            if phase.has_changed().is_err() { Phase::Stopped } else { *phase.borrow() }
        };
        self.phases.iter().map(one).max().unwrap_or(Phase::Serving)
    }

    /// Ends when this phase, or a later one, is reached.
    pub async fn reached(&self, phase: Phase) {
        let waits = self.phases.iter().map(|receiver| {
            let mut receiver = receiver.clone();
            // An error says that the owner is gone, which is the end as well.
            Box::pin(async move { drop(receiver.wait_for(|now| *now >= phase).await) })
        });
        futures_util::future::select_all(waits).await;
    }

    /// Counts as an open connection until dropped.
    pub fn guard(&self) -> Guard {
        for active in &self.active {
            active.count.fetch_add(1, Ordering::AcqRel);
        }
        Guard(self.active.clone())
    }
}

/// One open connection.
#[derive(Debug)]
pub struct Guard(Vec<Arc<Active>>);

impl Drop for Guard {
    fn drop(&mut self) {
        for active in &self.0 {
            if active.count.fetch_sub(1, Ordering::AcqRel) == 1 {
                active.changed.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: DrainTimes =
        DrainTimes { lame_duck: Duration::from_secs(2), deadline: Duration::from_secs(10) };

    #[test]
    fn phases_follow_time_and_open_connections() {
        // (elapsed seconds, open connections) in order, and the phase after each.
        let cases: [(&[(u64, usize)], Phase); 6] = [
            (&[(0, 0)], Phase::LameDuck),
            (&[(1, 0), (2, 3)], Phase::Closing),
            (&[(2, 0)], Phase::Closing),
            (&[(2, 3), (3, 0)], Phase::Stopped),
            (&[(2, 3), (9, 3)], Phase::Closing),
            (&[(2, 3), (10, 3)], Phase::Stopped),
        ];
        for (steps, expected) in cases {
            let mut plan = Plan::begin(TIMES);
            let last = steps.iter().map(|(s, active)| plan.advance(Duration::from_secs(*s), *active)).last();
            assert_eq!(last, Some(expected), "{steps:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_when_the_last_connection_does() {
        let drain = Drain::default();
        let guard = drain.signal().guard();
        let began = tokio::time::Instant::now();
        let work = async {
            drain.signal().reached(Phase::Closing).await;
            assert_eq!(began.elapsed(), TIMES.lame_duck);
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(guard);
        };
        tokio::join!(drain.run(TIMES), work);
        assert_eq!((began.elapsed(), drain.phase()), (Duration::from_secs(5), Phase::Stopped));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_does_not_end_is_cut_at_the_deadline() {
        let drain = Drain::default();
        let _guard = drain.signal().guard();
        let began = tokio::time::Instant::now();
        let signal = drain.signal();
        tokio::join!(drain.run(TIMES), signal.reached(Phase::Stopped));
        assert_eq!(began.elapsed(), TIMES.deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_drains_alone_and_follows_its_proxy() {
        let (proxy, listener, other) = (Drain::default(), Drain::default(), Drain::default());
        let ours = proxy.signal().and(&listener);
        let theirs = proxy.signal().and(&other);
        let guard = ours.guard();
        assert_eq!((proxy.active(), listener.active(), other.active()), (1, 1, 0));
        listener.stop();
        ours.reached(Phase::Closing).await;
        assert_eq!((ours.phase(), theirs.phase()), (Phase::Stopped, Phase::Serving));
        drop(guard);
        proxy.run(TIMES).await;
        assert_eq!(theirs.phase(), Phase::Stopped);
    }
}
