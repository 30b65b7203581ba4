//! Decisions of the engine on small meshes written as values.

use std::sync::Arc;

use http::{HeaderMap, Method};
use mesh_model::engine::{Place, Routed, explain_route, route_request};
use mesh_model::matcher::{Match, PathMatch};
use mesh_model::{
    Attachment, Authority, HostPattern, Kind, Listener, ListenerProtocol, Mesh, ObjectName, Origin,
    RequestHead, Resource, ResourceKey, Route, RouteKind, Rule, SourceRef,
};

fn gateway() -> ObjectName {
    ObjectName::new("shop", "edge")
}

fn listener(name: &str, hostname: &str) -> Listener {
    Listener {
        key: ResourceKey::local_part(Kind::Listener, gateway(), name),
        source: SourceRef::new("Gateway", gateway(), Origin::Builtin),
        gateway: gateway(),
        name: Arc::from(name),
        port: 80,
        protocol: ListenerProtocol::Http,
        hostname: hostname.parse().expect("hostname"),
        tls: None,
        backend_certificate: None,
        filters: Vec::new(),
        tracing: None,
    }
}

fn route(name: &str, on: &Listener, hostnames: &[&str], paths: &[PathMatch]) -> Route {
    let object = ObjectName::new("shop", name);
    Route {
        key: ResourceKey::local_part(Kind::Route, object.clone(), "http"),
        source: SourceRef::new("HTTPRoute", object, Origin::Builtin),
        kind: RouteKind::Http,
        created: 0,
        attachments: vec![Attachment::Listener(on.key.clone())],
        hostnames: hostnames.iter().map(|h| h.parse::<HostPattern>().expect("hostname")).collect(),
        rules: paths
            .iter()
            .map(|path| Rule {
                matches: vec![Match { path: path.clone(), ..Match::default() }],
                ..Rule::default()
            })
            .collect(),
        held: false,
    }
}

fn mesh(listeners: &[Listener], routes: Vec<Route>) -> Mesh {
    let listeners = listeners.iter().cloned().map(|l| Resource::Listener(Arc::new(l)));
    Mesh::from_resources(listeners.chain(routes.into_iter().map(|r| Resource::Route(Arc::new(r)))))
}

/// The route and rule that serve a GET, or the status of the answer.
fn get(mesh: &Mesh, host: &str, path: &str) -> String {
    let (gateway, authority): (_, Authority) = (gateway(), host.parse().expect("authority"));
    let headers = HeaderMap::new();
    let head =
        RequestHead { method: &Method::GET, authority: &authority, path, query: None, headers: &headers };
    let place = Place::Gateway { gateway: &gateway, port: 80, sni: None };
    let routed = match route_request(mesh, place, &head) {
        Routed::Refused { status, .. } => status.to_string(),
        Routed::Rule(c) => format!("{}/{}", c.route().key.object.name, c.rule_index()),
        Routed::Service { .. } => "service".to_owned(),
    };
    let decision = explain_route(mesh, place, &head);
    let explained = decision.route.map(|r| format!("{} rule {}", r.source, r.rule));
    let expected =
        routed.split_once('/').map(|(name, rule)| format!("HTTPRoute shop/{name} (built in) rule {rule}"));
    assert_eq!(explained, expected, "the explanation names another rule");
    routed
}

#[test]
fn exact_paths_come_before_the_longest_prefix() {
    let edge = listener("http", "*");
    let paths = [
        PathMatch::prefix("/"),
        PathMatch::prefix("/a/b"),
        PathMatch::Exact(Arc::from("/a/b/c")),
        PathMatch::prefix("/a"),
    ];
    let mesh = mesh(std::slice::from_ref(&edge), vec![route("r", &edge, &[], &paths)]);
    for (path, expected) in
        [("/a/b/c", "r/2"), ("/a/b/c/d", "r/1"), ("/a/b", "r/1"), ("/a/bc", "r/3"), ("/x", "r/0")]
    {
        assert_eq!(get(&mesh, "any.test", path), expected, "{path}");
    }
}

#[test]
fn a_request_uses_the_routes_of_its_most_specific_listener_only() {
    let (all, wild) = (listener("all", "*"), listener("wild", "*.test"));
    let routes = vec![
        route("a", &all, &[], &[PathMatch::prefix("/a")]),
        route("w", &wild, &[], &[PathMatch::prefix("/w")]),
    ];
    let mesh = mesh(&[all, wild], routes);
    let cases =
        [("x.test", "/w", "w/0"), ("x.test", "/a", "404"), ("other", "/a", "a/0"), ("other", "/w", "404")];
    for (host, path, expected) in cases {
        assert_eq!(get(&mesh, host, path), expected, "{host}{path}");
    }
}

#[test]
fn an_unmatched_request_falls_through_to_the_less_specific_hostname() {
    let edge = listener("http", "*");
    let wide =
        route("wide", &edge, &["*.test"], &[PathMatch::prefix("/long/prefix"), PathMatch::prefix("/")]);
    let narrow = route("narrow", &edge, &["x.test"], &[PathMatch::prefix("/long")]);
    let mesh = mesh(&[edge], vec![wide, narrow]);
    assert_eq!(get(&mesh, "x.test", "/long/prefix"), "narrow/0");
    assert_eq!(get(&mesh, "x.test", "/else"), "wide/1");
    assert_eq!(get(&mesh, "y.test", "/long/prefix"), "wide/0");
    assert_eq!(get(&mesh, "test", "/"), "404");
}

#[test]
fn removing_what_was_added_gives_the_same_decisions_as_before() {
    let edge = listener("http", "*");
    let many: Vec<_> = (0..40).map(|n| PathMatch::Exact(Arc::from(format!("/{}", n % 3)))).collect();
    let before =
        mesh(std::slice::from_ref(&edge), vec![route("base", &edge, &[], &[PathMatch::prefix("/")])]);
    let extra = Resource::Route(Arc::new(route("extra", &edge, &[], &many)));
    let key = extra.key().clone();
    let during = before.apply(&mesh_model::Delta { set: vec![extra], removed: vec![] });
    assert_eq!(get(&during, "h", "/1"), "extra/1");
    let after = during.apply(&mesh_model::Delta { set: vec![], removed: vec![key] });
    assert_eq!(
        (get(&after, "h", "/1"), after.resources().count()),
        ("base/0".to_owned(), before.resources().count())
    );
}
