//! Small meshes for tests, built from resources.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use mesh_model::backend::{Backend, Endpoint, EndpointChunk, Target};
use mesh_model::hostname::HostPattern;
use mesh_model::listener::{Listener, ListenerProtocol};
use mesh_model::matcher::{Match, PathMatch};
use mesh_model::policy::{Action, AuthorizationPolicy, PolicyRule};
use mesh_model::{
    AppProtocol, Attachment, Kind, ObjectName, Origin, Resource, ResourceKey, Route, RouteKind, Rule,
    Service, ServicePort, SourceRef, SpiffeId, Transport, Workload,
};

pub(crate) fn name(name: &str) -> ObjectName {
    ObjectName::new("shop", name)
}

fn source(kind: &str, object: &str) -> SourceRef {
    SourceRef::new(kind, name(object), Origin::Builtin)
}

pub(crate) fn address(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], port))
}

fn listener_key() -> ResourceKey {
    ResourceKey::local_part(Kind::Listener, name("edge"), "http")
}

/// The listener of gateway `shop/edge` on port 80.
pub(crate) fn listener() -> Resource {
    Resource::Listener(Arc::new(Listener {
        key: listener_key(),
        source: source("Gateway", "edge"),
        gateway: name("edge"),
        name: "http".into(),
        port: 80,
        protocol: ListenerProtocol::Http,
        hostname: HostPattern::Any,
        tls: None,
        backend_certificate: None,
        filters: Vec::new(),
        tracing: None,
    }))
}

/// A service on port 80 with these endpoints.
pub(crate) fn service(object: &str, protocol: AppProtocol, endpoints: &[SocketAddr]) -> Vec<Resource> {
    meshed(object, protocol, endpoints, None)
}

/// As [`service`], with endpoints of this identity.
pub(crate) fn meshed(
    object: &str,
    protocol: AppProtocol,
    endpoints: &[SocketAddr],
    identity: Option<SpiffeId>,
) -> Vec<Resource> {
    let port = ServicePort { name: "".into(), port: 80, transport: Transport::Tcp, protocol };
    let endpoint = |address: &SocketAddr| Endpoint {
        address: *address,
        identity: identity.clone(),
        workload: object.into(),
        ready: true,
        zone: None,
        hostname: None,
    };
    vec![
        Resource::Service(Arc::new(Service {
            key: ResourceKey::local(Kind::Service, name(object)),
            source: source("Service", object),
            name: name(object),
            addresses: Vec::new(),
            ports: vec![port],
            retry_budget: None,
            hostname: None,
            session: None,
        })),
        Resource::EndpointChunk(Arc::new(EndpointChunk {
            key: ResourceKey::local_part(Kind::EndpointChunk, name(object), "80/0"),
            source: source("EndpointSlice", object),
            service: name(object),
            port: 80,
            transport: Transport::Tcp,
            endpoints: endpoints.iter().map(endpoint).collect(),
        })),
    ]
}

pub(crate) fn backend(object: &str, weight: u32) -> Backend {
    let target = Target::Service { service: name(object), port: 80 };
    Backend { target, weight, filters: Vec::new() }
}

/// A rule for a path prefix.
pub(crate) fn rule(prefix: &str, backends: Vec<Backend>) -> Rule {
    let matches = vec![Match { path: PathMatch::prefix(prefix), ..Match::default() }];
    Rule { matches, backends, ..Rule::default() }
}

/// A route of the gateway's listener.
pub(crate) fn route(rules: Vec<Rule>) -> Resource {
    attached(RouteKind::Http, Attachment::Listener(listener_key()), rules)
}

pub(crate) fn attached(kind: RouteKind, to: Attachment, rules: Vec<Rule>) -> Resource {
    Resource::Route(Arc::new(Route {
        key: ResourceKey::local_part(Kind::Route, name("route"), kind.as_str()),
        source: source(kind.as_str(), "route"),
        kind,
        created: 0,
        attachments: vec![to],
        hostnames: Vec::new(),
        rules,
        held: false,
    }))
}

pub(crate) fn identity(account: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{account}").parse().expect("a good identity")
}

pub(crate) fn workload(object: &str) -> Arc<Workload> {
    Arc::new(Workload {
        key: ResourceKey::local(Kind::Workload, name(object)),
        source: source("Pod", object),
        name: name(object),
        labels: BTreeMap::new(),
        identity: identity(object),
        addresses: Vec::new(),
        plaintext: mesh_model::Plaintext::default(),
        on_node: None,
        outside: mesh_model::Outside::Allowed,
    })
}

/// The workload as a resource: a destination whose workload is not known lets nothing in.
pub(crate) fn known(object: &str) -> Resource {
    Resource::Workload(workload(object))
}

pub(crate) fn policy(object: &str, action: Action, rules: Vec<PolicyRule>) -> Resource {
    Resource::Policy(Arc::new(AuthorizationPolicy {
        key: ResourceKey::local(Kind::Policy, name(object)),
        source: source("AuthorizationPolicy", object),
        action,
        selector: BTreeMap::new(),
        rules,
    }))
}
