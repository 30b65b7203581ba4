//! The tower layers around a service of one's own: what they decide is what the proxy decides, and what they pass on is
//! what was decided about.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::{Request, Response};
use mesh_model::backend::{Backend, Target};
use mesh_model::engine::{Routed, Verdict};
use mesh_model::hostname::HostPattern;
use mesh_model::matcher::{Match, PathMatch};
use mesh_model::policy::{Action, Operation, Patterns, PolicyRule, Source, TextPattern};
use mesh_model::{
    Attachment, AuthorizationPolicy, ConnectionFacts, Kind, Listener, ListenerProtocol, Mesh, ObjectName,
    Origin, Reason, Resource, ResourceKey, Route, RouteKind, Rule, SourceRef, SpiffeId, Workload,
};
use mesh_proxy::snapshot::SharedMesh;
use mesh_tower::{AuthorizationLayer, RoutingLayer};
use tower::{Layer, ServiceExt, service_fn};

fn any(text: &str) -> Patterns<TextPattern> {
    Patterns { any: vec![TextPattern::from(text.to_owned())], none: Vec::new() }
}

/// Only `web` may GET, and nothing below `/admin`.
fn policies() -> [mesh_model::Resource; 3] {
    let source = Source { principals: any("cluster.local/ns/shop/sa/web"), ..Source::default() };
    let get = Operation { methods: any("GET"), ..Operation::default() };
    let admin = Operation { paths: any("/admin*"), ..Operation::default() };
    let rule = |from, to| PolicyRule { from, to, ..PolicyRule::default() };
    [
        known("cart"),
        policy("web-only", Action::Allow, vec![rule(vec![source], vec![get])]),
        policy("no-admin", Action::Deny, vec![rule(Vec::new(), vec![admin])]),
    ]
}

fn facts(peer: Option<&str>) -> ConnectionFacts {
    let source = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    ConnectionFacts {
        source,
        destination: SocketAddr::from(([10, 0, 0, 1], 80)),
        peer: peer.map(identity),
        sni: None,
    }
}

fn request(method: &str, target: &str, facts: Option<ConnectionFacts>) -> Request<String> {
    let request = Request::builder().method(method).uri(target).header("host", "SHOP.test");
    let request = request.header("x-forwarded-client-cert", "forged").header("connection", "upgrade");
    let mut request = request.header("upgrade", "websocket").body(String::new()).expect("a request");
    if let Some(facts) = facts {
        request.extensions_mut().insert(facts);
    }
    request
}

/// An application that tells what reached it.
async fn application(request: Request<String>) -> Result<Response<String>, Infallible> {
    let header = |name: &str| request.headers().get(name).map_or("-", |v| v.to_str().expect("text"));
    let rule = match request.extensions().get::<Routed>() {
        Some(Routed::Rule(rule)) => rule.rule_index().to_string(),
        _ => "-".to_owned(),
    };
    let allowed = request.extensions().get::<Verdict>().map(|verdict| verdict.allowed);
    let text = format!(
        "{} {} host {} forged {} upgrade {} rule {rule} allowed {allowed:?}",
        request.method(),
        request.uri(),
        header("host"),
        header("x-forwarded-client-cert"),
        header("upgrade"),
    );
    Ok(Response::new(text))
}

#[tokio::test]
async fn a_service_behind_the_authorization_layer_gets_what_the_policies_allow() {
    let layer = AuthorizationLayer::new(SharedMesh::new(Mesh::from_resources(policies())), name("cart"));
    let service = layer.layer(service_fn(application));
    let web = || Some(facts(Some("web")));
    for (method, target, facts, expected) in [
        (
            "GET",
            "/items/../list",
            web(),
            Ok("GET /list host shop.test forged - upgrade websocket rule - allowed Some(true)"),
        ),
        ("POST", "/list", web(), Err((403, Reason::NotAllowedByPolicy))),
        ("GET", "/list", Some(facts(Some("bank"))), Err((403, Reason::NotAllowedByPolicy))),
        ("GET", "/list", Some(facts(None)), Err((403, Reason::NotAllowedByPolicy))),
        ("GET", "/x/../admin/y", web(), Err((403, Reason::DeniedByPolicy))),
        ("GET", "//admin", web(), Err((403, Reason::DeniedByPolicy))),
        ("GET", "/%00", web(), Err((400, Reason::MalformedRequest))),
        ("GET", "/list", None, Err((403, Reason::IdentityRequired))),
    ] {
        let answer = service.clone().oneshot(request(method, target, facts)).await;
        let answer = answer.expect("infallible");
        let reason = answer.extensions().get::<Reason>().copied();
        match expected {
            Ok(text) => assert_eq!((answer.status().as_u16(), answer.body().as_str()), (200, text)),
            Err((status, why)) => {
                assert_eq!((answer.status().as_u16(), reason), (status, Some(why)), "{method} {target}");
            }
        }
    }
}

#[tokio::test]
async fn a_workload_that_is_not_known_yet_lets_nobody_in_and_a_new_snapshot_counts_at_once() {
    let mesh = SharedMesh::new(Mesh::default());
    let layer = AuthorizationLayer::new(mesh.clone(), name("cart"));
    let service = layer.layer(service_fn(application));
    let status = async || {
        let request = request("GET", "/list", Some(facts(Some("web"))));
        service.clone().oneshot(request).await.expect("infallible").status().as_u16()
    };
    assert_eq!(status().await, 503);
    mesh.publish(Mesh::from_resources(policies()));
    assert_eq!(status().await, 200);
}

#[tokio::test]
async fn a_service_behind_the_routing_layer_is_told_its_rule() {
    let rules = vec![rule("/a", vec![backend("one", 1)]), rule("/b", vec![backend("two", 1)])];
    let mesh = Mesh::from_resources([listener(), route(rules)]);
    let layer = RoutingLayer::new(SharedMesh::new(mesh), name("edge"), 80);
    let service = layer.layer(service_fn(application));
    let ask = async |method: &str, target: &str| {
        let request = request(method, target, Some(facts(None)));
        let answer = service.clone().oneshot(request).await.expect("infallible");
        (answer.status().as_u16(), answer.extensions().get::<Reason>().copied(), answer.into_body())
    };
    let (status, _, text) = ask("GET", "/x/../b/c").await;
    assert_eq!(
        (status, text.as_str()),
        (200, "GET /b/c host shop.test forged - upgrade websocket rule 1 allowed None")
    );
    assert_eq!(ask("GET", "/c").await.1, Some(Reason::NoRule));
    assert_eq!(ask("GET", "/c").await.0, 404);
    assert_eq!(ask("TRACE", "/a").await.0, 405);
    assert_eq!(ask("GET", "/a/..;/b").await.0, 400);
}

fn name(name: &str) -> ObjectName {
    ObjectName::new("shop", name)
}

fn source(kind: &str, object: &str) -> SourceRef {
    SourceRef::new(kind, name(object), Origin::Builtin)
}

fn listener_key() -> ResourceKey {
    ResourceKey::local_part(Kind::Listener, name("edge"), "http")
}

/// The listener of gateway `shop/edge` on port 80.
fn listener() -> Resource {
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

fn backend(object: &str, weight: u32) -> Backend {
    let target = Target::Service { service: name(object), port: 80 };
    Backend { target, weight, filters: Vec::new() }
}

/// A rule for a path prefix.
fn rule(prefix: &str, backends: Vec<Backend>) -> Rule {
    let matches = vec![Match { path: PathMatch::prefix(prefix), ..Match::default() }];
    Rule { matches, backends, ..Rule::default() }
}

/// A route of the gateway's listener.
fn route(rules: Vec<Rule>) -> Resource {
    attached(RouteKind::Http, Attachment::Listener(listener_key()), rules)
}

fn attached(kind: RouteKind, to: Attachment, rules: Vec<Rule>) -> Resource {
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

fn identity(account: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{account}").parse().expect("a good identity")
}

fn workload(object: &str) -> Arc<Workload> {
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
fn known(object: &str) -> Resource {
    Resource::Workload(workload(object))
}

fn policy(object: &str, action: Action, rules: Vec<PolicyRule>) -> Resource {
    Resource::Policy(Arc::new(AuthorizationPolicy {
        key: ResourceKey::local(Kind::Policy, name(object)),
        source: source("AuthorizationPolicy", object),
        action,
        selector: BTreeMap::new(),
        rules,
    }))
}
