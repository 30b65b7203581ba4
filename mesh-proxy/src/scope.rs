//! Where a connection entered the proxy, and what that says about its requests. No IO.

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_model::{Certificate, Mesh, ObjectName, Service, Workload};

/// The place where a connection is decided.
#[derive(Debug, Clone)]
pub enum Scope {
    /// A port of a gateway.
    Gateway {
        /// The gateway.
        gateway: ObjectName,
        /// The listener's port, which matching and redirects use.
        port: u16,
        /// The server name, when TLS ended here: empty when the client sent none.
        sni: Option<Arc<str>>,
    },
    /// The destination's side: authorization, then the application.
    Inbound {
        /// The workload.
        workload: Arc<Workload>,
        /// Where its application listens, as seen from inside its network namespace.
        application: SocketAddr,
    },
    /// The client's side of a known service.
    Outbound {
        /// The service that was dialled.
        service: Arc<Service>,
        /// The port that was dialled.
        port: u16,
        /// The client's namespace.
        namespace: Arc<str>,
    },
}

impl Scope {
    /// The certificate that is shown to backends: a gateway may have one.
    pub(crate) fn backend_certificate(&self, mesh: &Mesh) -> Option<Arc<Certificate>> {
        let Self::Gateway { gateway, port, .. } = self else { return None };
        mesh.backend_certificate(gateway, *port).cloned()
    }
}
