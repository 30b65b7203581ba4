//! `TLSRoute`, `TCPRoute` and `UDPRoute` (Gateway API v1.7.0, both channels). No matching.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::meta::Manifest;
use super::route::{BackendRef, DefaultScope, NoFilter, ParentReference, RouteStatus};
use super::shape::shapes;

/// Routes by server name.
pub type TlsRoute = Manifest<TlsRouteSpec, RouteStatus>;

/// Routes for TCP connections.
pub type TcpRoute = Manifest<L4RouteSpec<Tcp>, RouteStatus>;

/// Routes for UDP datagrams.
pub type UdpRoute = Manifest<L4RouteSpec<Udp>, RouteStatus>;

shapes! {
    /// What a `TLSRoute` asks for.
    pub struct TlsRouteSpec {
        /// Server names that the route takes.
        pub hostnames: Vec<String>,
        /// Where the route attaches.
        pub parent_refs: Vec<ParentReference>,
        /// The rules.
        pub rules: required Vec<L4Rule>,
        /// Whether default gateways take the route.
        pub use_default_gateways: Option<DefaultScope>,
    }

    /// Who receives connections or datagrams.
    pub struct L4Rule {
        /// The backends, by weight.
        pub backend_refs: required Vec<BackendRef<NoFilter>>,
        /// Name of the rule, unique in its route.
        pub name: Option<String>,
    }
}

/// Marks what belongs to TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tcp;

/// Marks what belongs to UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Udp;

/// What a `TCPRoute` or `UDPRoute` asks for. The marker keeps the two kinds apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, bound = "")]
pub struct L4RouteSpec<Protocol> {
    /// Where the route attaches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentReference>,
    /// The rules.
    pub rules: Vec<L4Rule>,
    /// Whether default gateways take the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_default_gateways: Option<DefaultScope>,
    #[serde(skip)]
    protocol: PhantomData<Protocol>,
}
