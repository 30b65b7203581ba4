//! Routes: one resource per route object, with its rules as written.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::filter::Filter;
use crate::hostname::HostPattern;
use crate::matcher::Match;
use crate::name::{ObjectName, ResourceKey};
use crate::session::Session;
use crate::source::SourceRef;

/// The kind of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteKind {
    /// GRPCRoute.
    Grpc,
    /// HTTPRoute.
    Http,
    /// TCPRoute.
    Tcp,
    /// TLSRoute.
    Tls,
    /// UDPRoute.
    Udp,
}

impl RouteKind {
    /// The kind of the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "GRPCRoute",
            Self::Http => "HTTPRoute",
            Self::Tcp => "TCPRoute",
            Self::Tls => "TLSRoute",
            Self::Udp => "UDPRoute",
        }
    }

    /// Whether its rules look at requests.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Grpc | Self::Http)
    }
}

/// A place where a route is in force.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Attachment {
    /// A listener.
    Listener(ResourceKey),
    /// A service (GAMMA, GEP-1294). A route of the service's own namespace acts on all clients, one of another
    /// namespace only on clients there, for whom it replaces the former.
    Service {
        /// The service.
        service: ObjectName,
        /// One of its ports; `None` is all.
        #[serde(skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    },
}

/// Time limits of a rule. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timeouts {
    /// The whole exchange, all tries together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Duration>,
    /// One try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_request: Option<Duration>,
}

/// Retries of a rule (GEP-1731). A connection that could not be made is retried without being listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Status codes that are retried.
    pub codes: Vec<u16>,
    /// Tries after the first.
    pub attempts: u32,
    /// Shortest pause between tries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Duration>,
}

/// One rule of a route.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rule {
    /// Its name, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// The alternatives; empty matches everything. Unused by TCP, TLS and UDP routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<Match>,
    /// What happens to requests and answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// Where requests go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<Backend>,
    /// Time limits.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Retries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Whether requests of one client stay with an endpoint, whatever the backend's service says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Arc<Session>>,
}

/// One route object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The resource's key.
    pub key: ResourceKey,
    /// The object it was made from.
    pub source: SourceRef,
    /// Its kind.
    pub kind: RouteKind,
    /// When the object was made, in seconds since 1970; 0 when unknown. Older wins ties.
    pub created: u64,
    /// Where it is in force.
    pub attachments: Vec<Attachment>,
    /// Its own hostnames; empty takes the listener's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<HostPattern>,
    /// Its rules, in the object's order.
    pub rules: Vec<Rule>,
    /// Set while a policy of the route is not known: its requests are answered with 503.
    #[serde(default)]
    pub held: bool,
}
