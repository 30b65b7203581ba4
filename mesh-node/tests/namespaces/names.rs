//! Names in a pod that is served: which questions are answered there, and which go on to the pod's server.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use mesh_model::{AppProtocol, Delta, Kind, ObjectName, Origin, Resource, ResourceKey};
use mesh_model::{Service, ServicePort, SourceRef, Transport};
use mesh_proxy::names::Settings;

use crate::world::*;

const SERVERS: [&str; 2] = ["10.99.0.1:53", "[fd99::1]:53"];
/// What the server says to everything: REFUSED.
const REFUSED: u8 = 5;

/// A question for the IPv4 addresses of a name.
fn question(name: &str) -> Vec<u8> {
    let mut message = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// How long the server thinks about names that begin with `slow`.
const SLOW: Duration = Duration::from_millis(500);

/// The server of the pod, beside it.
fn serve(peer: &Room) {
    peer.run(|| {
        let socket = mesh_rt::net::bind_udp("[::]:53".parse().unwrap(), false).unwrap();
        socket.set_nonblocking(false).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                if buffer[13..].starts_with(b"slow") {
                    std::thread::park_timeout(SLOW);
                }
                buffer[2..4].copy_from_slice(&[0x81, 0x80 | REFUSED]);
                socket.send_to(&buffer[..length], client).ok();
            }
        });
    });
}

/// The code of the answer, and its end.
fn asked(pod: &Room, server: &'static str, name: &'static str) -> (u8, Vec<u8>) {
    pod.run(move || {
        let any = if server.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let socket: UdpSocket = mesh_rt::net::bind_udp(any.parse().unwrap(), false).unwrap();
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.connect(server).unwrap();
        socket.send(&question(name)).unwrap();
        let mut buffer = vec![0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        (buffer[3] & 0xf, buffer[length - 4..length].to_vec())
    })
}

fn service() -> Resource {
    let name = ObjectName::new("shop", "web");
    let port = ServicePort {
        name: Arc::from("http"),
        port: 80,
        transport: Transport::Tcp,
        protocol: AppProtocol::Http1,
    };
    Resource::Service(Arc::new(Service {
        key: ResourceKey::local(Kind::Service, name.clone()),
        source: SourceRef::new("Service", name.clone(), Origin::Builtin),
        name,
        addresses: vec![IpAddr::from([10, 96, 0, 1])],
        ports: vec![port],
        retry_budget: None,
        session: None,
        hostname: None,
    }))
}

#[test]
fn services_are_answered_over_both_families_and_everything_else_by_the_pods_server() {
    let Some(mut world) = World::new() else { return };
    world.peer.ip("address add fd99::1/64 dev link0 nodad");
    world.pod.ip("address add fd99::2/64 dev eth0 nodad");
    serve(&world.peer);
    let servers = SERVERS.map(|server| server.parse::<SocketAddr>().unwrap()).to_vec();
    let settings = Settings { servers, domain: Some("cluster.local".to_owned()) };
    world.shared.names = Some((15_053, settings));
    let pod = world.enter(true);
    let set = vec![service()];
    world.shared.mesh.change(|mesh| mesh.apply(&Delta { set, removed: Vec::new() }));
    for server in SERVERS {
        let known = asked(&world.pod, server, "web.shop.svc.cluster.local");
        assert_eq!(known, (0, vec![10, 96, 0, 1]), "{server}");
        assert_eq!(asked(&world.pod, server, "below.web.shop.svc.cluster.local").0, 3, "{server}");
        assert_eq!(asked(&world.pod, server, "www.example.com").0, REFUSED, "{server}");
    }
    let leaving = std::thread::spawn(move || wait(pod.release()));
    let deadline = std::time::Instant::now() + SOON;
    while asked(&world.pod, SERVERS[0], "web.shop.svc.cluster.local").0 != REFUSED {
        assert!(std::time::Instant::now() < deadline, "a pod that left is still answered");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    leaving.join().unwrap();
}

#[test]
fn no_question_is_lost_when_another_process_takes_a_pod_over() {
    let Some(mut world) = World::new() else { return };
    serve(&world.peer);
    let settings =
        Settings { servers: vec![SERVERS[0].parse().unwrap()], domain: Some("cluster.local".to_owned()) };
    world.shared.names = Some((15_053, settings));
    let first = world.enter(true);
    let under_way = world.pod.run(|| {
        let socket = mesh_rt::net::bind_udp("0.0.0.0:0".parse().unwrap(), false).unwrap();
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.connect(SERVERS[0]).unwrap();
        socket.send(&question("slow.example.com")).unwrap();
        socket
    });
    // The first one has it.
    std::thread::park_timeout(SLOW / 5);
    let _second = world.enter(true);
    let set = vec![service()];
    world.shared.mesh.change(|mesh| mesh.apply(&Delta { set, removed: Vec::new() }));
    let leaving = std::thread::spawn(move || wait(async move { first.leave_to_others().await }));
    while !leaving.is_finished() {
        assert_eq!(asked(&world.pod, SERVERS[0], "web.shop.svc.cluster.local").0, 0);
    }
    leaving.join().unwrap();
    let mut buffer = [0; 512];
    under_way.recv(&mut buffer).unwrap();
    assert_eq!(buffer[3] & 0xf, REFUSED);
}
