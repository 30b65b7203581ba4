//! The bundles that are trusted now, shared by every verifier of a process and replaced as a whole.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use mesh_model::TrustDomain;
use tokio::sync::watch;

use crate::svid::{TrustBundle, TrustBundles};

/// Who is trusted now. Cheap to read at every handshake; a change needs no restart.
pub struct TrustSource {
    current: ArcSwap<TrustBundles>,
    changes: watch::Sender<u64>,
}

impl TrustSource {
    /// Starts with these bundles.
    pub fn new(bundles: TrustBundles) -> Arc<Self> {
        let current = ArcSwap::from_pointee(bundles);
        Arc::new(Self { current, changes: watch::Sender::new(0) })
    }

    /// The bundles of this moment.
    pub fn current(&self) -> Arc<TrustBundles> {
        self.current.load_full()
    }

    /// Replaces all bundles.
    pub fn publish(&self, bundles: TrustBundles) {
        self.current.store(Arc::new(bundles));
        self.changes.send_modify(|count| *count += 1);
    }

    /// Replaces the bundle of one trust domain.
    pub fn insert(&self, bundle: TrustBundle) {
        self.edit(|bundles| bundles.insert(bundle.clone()));
    }

    /// Stops trusting a domain.
    pub fn remove(&self, trust_domain: &TrustDomain) {
        self.edit(|bundles| drop(bundles.remove(trust_domain)));
    }

    /// Wakes after every change; the value is the number of changes. A missed one is covered by the next
    /// read of [`TrustSource::current`].
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How often the bundles were changed.
    pub fn version(&self) -> u64 {
        *self.changes.borrow()
    }

    fn edit(&self, change: impl Fn(&mut TrustBundles)) {
        self.current.rcu(|bundles| {
            let mut next = TrustBundles::clone(bundles);
            change(&mut next);
            next
        });
        self.changes.send_modify(|count| *count += 1);
    }
}

impl fmt::Debug for TrustSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustSource").field(&self.current.load()).finish()
    }
}
