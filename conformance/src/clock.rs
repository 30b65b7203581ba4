//! Real time: the one file of this crate that reads the clock or waits by it. Other programs are what is waited
//! for here, and virtual time means nothing to them.
#![allow(clippy::disallowed_methods, reason = "the one file of this crate that waits by the real clock")]

use std::time::{Duration, Instant};

/// Time since a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Seconds since 1970.
pub(crate) fn since_1970() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// Between two questions.
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
