//! The identity that applications are given: the proxy's name under a key of its own, asked for when somebody first wants
//! it and kept fresh from then on.

use std::sync::{Arc, OnceLock};

use tokio::task::JoinHandle;

use crate::csr::Fresh;
use crate::rotate::{Issuance, Issuing, Rotation};
use crate::source::SvidSource;
use crate::svid::TrustBundles;
use crate::tls::PeerTls;
use crate::trust::TrustSource;

/// One workload's applications.
pub(super) struct Application {
    /// Who the proxy is, and whom both trust.
    proxy: PeerTls,
    own: Arc<SvidSource>,
    issuance: Arc<dyn Issuance>,
    renewing: OnceLock<Renewing>,
}

/// The task that keeps the identity fresh; it ends with the value.
struct Renewing(JoinHandle<()>);

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Application {
    pub(super) fn new(proxy: PeerTls, issuance: impl Issuance) -> Self {
        let own = SvidSource::empty(Arc::clone(proxy.source.clock()));
        Self { proxy, own, issuance: Arc::new(issuance), renewing: OnceLock::new() }
    }

    /// Who the proxy is, and whom both trust.
    pub(super) fn proxy(&self) -> &PeerTls {
        &self.proxy
    }

    /// The identity, for now perhaps empty. The first call begins to ask for it; it needs a tokio runtime.
    pub(super) fn identity(&self) -> &Arc<SvidSource> {
        self.renewing.get_or_init(|| {
            let issuance = Arc::clone(&self.issuance);
            Renewing(tokio::spawn(keep_fresh(self.proxy.clone(), Arc::clone(&self.own), issuance)))
        });
        &self.own
    }
}

/// Waits for the proxy's identity, for it is the proof, and takes no other name than that.
async fn keep_fresh(proxy: PeerTls, own: Arc<SvidSource>, issuance: Arc<dyn Issuance>) {
    let mut changes = proxy.source.subscribe();
    let id = loop {
        match proxy.source.current() {
            Some(svid) => break svid.id().clone(),
            None if changes.changed().await.is_err() => return,
            None => {}
        }
    };
    let issuance = ForApplication { issuance, trust: Arc::clone(&proxy.trust) };
    Rotation::new(own, proxy.trust, issuance).expecting(id).run().await;
}

/// Asks for certificates only: the proxy reads the bundles already, for both.
struct ForApplication {
    issuance: Arc<dyn Issuance>,
    trust: Arc<TrustSource>,
}

impl Issuance for ForApplication {
    fn issue(&self) -> Issuing<'_, Fresh> {
        self.issuance.issue()
    }

    fn bundles(&self) -> Issuing<'_, TrustBundles> {
        Box::pin(std::future::ready(Ok((*self.trust.current()).clone())))
    }
}
