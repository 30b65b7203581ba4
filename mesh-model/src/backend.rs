//! Services, their endpoints, and what a rule may forward to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::finding::Reason;
use crate::identity::SpiffeId;
use crate::name::{ObjectName, ResourceKey};
use crate::session::Session;
use crate::source::SourceRef;

/// Most endpoints in one chunk.
pub const MAX_CHUNK: usize = 100;

/// The transport of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum Transport {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// What is spoken on a port (`appProtocol`, GEP-1911).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum AppProtocol {
    /// Not declared: the proxy looks at the first bytes.
    #[default]
    Detect,
    /// HTTP/2 with gRPC.
    Grpc,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge (`kubernetes.io/h2c`).
    Http2,
    /// Opaque bytes.
    Tcp,
    /// TLS of the application, passed through.
    Tls,
    /// HTTP/1.1 with upgrades (`kubernetes.io/ws`).
    WebSocket,
}

impl AppProtocol {
    /// Whether requests can be seen on the port.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Grpc | Self::Http1 | Self::Http2 | Self::WebSocket)
    }
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// The name; empty when the service has one unnamed port.
    pub name: Arc<str>,
    /// The port that clients dial.
    pub port: u16,
    /// TCP or UDP.
    pub transport: Transport,
    /// What is spoken there.
    pub protocol: AppProtocol,
}

/// A service: a name, virtual addresses and ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The resource's key.
    pub key: ResourceKey,
    /// The object it was made from.
    pub source: SourceRef,
    /// Namespace and name.
    pub name: ObjectName,
    /// Virtual addresses; empty for a headless service.
    pub addresses: Vec<IpAddr>,
    /// The ports.
    pub ports: Vec<ServicePort>,
    /// How many of its requests may be retries; the proxy's own limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<RetryBudget>,
    /// Whether requests of one client stay with an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Arc<Session>>,
    /// A name outside of the mesh whose addresses are the endpoints (`XBackend` of type `ExternalHostname`, GEP-4894).
    /// Each proxy looks it up itself; the port there is that of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Arc<str>>,
}

/// A limit of retries (GEP-3388): a share of the requests of an interval, and some however few come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// The object that says so.
    pub source: SourceRef,
    /// The share, at most 100.
    pub percent: u32,
    /// For how long a request counts.
    pub interval: Duration,
    /// Retries that are allowed in any case.
    pub least: u32,
    /// In how long a time.
    pub least_interval: Duration,
}

impl Service {
    /// The port of this number.
    pub fn port(&self, port: u16, transport: Transport) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.port == port && p.transport == transport)
    }
}

/// One address that serves a service port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address and port to dial.
    pub address: SocketAddr,
    /// The identity that must answer, when the endpoint is meshed: mutual TLS or failure, never plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<SpiffeId>,
    /// Name of the workload behind it, for people and telemetry.
    pub workload: Arc<str>,
    /// Whether new requests may go there.
    pub ready: bool,
    /// Where it is, for locality (`topology.kubernetes.io/zone`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Arc<str>>,
    /// Its own name below that of its service in DNS, such as that of a replica with an identity of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Arc<str>>,
}

/// At most [`MAX_CHUNK`] endpoints of one service port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointChunk {
    /// The resource's key; its part is `<port>/<number of the chunk>`.
    pub key: ResourceKey,
    /// The object it was made from.
    pub source: SourceRef,
    /// The service.
    pub service: ObjectName,
    /// The service's port, as clients dial it.
    pub port: u16,
    /// TCP or UDP.
    pub transport: Transport,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// Where a backend reference leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// Nowhere: the reference cannot be used. Requests that choose it get 500.
    Invalid {
        /// Why.
        reason: Reason,
        /// The reference as written.
        reference: Arc<str>,
    },
    /// A port of a service. It binds late: the service may be unknown.
    Service {
        /// The service.
        service: ObjectName,
        /// Its port.
        port: u16,
    },
}

/// A weighted backend of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Where it leads.
    pub target: Target,
    /// Its share, relative to the sum of the rule. 0 gets nothing.
    pub weight: u32,
    /// Filters for requests that choose it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<crate::filter::Filter>,
}
