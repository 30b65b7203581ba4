//! The proxy's clock as the one that certificates are checked by.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use mesh_rt::SharedClock;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

struct WallTime(SharedClock);

impl TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.wall().duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

impl fmt::Debug for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallTime")
    }
}

/// rustls's view of a clock.
pub(super) fn time(clock: &SharedClock) -> Arc<dyn TimeProvider> {
    Arc::new(WallTime(Arc::clone(clock)))
}
