//! What a control plane has whatever its source is: ports, its own certificate, the roots as a text.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mesh_ca::rotate::InProcess;
use mesh_ca::svid::TrustBundle;
use mesh_ca::tls::PeerTls;
use mesh_ca::{Authority, AuthorityError, Rotation, SvidSource};
use mesh_model::{SessionKey, SpiffeId};
use tokio::net::TcpListener;

use crate::objects::scalar::base64_encode;

/// A task that ends with its owner.
pub(crate) struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl AbortOnDrop {
    /// Starts the task. Must be called within a tokio runtime.
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Opens a port; an error names the address.
pub(crate) fn listen_on(address: SocketAddr) -> Result<TcpListener, (SocketAddr, io::Error)> {
    let listener = mesh_rt::net::listen_tcp(address, false).and_then(TcpListener::from_std);
    listener.map_err(|error| (address, error))
}

/// The control plane's own certificate, renewed as long as the guard is kept.
pub(crate) fn own_identity(
    authority: &Arc<Authority>,
    identity: &SpiffeId,
) -> Result<(PeerTls, AbortOnDrop), AuthorityError> {
    let source = SvidSource::empty(authority.clock().clone());
    source.publish(authority.issue_svid(identity)?);
    let issuance = InProcess::new(Arc::clone(authority), identity.clone());
    let rotation = Rotation::new(Arc::clone(&source), authority.trust(), issuance);
    let renewing = AbortOnDrop::spawn(async move {
        rotation.run().await;
    });
    Ok((PeerTls::new(source, authority.trust()), renewing))
}

/// The keys that those of sessions are made of (GEP-1619). All replicas have the same ones, because they share the
/// authority; a new root brings a new one, and the old one opens what it sealed until its root is gone.
pub fn session_keys(authority: &Authority) -> Vec<SessionKey> {
    authority.secrets("mesh.v1.Session").iter().map(|secret| SessionKey::new(**secret)).collect()
}

/// The roots as PEM, one after the other.
pub(crate) fn roots_pem(bundle: &TrustBundle) -> String {
    bundle.roots().map(|root| pem(root)).collect()
}

/// One certificate in PEM (RFC 7468, section 5).
fn pem(der: &[u8]) -> String {
    let text = base64_encode(der);
    let lines: Vec<&str> =
        (0..text.len()).step_by(64).map(|at| &text[at..(at + 64).min(text.len())]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
