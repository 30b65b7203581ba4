//! The SVID in use now, shared by every connection of an identity and replaced without a restart.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use mesh_rt::SharedClock;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use crate::svid::Svid;

/// What a handshake needs: the SVID, and its key in the form that rustls signs with.
struct Loaded {
    svid: Arc<Svid>,
    certified: Arc<CertifiedKey>,
}

/// The current SVID of one identity. Empty until the first one is published; an expired one is not used.
pub struct SvidSource {
    current: ArcSwapOption<Loaded>,
    changes: watch::Sender<u64>,
    clock: SharedClock,
}

impl SvidSource {
    /// A source without an SVID: servers refuse, clients present no certificate.
    pub fn empty(clock: SharedClock) -> Arc<Self> {
        Arc::new(Self { current: ArcSwapOption::empty(), changes: watch::Sender::new(0), clock })
    }

    /// A source that starts with an SVID.
    pub fn new(svid: Svid, clock: SharedClock) -> Arc<Self> {
        let source = Self::empty(clock);
        source.publish(svid);
        source
    }

    /// Takes an SVID into use: every handshake from now on presents it.
    pub fn publish(&self, svid: Svid) {
        let key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&svid.key().for_rustls());
        let key = key.expect("a P-256 key signs");
        let certified = Arc::new(CertifiedKey::new(svid.chain().to_vec(), key));
        self.current.store(Some(Arc::new(Loaded { svid: Arc::new(svid), certified })));
        self.changes.send_modify(|count| *count += 1);
    }

    /// The SVID of this moment, expired or not.
    pub fn current(&self) -> Option<Arc<Svid>> {
        self.current.load().as_ref().map(|loaded| Arc::clone(&loaded.svid))
    }

    /// Life left, for the metric `seconds_to_expiry`; zero when expired or never issued.
    pub fn remaining(&self) -> Duration {
        self.current().map_or(Duration::ZERO, |svid| svid.remaining(self.clock.wall()))
    }

    /// Wakes after every change; the value is the number of changes. A missed one is covered by the next
    /// read of [`SvidSource::current`].
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The clock that decides about expiry.
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// What the next handshake presents.
    pub(crate) fn certified(&self) -> Option<Arc<CertifiedKey>> {
        let loaded = self.current.load();
        let loaded = loaded.as_ref()?;
        let alive = self.clock.wall() <= loaded.svid.not_after();
        alive.then(|| Arc::clone(&loaded.certified))
    }
}

impl fmt::Debug for SvidSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SvidSource").field("current", &self.current()).finish_non_exhaustive()
    }
}
