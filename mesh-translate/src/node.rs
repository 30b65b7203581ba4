//! What the graph is made of: nodes, the topics they speak about, and the indices of objects. No evaluation.

use std::fmt;
use std::net::IpAddr;

use mesh_model::{ObjectName, RouteKind};

use super::entry::Entry;
use crate::objects::route::DefaultScope;
use crate::objects::{Object, ObjectKind, ParentReference, group};

/// A route object of any kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RouteName {
    /// Its kind.
    pub(super) kind: RouteKind,
    /// Its namespace and name.
    pub(super) name: ObjectName,
}

impl RouteName {
    pub(super) fn object_kind(&self) -> ObjectKind {
        match self.kind {
            RouteKind::Grpc => ObjectKind::GrpcRoute,
            RouteKind::Http => ObjectKind::HttpRoute,
            RouteKind::Tcp => ObjectKind::TcpRoute,
            RouteKind::Tls => ObjectKind::TlsRoute,
            RouteKind::Udp => ObjectKind::UdpRoute,
        }
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

/// An object with listeners.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Parent {
    Gateway(ObjectName),
    ListenerSet(ObjectName),
}

/// One pure function with its argument.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Node {
    /// Virtual addresses of all services.
    Addresses,
    /// A backend with its endpoints.
    Backend(ObjectName),
    /// TLS towards a backend, and its status: both are about the gateways that use it.
    BackendUse(ObjectName),
    /// Which policy governs TLS towards a service.
    BackendTls(ObjectName),
    /// The certificate of a secret that a listener shows.
    Certificate(ObjectName),
    /// A gateway class.
    Class(ObjectName),
    /// The endpoints of a service.
    Endpoints(ObjectName),
    /// The status of a gateway.
    Gateway(ObjectName),
    /// Which kind of routes serves a hostname of a gateway.
    GatewayKinds(ObjectName),
    /// The status of a listener set.
    ListenerSet(ObjectName),
    /// The listeners of a gateway and its sets.
    Listeners(ObjectName),
    /// Where a route may attach.
    Parents(RouteName),
    /// An object that asks clients for their identity, or does not.
    PeerAuthentication(ObjectName),
    /// A pod.
    Pod(ObjectName),
    /// An authorization policy.
    Policy(ObjectName),
    /// A route with what its neighbours decided.
    Route(RouteName),
    /// A service.
    Service(ObjectName),
    /// Which kind of routes serves a port of a service.
    ServiceKinds(ObjectName),
    /// The status of a policy for telemetry of gateways.
    TelemetryPolicy(ObjectName),
    /// The status of a policy for TLS towards backends.
    TlsPolicy(ObjectName),
    /// The status of a policy for traffic to backends.
    TrafficPolicy(ObjectName),
    /// A process.
    Workload(ObjectName),
}

impl Node {
    /// The step in which the node is evaluated. A node reads only what nodes of lower steps say.
    pub(super) fn step(&self) -> u8 {
        match self {
            Self::Addresses | Self::Backend(_) | Self::Class(_) | Self::Listeners(_) => 0,
            Self::Certificate(_)
            | Self::Parents(_)
            | Self::PeerAuthentication(_)
            | Self::Pod(_)
            | Self::Policy(_)
            | Self::Workload(_) => 1,
            Self::Endpoints(_) | Self::GatewayKinds(_) | Self::Service(_) | Self::ServiceKinds(_) => 2,
            Self::Route(_) => 3,
            Self::BackendTls(_) | Self::BackendUse(_) | Self::Gateway(_) | Self::ListenerSet(_) => 4,
            Self::TelemetryPolicy(_) | Self::TlsPolicy(_) | Self::TrafficPolicy(_) => 5,
        }
    }
}

/// What nodes say something about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Topic {
    /// The addresses of a service.
    Addresses(ObjectName),
    /// Routes that attached to a gateway or to listeners of its sets.
    Attached(ObjectName),
    /// Routes of one kind that want hostnames of a gateway.
    GatewayClaims(ObjectName, RouteKind),
    /// The listeners of a parent, as routes see them.
    Listeners(Parent),
    /// Places that a route lost to another.
    Lost(RouteName),
    /// What became of each parent reference of a route.
    Parents(RouteName),
    /// Routes that want ports of a service.
    ServiceClaims(ObjectName),
    /// The listeners of a gateway and its sets, as their status sees them.
    Setup(ObjectName),
    /// The gateway that judged a listener set.
    SetupOfSet(ObjectName),
    /// What became of a policy for TLS towards backends, per service.
    TlsPolicy(ObjectName),
    /// Gateways that use a service or backend.
    Users(ObjectName),
    /// Listeners that show a secret's certificate.
    Wanted(ObjectName),
}

/// Objects that are found together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Index {
    /// Backends of a namespace.
    Backends(String),
    /// Gateways that take routes which name none (GEP-3793).
    DefaultGateways,
    /// Gateways of a namespace.
    Gateways(String),
    /// Grants of a namespace.
    Grants(String),
    /// Objects of a namespace that ask clients for their identity, or do not.
    PeerAuthentications(String),
    /// Processes of a namespace.
    Processes(String),
    /// Services of a namespace.
    Services(String),
    /// Every service.
    AllServices,
    /// Listener sets of a gateway.
    Sets(ObjectName),
    /// Endpoint slices of a service.
    Slices(ObjectName),
    /// Policies for telemetry of a gateway.
    TelemetryPolicies(ObjectName),
    /// Policies for TLS towards a service.
    TlsPolicies(ObjectName),
    /// Policies for traffic to a service.
    TrafficPolicies(ObjectName),
}

/// Something that an evaluation looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Read {
    Index(Index),
    Object(ObjectKind, ObjectName),
    Pod(ObjectName),
    /// All pods of a namespace.
    Pods(String),
    /// The pod at an address.
    PodAt(IpAddr),
    /// The keys that those of sessions are made of.
    SessionKeys,
    /// Policies for TLS of a namespace that cannot be read.
    RefusedTls(String),
    Replicas(ObjectName),
    Time,
    Topic(Topic),
}

/// The label that names the service of an endpoint slice.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The indices in which an object is found.
pub(super) fn indices(entry: &Entry) -> Vec<Index> {
    let name = entry.name();
    let namespace = name.namespace.to_string();
    match &*entry.object {
        Object::BackendTlsPolicy(policy) => {
            let targets = policy.spec.target_refs.iter().map(|t| (&*t.group, &*t.kind, &*t.name));
            services(targets, &name).into_iter().map(Index::TlsPolicies).collect()
        }
        Object::EndpointSlice(slice) => {
            let service = slice.metadata.labels.get(SERVICE_NAME);
            service.map(|s| Index::Slices(ObjectName::new(namespace, s.as_str()))).into_iter().collect()
        }
        Object::Gateway(gateway) => {
            let default = gateway.spec.default_scope == Some(DefaultScope::All);
            [Index::Gateways(namespace)]
                .into_iter()
                .chain(default.then_some(Index::DefaultGateways))
                .collect()
        }
        Object::ListenerSet(set) => {
            let parent = &set.spec.parent_ref;
            let namespace = parent.namespace.clone().unwrap_or(namespace);
            vec![Index::Sets(ObjectName::new(namespace, parent.name.as_str()))]
        }
        Object::PeerAuthentication(_) => vec![Index::PeerAuthentications(namespace)],
        Object::Process(_) => vec![Index::Processes(namespace)],
        Object::ReferenceGrant(_) => vec![Index::Grants(namespace)],
        Object::Service(_) => vec![Index::Services(namespace), Index::AllServices],
        Object::XBackend(_) => vec![Index::Backends(namespace)],
        Object::XBackendTrafficPolicy(policy) => {
            let targets = policy.spec.target_refs.iter().map(|t| (&*t.group, &*t.kind, &*t.name));
            services(targets, &name).into_iter().map(Index::TrafficPolicies).collect()
        }
        Object::XTelemetryPolicy(policy) => {
            let targets = policy.spec.target_refs.iter();
            let gateways = targets.filter(|t| t.group == group::GATEWAY && t.kind == "Gateway");
            let names: std::collections::BTreeSet<_> = gateways.map(|t| t.name.as_str()).collect();
            let gateway = |name| Index::TelemetryPolicies(ObjectName::new(namespace.as_str(), name));
            names.into_iter().map(gateway).collect()
        }
        _ => Vec::new(),
    }
}

/// The services among the targets of a policy: group, kind and name.
fn services<'t>(
    targets: impl Iterator<Item = (&'t str, &'t str, &'t str)>,
    policy: &ObjectName,
) -> Vec<ObjectName> {
    let named = targets.filter(|(group, kind, _)| group.is_empty() && *kind == "Service");
    let names: std::collections::BTreeSet<_> = named.map(|(.., name)| name).collect();
    names.into_iter().map(|name| ObjectName::new(policy.namespace.clone(), name)).collect()
}

/// The nodes that an object brings into being.
pub(super) fn nodes(entry: &Entry) -> Vec<Node> {
    let name = entry.name();
    let route = |kind| {
        let route = RouteName { kind, name: name.clone() };
        vec![Node::Parents(route.clone()), Node::Route(route)]
    };
    match &*entry.object {
        Object::AuthorizationPolicy(_) => vec![Node::Policy(name)],
        Object::BackendTlsPolicy(policy) => {
            let targets = policy.spec.target_refs.iter().map(|t| (&*t.group, &*t.kind, &*t.name));
            let targets = services(targets, &name).into_iter().map(Node::BackendTls);
            targets.chain([Node::TlsPolicy(name)]).collect()
        }
        Object::Gateway(_) => {
            vec![Node::Listeners(name.clone()), Node::GatewayKinds(name.clone()), Node::Gateway(name)]
        }
        Object::GatewayClass(_) => vec![Node::Class(name)],
        Object::GrpcRoute(_) => route(RouteKind::Grpc),
        Object::HttpRoute(_) => route(RouteKind::Http),
        Object::ListenerSet(_) => vec![Node::ListenerSet(name)],
        Object::PeerAuthentication(_) => vec![Node::PeerAuthentication(name)],
        Object::Process(_) => vec![Node::Workload(name)],
        Object::Secret(_) => vec![Node::Certificate(name)],
        Object::Service(_) => vec![
            Node::Addresses,
            Node::Service(name.clone()),
            Node::Endpoints(name.clone()),
            Node::BackendTls(name.clone()),
            Node::ServiceKinds(name),
        ],
        Object::TcpRoute(_) => route(RouteKind::Tcp),
        Object::TlsRoute(_) => route(RouteKind::Tls),
        Object::UdpRoute(_) => route(RouteKind::Udp),
        Object::XBackend(_) => vec![Node::Backend(name.clone()), Node::BackendUse(name)],
        Object::XBackendTrafficPolicy(_) => vec![Node::TrafficPolicy(name)],
        Object::XTelemetryPolicy(_) => vec![Node::TelemetryPolicy(name)],
        Object::ClusterTrustBundle(_)
        | Object::ConfigMap(_)
        | Object::EndpointSlice(_)
        | Object::GatewayParameters(_)
        | Object::Namespace(_)
        | Object::ReferenceGrant(_)
        | Object::ServiceAccount(_) => Vec::new(),
    }
}

/// A gateway as references of routes and statuses name it, written out.
pub(super) fn gateway_reference(gateway: &ObjectName) -> ParentReference {
    ParentReference {
        group: group::GATEWAY.to_owned(),
        kind: "Gateway".to_owned(),
        name: gateway.name.to_string(),
        namespace: Some(gateway.namespace.to_string()),
        port: None,
        section_name: None,
    }
}

/// The object with listeners that a parent reference names, if it names one.
pub(super) fn listener_parent(reference: &ParentReference, namespace: &str) -> Option<Parent> {
    let namespace = reference.namespace.as_deref().unwrap_or(namespace);
    let name = ObjectName::new(namespace, reference.name.as_str());
    match (reference.group.as_str(), reference.kind.as_str()) {
        (group::GATEWAY, "Gateway") => Some(Parent::Gateway(name)),
        (group::GATEWAY, "ListenerSet") => Some(Parent::ListenerSet(name)),
        _ => None,
    }
}
