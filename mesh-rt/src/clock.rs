//! Wall and monotonic time behind one trait. Timers stay tokio's, which tests can pause.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A source of time. Wall time may jump; monotonic time never goes back.
pub trait Clock: Send + Sync + 'static {
    /// Wall time, for certificates and logs.
    fn wall(&self) -> SystemTime;
    /// Monotonic time, for lifetimes and latencies.
    fn monotonic(&self) -> Instant;
}

/// A clock that several parts share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clock, ready to be shared.
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that reads the machine's clock
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    #[allow(clippy::disallowed_methods)] // the one place that reads the machine's clock
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that moves only when told to; wall and monotonic time can be moved apart, as a clock step does.
#[derive(Debug)]
pub struct ManualClock(Mutex<(SystemTime, Instant)>);

impl ManualClock {
    /// A clock that stands at this wall time.
    pub fn at(wall: SystemTime) -> Arc<Self> {
        Arc::new(Self(Mutex::new((wall, SystemClock.monotonic()))))
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        now.0 += by;
        now.1 += by;
    }

    /// Steps the wall clock alone, as an operator or a resumed machine does.
    pub fn step_wall(&self, to: SystemTime) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = to;
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> SystemTime {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn monotonic(&self) -> Instant {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}
