//! The indexed choice against a naive one: every rule compared with the request, the survivors sorted by the
//! words of the specification. Any order of events must lead to the same choice.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mesh_model::engine::{Place, Routed, explain_route, route_request};
use mesh_model::matcher::{HeaderMatch, Match, PathMatch, QueryMatch, Regex, ValueMatch};
use mesh_model::{
    Attachment, Authority, Delta, HostPattern, Kind, Listener, ListenerProtocol, Mesh, ObjectName, Origin,
    RequestHead, Resource, ResourceKey, Route, RouteKind, Rule, SourceRef,
};
use proptest::prelude::*;

fn listener() -> Listener {
    let gateway = ObjectName::new("n", "g");
    Listener {
        key: ResourceKey::local_part(Kind::Listener, gateway.clone(), "l"),
        source: SourceRef::new("Gateway", gateway.clone(), Origin::Builtin),
        gateway,
        name: Arc::from("l"),
        port: 80,
        protocol: ListenerProtocol::Http,
        hostname: HostPattern::Any,
        tls: None,
        backend_certificate: None,
        filters: Vec::new(),
        tracing: None,
    }
}

fn value() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![
        4 => prop_oneof![Just("a"), Just("b")].prop_map(|v| ValueMatch::Exact(Arc::from(v))),
        1 => Just(ValueMatch::Regex(Regex::new("a|b").expect("valid"))),
    ]
}

fn path() -> impl Strategy<Value = PathMatch> {
    let text = prop_oneof![Just("/"), Just("/a"), Just("/a/b"), Just("/a/b/c"), Just("/b")];
    prop_oneof![
        text.clone().prop_map(|t| PathMatch::Exact(Arc::from(t))),
        text.prop_map(PathMatch::prefix),
        prop_oneof![Just("/a.*"), Just("/(a|b)")]
            .prop_map(|t| PathMatch::Regex(Regex::new(t).expect("valid"))),
    ]
}

fn one_match() -> impl Strategy<Value = Match> {
    let method = proptest::option::weighted(0.3, prop_oneof![Just(Method::GET), Just(Method::POST)]);
    let header = (prop_oneof![Just("x-a"), Just("x-b")], value())
        .prop_map(|(name, value)| HeaderMatch { name: HeaderName::try_from(name).expect("name"), value });
    let query = (prop_oneof![Just("p"), Just("q")], value())
        .prop_map(|(n, value)| QueryMatch { name: Arc::from(n), value });
    (path(), method, prop::collection::vec(header, 0..2), prop::collection::vec(query, 0..2))
        .prop_map(|(path, method, headers, query)| Match { path, method, headers, query })
}

fn routes() -> impl Strategy<Value = Vec<Route>> {
    let host = prop_oneof![Just("*"), Just("x.test"), Just("*.test"), Just("y.x.test"), Just("*.x.test")]
        .prop_map(|h| h.parse().expect("host"));
    let rule =
        prop::collection::vec(one_match(), 0..4).prop_map(|matches| Rule { matches, ..Rule::default() });
    let route = (prop::collection::vec(host, 0..3), 0u64..3, prop::collection::vec(rule, 1..5));
    prop::collection::vec(route, 1..8).prop_map(|all| {
        let numbered = all.into_iter().enumerate();
        numbered.map(|(n, (hostnames, created, rules))| build(n, hostnames, created, rules)).collect()
    })
}

fn build(n: usize, mut hostnames: Vec<HostPattern>, created: u64, rules: Vec<Rule>) -> Route {
    hostnames.sort();
    hostnames.dedup();
    let object = ObjectName::new("n", format!("r{n}"));
    Route {
        key: ResourceKey::local(Kind::Route, object.clone()),
        source: SourceRef::new("HTTPRoute", object, Origin::Builtin),
        kind: RouteKind::Http,
        created,
        attachments: vec![Attachment::Listener(listener().key)],
        hostnames,
        rules,
        held: false,
    }
}

/// The choice by the words of the specification.
fn naive(routes: &[Route], head: &RequestHead<'_>) -> Option<(String, usize, usize)> {
    let all = [Match::default()];
    let mut found = Vec::new();
    for route in routes {
        let hosts = if route.hostnames.is_empty() { &[HostPattern::Any][..] } else { &route.hostnames };
        let Some(host) =
            hosts.iter().filter(|h| h.matches(head.authority.host())).max_by_key(|h| h.specificity())
        else {
            continue;
        };
        for (r, rule) in route.rules.iter().enumerate() {
            let matches = if rule.matches.is_empty() { &all[..] } else { &rule.matches };
            for (a, m) in matches.iter().enumerate().filter(|(_, m)| admits(m, head)) {
                let path = match &m.path {
                    PathMatch::Exact(p) => (3, p.len()),
                    PathMatch::Regex(p) => (2, p.as_str().len()),
                    PathMatch::Prefix(p) => (1, p.len()),
                };
                let form = (m.method.is_some(), m.headers.len(), m.query.len());
                let place = (route.created, route.key.object.name.to_string(), r, a);
                found.push((std::cmp::Reverse((host.specificity(), path, form)), place));
            }
        }
    }
    found.sort();
    found.into_iter().next().map(|(_, (_, name, r, a))| (name, r, a))
}

fn admits(m: &Match, head: &RequestHead<'_>) -> bool {
    let query: Vec<(&str, &str)> =
        head.query.unwrap_or("").split('&').filter_map(|p| p.split_once('=')).collect();
    m.path.matches(head.path)
        && m.method.as_ref().is_none_or(|method| method == head.method)
        && m.headers
            .iter()
            .all(|h| head.headers.get(&h.name).is_some_and(|v| h.value.matches(v.to_str().expect("text"))))
        && m.query
            .iter()
            .all(|q| query.iter().find(|(n, _)| *n == &*q.name).is_some_and(|(_, v)| q.value.matches(v)))
}

fn indexed(mesh: &Mesh, head: &RequestHead<'_>) -> Option<(String, usize, usize)> {
    let gateway = ObjectName::new("n", "g");
    let place = Place::Gateway { gateway: &gateway, port: 80, sni: None };
    let explained = explain_route(mesh, place, head).route.map(|r| (r.source, r.rule, r.alternative));
    match route_request(mesh, place, head) {
        Routed::Rule(c) => {
            let found = (c.route().key.object.name.to_string(), c.rule_index(), c.alternative_index());
            assert_eq!(explained, Some((c.route().source.to_string(), found.1, found.2)));
            Some(found)
        }
        _ => None,
    }
}

fn request() -> impl Strategy<Value = (Method, &'static str, &'static str, Option<&'static str>, HeaderMap)> {
    let header = |name| {
        proptest::option::of(prop_oneof![Just("a"), Just("b"), Just("c")])
            .prop_map(move |v| v.map(|v| (name, v)))
    };
    let headers = (header("x-a"), header("x-b")).prop_map(|(a, b)| {
        let lines = a.into_iter().chain(b);
        lines.map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect::<HeaderMap>()
    });
    let query = proptest::option::of(prop_oneof![
        Just("p=a"),
        Just("q=b"),
        Just("p=a&q=b"),
        Just("p=b&p=a"),
        Just("r=a")
    ]);
    (
        prop_oneof![Just(Method::GET), Just(Method::POST), Just(Method::PUT)],
        prop_oneof![Just("x.test"), Just("y.x.test"), Just("other"), Just("z.y.x.test")],
        prop_oneof![
            Just("/"),
            Just("/a"),
            Just("/a/b"),
            Just("/a/b/c"),
            Just("/a/b/c/d"),
            Just("/ab"),
            Just("/b/x")
        ],
        query,
        headers,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_indexed_choice_equals_the_specification(routes in routes(), requests in prop::collection::vec(request(), 1..12)) {
        let listener = Resource::Listener(Arc::new(listener()));
        let all: Vec<_> = routes.iter().cloned().map(|r| Resource::Route(Arc::new(r))).collect();
        let forward = Mesh::from_resources([listener.clone()].into_iter().chain(all.clone()));
        let backward = Mesh::from_resources(all.iter().rev().cloned().chain([listener]));
        for (method, host, path, query, headers) in &requests {
            let authority: Authority = host.parse().expect("authority");
            let head = RequestHead { method, authority: &authority, path, query: *query, headers };
            let expected = naive(&routes, &head);
            prop_assert_eq!(indexed(&forward, &head), expected.clone(), "{} {}{} {:?}", method, host, path, query);
            prop_assert_eq!(indexed(&backward, &head), expected);
        }
    }

    #[test]
    fn adding_and_removing_in_any_order_equals_building_at_once(routes in routes(), extra in routes(), req in request()) {
        let listener = Resource::Listener(Arc::new(listener()));
        let all: Vec<_> = routes.iter().cloned().map(|r| Resource::Route(Arc::new(r))).collect();
        let expected = Mesh::from_resources([listener.clone()].into_iter().chain(all.clone()));
        let noise: Vec<_> = extra.iter().cloned().map(|mut r| {
            r.key.object = ObjectName::new("n", format!("extra-{}", r.key.object.name));
            Resource::Route(Arc::new(r))
        }).collect();
        let mut mesh = Mesh::from_resources(noise.clone());
        for resource in all.iter().chain([&listener]) {
            mesh = mesh.apply(&Delta { set: vec![resource.clone()], removed: Vec::new() });
        }
        for resource in &noise {
            mesh = mesh.apply(&Delta { set: Vec::new(), removed: vec![resource.key().clone()] });
        }
        let (method, host, path, query, headers) = req;
        let authority: Authority = host.parse().expect("authority");
        let head = RequestHead { method: &method, authority: &authority, path, query, headers: &headers };
        prop_assert_eq!(indexed(&mesh, &head), indexed(&expected, &head));
    }

    #[test]
    fn normalisation_is_idempotent(raw in "[/a-c.%0-9A-F\\\\;~-]{0,24}") {
        let raw = format!("/{raw}");
        if let Ok(once) = mesh_model::path::normalize(&raw) {
            let twice = mesh_model::path::normalize(&once);
            prop_assert_eq!(twice.as_deref(), Ok(&*once));
            prop_assert!(!once.contains("/../") && !once.contains("//") && !once.ends_with("/.."));
        }
    }

    #[test]
    fn authorities_print_what_they_parse(text in "[a-zA-Z0-9.:\\[\\]_-]{0,20}") {
        if let Ok(authority) = text.parse::<Authority>() {
            prop_assert_eq!(authority.to_string().parse::<Authority>(), Ok(authority));
        }
    }
}
