//! Backends outside of the mesh: their names are looked up by the proxy, and each fails alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh_dns::{Found, Lookup, LookupError};
use mesh_model::{
    AppProtocol, HostPattern, Kind, Listener, ListenerProtocol, Resource, ResourceKey, Route, RouteKind,
    Service, ServicePort, Transport,
};
use mesh_proxy::names::keep_names;
use mesh_rt::net::bind_udp;
use tokio::net::UdpSocket;

use super::requests::{application, connect, get};
use super::world::*;

/// Names with their addresses; all others do not exist.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<BTreeMap<&'static str, IpAddr>>>);

impl Lookup for Names {
    async fn lookup(&self, name: Arc<str>) -> Result<Found, LookupError> {
        let found = self.0.lock().expect("no test panics in here").get(&*name).copied();
        let found = found.map(|address| Found { addresses: vec![address], ttl: Duration::from_secs(60) });
        found.ok_or(LookupError::NoAddress)
    }
}

/// A service whose endpoints are the addresses of a name, at this port.
fn outside(object: &str, hostname: &str, port: u16) -> Resource {
    let at = |transport| ServicePort { name: Arc::from(""), port, transport, protocol: AppProtocol::Detect };
    Resource::Service(Arc::new(Service {
        key: ResourceKey::local(Kind::Service, name(object)),
        source: source("XBackend", object),
        name: name(object),
        addresses: Vec::new(),
        ports: vec![at(Transport::Tcp), at(Transport::Udp)],
        retry_budget: None,
        session: None,
        hostname: Some(Arc::from(hostname)),
    }))
}

fn routed(object: &str, kind: RouteKind, on: &Listener, host: &str, port: u16) -> Resource {
    let Resource::Route(made) = route(object, kind, on, &[(object, 1)]) else { unreachable!("a route") };
    let mut made: Route = (*made).clone();
    made.hostnames = host.parse::<HostPattern>().into_iter().filter(|_| kind == RouteKind::Http).collect();
    for backend in made.rules.iter_mut().flat_map(|rule| &mut rule.backends) {
        let service = name(object);
        backend.target = mesh_model::backend::Target::Service { service, port };
    }
    Resource::Route(Arc::new(made))
}

fn loopback() -> IpAddr {
    [127, 0, 0, 1].into()
}

#[tokio::test]
async fn a_name_leads_where_its_addresses_are_and_one_without_fails_alone() {
    let world = World::new();
    let names = Names::default();
    names.0.lock().expect("no panic").insert("api.example", loopback());
    tokio::spawn(keep_names(world.mesh.clone(), names.clone()));
    let (one, other) = (application().await, application().await);
    let http = listener("http", 8080, ListenerProtocol::Http, ("*", None));
    world.set([
        Resource::Listener(Arc::new(http.clone())),
        outside("api", "api.example", one.port()),
        outside("gone", "gone.example", one.port()),
        service("cart", AppProtocol::Http1),
        endpoints("cart", [(other, None)]),
        routed("api", RouteKind::Http, &http, "api.test", one.port()),
        routed("gone", RouteKind::Http, &http, "gone.test", one.port()),
        routed("cart", RouteKind::Http, &http, "cart.test", 80),
    ]);
    let gateway = world.gateway(2);
    until(|| world.mesh.current().endpoints(&name("api"), Transport::Tcp, one.port()).is_some()).await;
    let mut client = connect(gateway.gateway_address(Transport::Tcp, 8080).expect("open")).await;
    let (status, head) = get(&mut client, "api.test", "/a").await;
    assert_eq!((status, head.lines().next()), (200, Some("GET /a HTTP/1.1")), "{head}");
    assert_eq!(get(&mut client, "gone.test", "/a").await.0, 503);
    assert_eq!(get(&mut client, "cart.test", "/a").await.0, 200);
    // The name changes to one that does not exist, and comes back; others are served all the time.
    world.set([outside("api", "gone.example", one.port())]);
    until(|| world.mesh.current().endpoints(&name("api"), Transport::Tcp, one.port()).is_none()).await;
    assert_eq!(get(&mut client, "api.test", "/a").await.0, 503);
    assert_eq!(get(&mut client, "cart.test", "/a").await.0, 200);
    world.set([outside("api", "api.example", one.port())]);
    until(|| world.mesh.current().endpoints(&name("api"), Transport::Tcp, one.port()).is_some()).await;
    assert_eq!(get(&mut client, "api.test", "/a").await.0, 200);
    // A backend that is gone leaves nothing behind.
    world.remove(&ResourceKey::local(Kind::Service, name("api")));
    until(|| world.mesh.current().endpoints(&name("api"), Transport::Tcp, one.port()).is_none()).await;
    assert_eq!(get(&mut client, "api.test", "/a").await.0, 500);
}

#[tokio::test]
async fn bytes_and_datagrams_go_to_a_name_too() {
    let world = World::new();
    let names = Names::default();
    names.0.lock().expect("no panic").insert("db.example", loopback());
    tokio::spawn(keep_names(world.mesh.clone(), names));
    let tcp = echo("hello ").await;
    let socket = bind_udp(SocketAddr::new(loopback(), 0), false).expect("a port");
    let socket = UdpSocket::from_std(socket).expect("a runtime");
    let udp = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..length], from).await;
        }
    });
    let bytes = listener("tcp", 9000, ListenerProtocol::Tcp, ("*", None));
    let datagrams = listener("udp", 5353, ListenerProtocol::Udp, ("*", None));
    world.set([
        Resource::Listener(Arc::new(bytes.clone())),
        Resource::Listener(Arc::new(datagrams.clone())),
        outside("tcp", "db.example", tcp.port()),
        outside("udp", "db.example", udp.port()),
        routed("tcp", RouteKind::Tcp, &bytes, "*", tcp.port()),
        routed("udp", RouteKind::Udp, &datagrams, "*", udp.port()),
    ]);
    let gateway = world.gateway(1);
    until(|| world.mesh.current().endpoints(&name("udp"), Transport::Udp, udp.port()).is_some()).await;
    let at = gateway.gateway_address(Transport::Tcp, 9000).expect("open");
    assert_eq!(ask(at, "ping ").await.expect("served"), "hello ping bye");
    let mut at = gateway.gateway_address(Transport::Udp, 5353).expect("open");
    at.set_ip(loopback());
    let client = bind_udp(SocketAddr::new(loopback(), 0), false).expect("a port");
    let client = UdpSocket::from_std(client).expect("a runtime");
    client.send_to(b"ping", at).await.expect("sent");
    let mut buffer = [0; 64];
    let length = in_time(client.recv(&mut buffer)).await.expect("an answer");
    assert_eq!(&buffer[..length], b"ping");
}
