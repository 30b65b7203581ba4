//! Route choice and inserts at growing numbers of routes on one host. One process, one thread, no traffic.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use mesh_model::engine::{Place, route_request};
use mesh_model::matcher::{Match, PathMatch};
use mesh_model::{
    Attachment, Authority, Delta, HostPattern, Kind, Listener, ListenerProtocol, Mesh, ObjectName, Origin,
    RequestHead, Resource, ResourceKey, Route, RouteKind, Rule, SourceRef,
};
use mesh_rt::{Clock, SystemClock};

use crate::say;

const ROUNDS: usize = 7;
const LOOKUPS: u32 = 200_000;

/// Prints the median time of one choice at each size as a difference to one route, and of one insert.
pub(crate) fn run() {
    let sizes = [1, 100, 10_000, 40_000];
    let meshes: Vec<_> = sizes.iter().map(|n| mesh(*n)).collect();
    let choices: Vec<_> = sizes.iter().zip(&meshes).map(|(n, mesh)| median(|| choose(mesh, *n))).collect();
    for (size, time) in sizes.iter().zip(&choices) {
        let more = time.as_nanos().saturating_sub(choices[0].as_nanos());
        say(&format!("choice   {size:>6} routes  {:>6} ns   {more:>5} ns above one route", time.as_nanos()));
    }
    let insert = median(|| insert_one(&meshes[3]));
    say(&format!(
        "insert   40000 routes  {:>6.1} us   including a new snapshot",
        insert.as_nanos() as f64 / 1e3
    ));
}

fn median(mut measure: impl FnMut() -> Duration) -> Duration {
    let mut all: Vec<_> = (0..ROUNDS).map(|_| measure()).collect();
    all.sort();
    all[ROUNDS / 2]
}

fn choose(mesh: &Mesh, routes: usize) -> Duration {
    let gateway = gateway();
    let place = Place::Gateway { gateway: &gateway, port: 80, sni: None };
    let authority: Authority = "shop.test".parse().expect("a good authority");
    let headers = HeaderMap::new();
    let paths: Vec<_> = (0..64).map(|n| format!("/team/service-{}/item", n * routes / 64)).collect();
    let begin = SystemClock.monotonic();
    for n in 0..LOOKUPS {
        let path = &paths[n as usize % paths.len()];
        let head =
            RequestHead { method: &Method::GET, authority: &authority, path, query: None, headers: &headers };
        black_box(route_request(mesh, place, &head));
    }
    (SystemClock.monotonic() - begin) / LOOKUPS
}

fn insert_one(mesh: &Mesh) -> Duration {
    const INSERTS: usize = 200;
    let deltas: Vec<_> =
        (0..INSERTS).map(|n| Delta { set: vec![route(1_000_000 + n)], removed: Vec::new() }).collect();
    let begin = SystemClock.monotonic();
    for delta in &deltas {
        black_box(mesh.apply(delta));
    }
    (SystemClock.monotonic() - begin) / INSERTS as u32
}

fn gateway() -> ObjectName {
    ObjectName::new("shop", "edge")
}

fn listener_key() -> ResourceKey {
    ResourceKey::local_part(Kind::Listener, gateway(), "http")
}

fn mesh(routes: usize) -> Mesh {
    let listener = Listener {
        key: listener_key(),
        source: SourceRef::new("Gateway", gateway(), Origin::Builtin),
        gateway: gateway(),
        name: Arc::from("http"),
        port: 80,
        protocol: ListenerProtocol::Http,
        hostname: HostPattern::Any,
        tls: None,
        backend_certificate: None,
        filters: Vec::new(),
        tracing: None,
    };
    let listener = Resource::Listener(Arc::new(listener));
    Mesh::from_resources([listener].into_iter().chain((0..routes).map(route)))
}

/// Routes of one host: prefixes mostly, and every fourth an exact path with a method.
fn route(n: usize) -> Resource {
    let object = ObjectName::new("shop", format!("route-{n}"));
    let path = format!("/team/service-{n}");
    let path =
        if n % 4 == 3 { PathMatch::Exact(Arc::from(path + "/item")) } else { PathMatch::prefix(&path) };
    Resource::Route(Arc::new(Route {
        key: ResourceKey::local(Kind::Route, object.clone()),
        source: SourceRef::new("HTTPRoute", object, Origin::Builtin),
        kind: RouteKind::Http,
        created: 0,
        attachments: vec![Attachment::Listener(listener_key())],
        hostnames: vec!["shop.test".parse().expect("a good hostname")],
        rules: vec![Rule { matches: vec![Match { path, ..Match::default() }], ..Rule::default() }],
        held: false,
    }))
}
