//! The proxy's link to its controller: identity by certificate requests, configuration by delta ADS, and both
//! kept on disk, so that a proxy starts without a controller. It decides nothing about traffic.

pub mod applications;
mod kept;
mod link;
mod staging;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mesh_ca::store::{KeyFile, StoreError};
use mesh_ca::tls::{PeerTls, TlsError};
use mesh_ca::{SvidSource, TrustBundle, TrustBundles, TrustSource};
use mesh_model::{Mesh, SpiffeId, TrustDomain};
use mesh_rt::SharedClock;
use mesh_xds::client::ClientState;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::watch;

use crate::snapshot::SharedMesh;
use crate::telemetry::Telemetry;
use kept::Kept;
pub use link::Connector;

/// Where the controller is and how it is recognised.
#[derive(Debug, Clone)]
pub struct ControllerAddress {
    /// Host and port of ADS and certificate requests; the host is looked up at every connection.
    pub address: String,
    /// The identity that must answer.
    pub identity: SpiffeId,
    /// PEM file with the roots of the trust domain, for the first connection.
    pub roots: PathBuf,
    /// File with the join token, read at each use.
    pub token: Option<PathBuf>,
}

/// What a control link is made of.
#[derive(Clone)]
pub struct ControlOptions {
    /// The proxy's name among those of its controller.
    pub name: String,
    /// The mesh's trust domain.
    pub trust_domain: TrustDomain,
    /// The controller.
    pub controller: ControllerAddress,
    /// The identity that the proxy expects for itself; another one is refused.
    pub expected: Option<SpiffeId>,
    /// Directory for what a start without controller needs. It holds private keys: sealed, mode 0600.
    pub state: Option<PathBuf>,
    /// The file with the key that seals it; by default `sealing.key` in the directory.
    pub sealing_key: Option<PathBuf>,
    /// The clock.
    pub clock: SharedClock,
    /// Where ages and expiry are told.
    pub telemetry: Telemetry,
}

/// Why a control link could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The state directory or the thread could not be made.
    #[error("cannot start the control link: {0}")]
    Io(#[from] io::Error),
    /// The roots of the controller's trust domain are unusable.
    #[error("{path}: {problem}", path = .path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The sealing key is unusable.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The TLS parameters are unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A running control link. It lives until the process ends.
#[derive(Debug, Clone)]
pub struct Control {
    /// The snapshot that it keeps fresh.
    pub mesh: SharedMesh,
    /// The identity and trust that it keeps fresh.
    pub identity: PeerTls,
    /// The state of the configuration stream.
    pub state: watch::Receiver<ClientState>,
}

impl Control {
    /// Takes what was kept into use and starts the link on a thread of its own.
    ///
    /// # Errors
    /// When roots, sealing key or state directory are unusable. What was kept and is damaged is left out with a
    /// warning, for the controller gives it anew.
    pub fn start(options: ControlOptions) -> Result<Self, ControlError> {
        let roots = roots(&options.controller.roots, &options.trust_domain)?;
        let source = SvidSource::empty(Arc::clone(&options.clock));
        let bundles = TrustBundles::from_iter([roots.clone()]);
        let identity = PeerTls::new(Arc::clone(&source), TrustSource::new(bundles));
        let kept = match &options.state {
            Some(directory) => {
                std::fs::create_dir_all(directory)?;
                let key = options.sealing_key.clone().unwrap_or_else(|| directory.join("sealing.key"));
                Some(Kept::open(directory, Arc::new(KeyFile::load_or_create(&key)?)))
            }
            None => None,
        };
        if let Some(kept) = &kept {
            kept.restore_identity(&identity, options.expected.as_ref(), options.clock.wall());
            if source.current().is_none() {
                // All roots may have changed since: what the operator gives now must do for the first contact.
                identity.trust.insert(roots);
            }
        }
        let restored = kept.as_ref().and_then(|kept| kept.restore_mesh(options.clock.wall()));
        let mesh = SharedMesh::default();
        if let Some(restored) = &restored {
            mesh.publish(Mesh::default().apply(&restored.delta));
            tracing::info!(age = restored.age.as_secs(), "configuration of an earlier life is in use");
        }
        let state = link::start(link::Link {
            options,
            identity: identity.clone(),
            mesh: mesh.clone(),
            kept,
            restored,
        })?;
        Ok(Self { mesh, identity, state })
    }

    /// Ends when the proxy has a configuration and an identity, or the time is over. Returns whether it has.
    pub async fn ready(&self, within: Duration) -> bool {
        let mut identity = self.identity.source.subscribe();
        let mut changes = self.mesh.changes();
        let both = async {
            while self.identity.source.current().is_none() || self.mesh.current().version() == 0 {
                tokio::select! {
                    changed = identity.changed() => changed.is_ok(),
                    changed = changes.changed() => changed.is_ok(),
                };
            }
        };
        tokio::time::timeout(within, both).await.is_ok()
    }
}

fn roots(path: &std::path::Path, trust_domain: &TrustDomain) -> Result<TrustBundle, ControlError> {
    let wrong = |problem: String| ControlError::Roots { path: path.to_owned(), problem };
    let found = CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|e| wrong(e.to_string()))?;
    if found.is_empty() {
        return Err(wrong("the file holds no certificate".to_owned()));
    }
    TrustBundle::new(trust_domain.clone(), found, 0).map_err(|e| wrong(e.to_string()))
}
