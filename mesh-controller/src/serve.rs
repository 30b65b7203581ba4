//! The control plane's port: discovery and certificates over TLS. Who may ask is decided by the services.

mod counters;
mod own;
mod process;
mod readiness;
mod standalone;
mod tokens;

use std::sync::Arc;

use mesh_ca::Authority;
use mesh_ca::attest::Attestors;
use mesh_ca::csr::CertificateService;
use mesh_ca::grpc::{ALPN, incoming};
use mesh_ca::tls::{ClientAuth, PeerTls, TlsError, server_config};
use mesh_xds::nodes::NodeService;
use mesh_xds::server::AdsService;
use tokio::net::TcpListener;

pub use counters::{Count, Counters};
pub use own::session_keys;
pub(crate) use own::{AbortOnDrop, listen_on, own_identity, roots_pem};
pub use readiness::{Reading, Shown, readiness};
pub use standalone::{Event, Standalone, StandaloneConfig, StandaloneError};
pub use tokens::Tokens;

/// What is served on the port.
pub struct Services {
    /// Discovery.
    pub ads: AdsService,
    /// The authority whose certificates are asked for.
    pub authority: Arc<Authority>,
    /// Who may ask for which certificate.
    pub attestors: Attestors,
    /// What the proxies of nodes say, where there are nodes.
    pub nodes: Option<NodeService>,
}

/// Why the port could not be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The TLS configuration was refused.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The transport failed as a whole.
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
}

/// Serves until `shutdown` resolves. `identity` is the controller's own. A client without certificate may ask
/// for its first one and for nothing else.
///
/// # Errors
/// When TLS cannot be configured or the transport fails as a whole.
pub async fn serve(
    listener: TcpListener,
    identity: &PeerTls,
    services: Services,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let connections = incoming(listener, server_config(identity, ClientAuth::Optional, &[ALPN])?);
    let Services { ads, authority, attestors, nodes } = services;
    let closing = ads.clone();
    let shutdown = async move {
        shutdown.await;
        closing.close();
    };
    let certificates = CertificateService::new(authority, attestors);
    let router =
        AdsService::transport().add_service(ads).add_service(certificates).add_optional_service(nodes);
    Ok(router.serve_with_incoming_shutdown(connections, shutdown).await?)
}
