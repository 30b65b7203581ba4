//! What nodes tell each other. A fact holds only what its readers need, so that nothing else wakes them.

use std::net::IpAddr;
use std::sync::Arc;

use mesh_model::{Attachment, HostPattern, ListenerProtocol, ObjectName, Reason, ResourceKey, RouteKind};

use super::node::Parent;
use crate::objects::listener::RouteNamespaces;
use crate::status::{Condition, SupportedKind};

/// What a node says on a topic.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fact {
    /// The addresses of a service.
    Addresses(Vec<IpAddr>),
    /// Listeners that a route attached to.
    Attached(Vec<ResourceKey>),
    /// What a route wants of a gateway or service.
    Claim(Claim),
    /// The listeners of a parent.
    Listeners(Vec<ListenerView>),
    /// Places that a route lost.
    Lost(Vec<Loss>),
    /// What became of a route's parent references.
    Parents(Vec<ParentVerdict>),
    /// The listeners of a gateway for its status.
    Setup(Arc<Setup>),
    /// The gateway that judged a set.
    SetupOfSet(ObjectName),
    /// What became of a policy for TLS towards a service.
    TlsPolicy(Option<(Reason, String)>),
    /// Gateways that use a service, with the listener-bearing objects.
    Users(Vec<ObjectName>),
    /// A listener shows the certificate.
    Wanted,
}

/// A listener as routes see it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ListenerView {
    /// The gateway that serves it.
    pub(super) gateway: ObjectName,
    /// The key of its resource.
    pub(super) key: ResourceKey,
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) protocol: Option<ListenerProtocol>,
    pub(super) hostname: HostPattern,
    /// Whether the listener is accepted at all.
    pub(super) accepted: bool,
    /// Kinds of routes that may attach.
    pub(super) kinds: Vec<RouteKind>,
    /// Namespaces that routes may come from; `Same` is that of the listener's object.
    pub(super) namespaces: RouteNamespaces,
}

/// What a route wants of a gateway's hostnames, or of a service's ports.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Claim {
    pub(super) seniority: (u64, ObjectName),
    pub(super) places: Vec<Place>,
}

/// One place where a route may be in force.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    pub(super) attachment: Attachment,
    /// The gateway; `None` on services.
    pub(super) gateway: Option<ObjectName>,
    /// The hosts that route and listener share; empty on services.
    pub(super) hosts: Vec<HostPattern>,
}

/// A place that a route lost.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Loss {
    pub(super) attachment: Attachment,
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// How a route names a parent.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Named {
    /// By `spec.useDefaultGateways`: this gateway is a default one (GEP-3793).
    ByDefault(ObjectName),
    /// By the reference at this place in `spec.parentRefs`.
    InPlace(usize),
}

/// What became of one parent reference.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ParentVerdict {
    pub(super) named: Named,
    /// Whether it names a service rather than listeners.
    pub(super) mesh: bool,
    /// Where the route may attach, or why nowhere.
    pub(super) places: Result<Vec<Place>, (Reason, String)>,
}

/// The listeners of a gateway and its sets for their status.
#[derive(Debug, PartialEq)]
pub(super) struct Setup {
    /// Conditions of the gateway that listeners do not decide.
    pub(super) gateway: Vec<Condition>,
    /// The first problem of the gateway as a whole, if there is one.
    pub(super) refused: Option<(Reason, String)>,
    /// Every listener, in the order of precedence.
    pub(super) listeners: Vec<ListenerReport>,
    /// Every set that names the gateway, with the reason why it is not admitted.
    pub(super) sets: Vec<(ObjectName, Option<(Reason, String)>)>,
}

/// One listener for the status.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ListenerReport {
    pub(super) owner: Parent,
    pub(super) name: String,
    pub(super) key: ResourceKey,
    pub(super) supported: Vec<SupportedKind>,
    pub(super) accepted: bool,
    pub(super) programmed: bool,
    pub(super) conditions: Vec<Condition>,
}
