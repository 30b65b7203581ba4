//! Listeners of gateways: one port, protocol and hostname each.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::filter::ExternalAuth;
use crate::hostname::HostPattern;
use crate::name::{ObjectName, ResourceKey};
use crate::source::SourceRef;
use crate::tracing::Tracing;

/// The protocol of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ListenerProtocol {
    /// HTTP/1.1 and HTTP/2 with prior knowledge, in plain text.
    Http,
    /// HTTP inside TLS that ends here.
    Https,
    /// Opaque TCP.
    Tcp,
    /// TLS by SNI, passed through or ended here.
    Tls,
    /// UDP.
    Udp,
}

/// The port at which a proxy without privileges listens for a port of a gateway: its own from 1024 on, else 10000 above
/// it. Where the gateway has a listener of that number, 1024 further, and so on; no two ports of one gateway meet.
///
/// ```
/// use mesh_model::listener::unprivileged_port;
///
/// assert_eq!(unprivileged_port(80, &[80, 443].into()), 10080);
/// assert_eq!(unprivileged_port(80, &[80, 10080].into()), 11104);
/// assert_eq!(unprivileged_port(10080, &[80, 10080].into()), 10080);
/// ```
pub fn unprivileged_port(port: u16, ports: &BTreeSet<u16>) -> u16 {
    if port >= 1024 {
        return port;
    }
    let places = (10_000 + port..=u16::MAX).step_by(1024);
    places.into_iter().find(|place| !ports.contains(place)).unwrap_or(10_000 + port)
}

/// What a listener does with TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ListenerTls {
    /// TLS passes to the backend.
    Passthrough,
    /// TLS ends here.
    Terminate {
        /// The certificates, chosen by SNI; the first is the default. They bind late.
        certificates: Vec<ResourceKey>,
        /// How client certificates are checked, if at all.
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<ClientValidation>,
    },
}

/// How a listener checks client certificates (GEP-91).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientValidation {
    /// DER of the CA certificates.
    pub roots: Vec<Arc<[u8]>>,
    /// Whether a client without a valid certificate is let in (`AllowInsecureFallback`).
    pub insecure_fallback: bool,
}

/// One listener of a gateway or listener set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The resource's key; its part is the listener's name.
    pub key: ResourceKey,
    /// The object it was made from.
    pub source: SourceRef,
    /// The gateway that serves it.
    pub gateway: ObjectName,
    /// The name within its object.
    pub name: Arc<str>,
    /// The port that matching and redirects use.
    pub port: u16,
    /// The protocol.
    pub protocol: ListenerProtocol,
    /// The hosts it serves.
    pub hostname: HostPattern,
    /// TLS, for HTTPS and TLS listeners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// The certificate that the gateway shows to backends that ask for one (GEP-3155). It binds late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_certificate: Option<ResourceKey>,
    /// Authorization services that a request must pass before a route is chosen, in this order (GEP-5224).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<ExternalAuth>,
    /// How the gateway's requests are traced, where a policy says so; all its listeners say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Arc<Tracing>>,
}
