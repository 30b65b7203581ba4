//! Names against a small cluster.

use std::sync::Arc;

use mesh_model::{
    AppProtocol, EndpointChunk, Kind as ResourceKind, Origin, Resource, ResourceKey, SourceRef,
};

use super::*;
use crate::message::{Family, Question};

fn source(name: &ObjectName) -> SourceRef {
    SourceRef::new("Service", name.clone(), Origin::Builtin)
}

fn service(name: &str, addresses: &[&str], ports: &[(&str, u16, Transport)]) -> Resource {
    let name = ObjectName::new("shop", name);
    let port = |(name, port, transport): &(&str, u16, Transport)| ServicePort {
        name: Arc::from(*name),
        port: *port,
        transport: *transport,
        protocol: AppProtocol::Detect,
    };
    Resource::Service(Arc::new(Service {
        key: ResourceKey::local(ResourceKind::Service, name.clone()),
        source: source(&name),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ports: ports.iter().map(port).collect(),
        retry_budget: None,
        session: None,
        hostname: None,
        name,
    }))
}

fn endpoints(of: &str, port: u16, all: &[(&str, Option<&str>, bool)]) -> Resource {
    let service = ObjectName::new("shop", of);
    let endpoint = |(address, hostname, ready): &(&str, Option<&str>, bool)| Endpoint {
        address: address.parse().unwrap(),
        identity: None,
        workload: Arc::from("w"),
        ready: *ready,
        zone: None,
        hostname: hostname.map(Arc::from),
    };
    Resource::EndpointChunk(Arc::new(EndpointChunk {
        key: ResourceKey::local_part(ResourceKind::EndpointChunk, service.clone(), format!("{port}/0")),
        source: source(&service),
        service,
        port,
        transport: Transport::Tcp,
        endpoints: all.iter().map(endpoint).collect(),
    }))
}

fn mesh() -> Mesh {
    let http = [("http", 80, Transport::Tcp)];
    Mesh::from_resources([
        service(
            "web",
            &["10.96.0.1", "fd00::1"],
            &[("http", 80, Transport::Tcp), ("dns", 53, Transport::Udp)],
        ),
        endpoints("web", 80, &[("10.0.0.1:8080", None, true)]),
        service("db", &[], &http),
        endpoints(
            "db",
            80,
            &[
                ("10.0.0.2:5432", Some("db-0"), true),
                ("10.0.0.3:5432", Some("db-1"), false),
                ("10.0.0.4:5432", None, true),
            ],
        ),
        service("empty", &[], &http),
        service("bare", &[], &[]),
        service("api.xbackend", &[], &http),
    ])
}

fn ask(name: &str, kind: u16) -> Query {
    let mut message = Question::new(1, name, Family::V4).unwrap().encode();
    let at = 12 + name.len() + 2;
    message[at..at + 2].copy_from_slice(&kind.to_be_bytes());
    Query::read(&message).unwrap()
}

/// What is known of a name, as text.
fn text(known: Option<Known>) -> String {
    match known {
        None => "others".to_owned(),
        Some(Known::Addresses(all)) => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Some(Known::NoSuchName) => "none".to_owned(),
        Some(Known::Places(all)) => {
            let one = |place: &Place| format!("{}:{} {:?}", place.name, place.port, place.addresses);
            all.iter().map(one).collect::<Vec<_>>().join(" ")
        }
    }
}

#[test]
fn names_of_services_are_answered_and_what_may_be_elsewhere_is_left_to_others() {
    let zone = Zone::new("Cluster.local.");
    let table = [
        ("web.shop.svc.cluster.local", 1, "10.96.0.1 fd00::1"),
        ("WEB.Shop.SVC.cluster.LOCAL", 28, "10.96.0.1 fd00::1"),
        (
            "web.shop.svc.cluster.local",
            33,
            "web.shop.svc.cluster.local:80 [10.96.0.1, fd00::1] \
                                            web.shop.svc.cluster.local:53 [10.96.0.1, fd00::1]",
        ),
        ("_http._tcp.web.shop.svc.cluster.local", 33, "web.shop.svc.cluster.local:80 [10.96.0.1, fd00::1]"),
        ("_dns._udp.web.shop.svc.cluster.local", 33, "web.shop.svc.cluster.local:53 [10.96.0.1, fd00::1]"),
        ("_dns._tcp.web.shop.svc.cluster.local", 33, "none"),
        ("http._tcp.web.shop.svc.cluster.local", 33, "none"),
        ("10-0-0-1.web.shop.svc.cluster.local", 1, "10.0.0.1"),
        ("db.shop.svc.cluster.local", 1, "10.0.0.2 10.0.0.4"),
        ("db-0.db.shop.svc.cluster.local", 1, "10.0.0.2"),
        ("db-0.db.shop.svc.cluster.local", 33, "others"),
        ("db-1.db.shop.svc.cluster.local", 1, "none"),
        ("10-0-0-4.db.shop.svc.cluster.local", 1, "10.0.0.4"),
        (
            "_http._tcp.db.shop.svc.cluster.local",
            33,
            "db-0.db.shop.svc.cluster.local:5432 [10.0.0.2] \
                                                      10-0-0-4.db.shop.svc.cluster.local:5432 [10.0.0.4]",
        ),
        ("empty.shop.svc.cluster.local", 1, "none"),
        ("bare.shop.svc.cluster.local", 1, "others"),
        ("x.bare.shop.svc.cluster.local", 1, "others"),
        // It may stand for a name elsewhere; nothing is below such a service.
        ("nothing.shop.svc.cluster.local", 1, "others"),
        ("web.shop.shop.svc.cluster.local", 1, "none"),
        ("api.example.com.shop.svc.cluster.local", 1, "none"),
        ("a.b.c.web.shop.svc.cluster.local", 1, "none"),
        // Not a name of the cluster's services.
        ("shop.svc.cluster.local", 1, "others"),
        ("svc.cluster.local", 1, "others"),
        ("10-0-0-1.shop.pod.cluster.local", 1, "others"),
        ("web.shop.svc.cluster.example", 1, "others"),
        ("web.shop", 1, "others"),
        ("local", 1, "others"),
    ];
    for (name, kind, expected) in table {
        assert_eq!(text(zone.answer(&mesh(), &ask(name, kind))), expected, "{name} {kind}");
    }
}

#[test]
fn before_the_controller_has_spoken_nothing_is_missing() {
    let (zone, empty) = (Zone::new("cluster.local"), Mesh::default());
    let query = ask("a.b.shop.svc.cluster.local", 1);
    assert_eq!((zone.answer(&empty, &query), zone.in_doubt(&empty, &query)), (None, None));
}

#[test]
fn in_doubt_what_the_cluster_would_know_does_not_exist() {
    let zone = Zone::new("cluster.local");
    let table = [
        ("nothing.shop.svc.cluster.local", Some(Known::NoSuchName)),
        ("shop.svc.cluster.local", Some(Known::NoSuchName)),
        ("10-0-0-1.shop.pod.cluster.local", None),
        ("example.com", None),
    ];
    for (name, expected) in table {
        assert_eq!(zone.in_doubt(&mesh(), &ask(name, 1)), expected, "{name}");
    }
}
