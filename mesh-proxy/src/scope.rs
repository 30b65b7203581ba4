//! Where a connection entered the proxy, and what that says about its requests. No IO.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_model::{BackendTls, Certificate, Mesh, ObjectName, Service, Workload};

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
        /// The client's own address: an endpoint there is the client itself.
        client: IpAddr,
        /// The service that was dialled.
        service: Arc<Service>,
        /// The port that was dialled.
        port: u16,
        /// The client's namespace.
        namespace: Arc<str>,
    },
}

impl Scope {
    /// Whether an address is that of the client's own workload. What a workload sends to itself stays inside: its
    /// inbound side stands before what comes from elsewhere, and would not see it.
    pub(crate) fn is_client(&self, address: &SocketAddr) -> bool {
        matches!(self, Self::Outbound { client, .. } if is_same(*client, address))
    }

    /// The certificate that is shown to a backend under its policy.
    pub(crate) fn shown_certificate(&self, mesh: &Mesh, tls: &BackendTls) -> Option<Arc<Certificate>> {
        let at = match self {
            Self::Gateway { gateway, port, .. } => Some((gateway, *port)),
            Self::Inbound { .. } | Self::Outbound { .. } => None,
        };
        mesh.shown_certificate(tls, at).cloned()
    }
}

/// Whether a client's address is that of an endpoint. Loopback is everybody's, so it says nothing.
pub(crate) fn is_same(client: IpAddr, endpoint: &SocketAddr) -> bool {
    client == endpoint.ip().to_canonical() && !client.is_loopback()
}
