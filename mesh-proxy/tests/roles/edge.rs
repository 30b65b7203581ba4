//! Gateways: TCP by weight, TLS by server name, UDP, and listeners that come and go.

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_model::tls::PrivateKey;
use mesh_model::{
    AppProtocol, Certificate, Kind, Listener, ListenerProtocol, ListenerTls, Resource, ResourceKey,
    RouteKind, Transport,
};
use mesh_proxy::proxy::ProxyHandle;
use mesh_rt::net::bind_udp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::world::*;

/// A self-signed certificate as a resource, and its DER for clients that trust it.
fn certificate(object: &str, host: &str) -> (Resource, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).expect("a certificate");
    let der = made.cert.der().clone();
    let resource = Resource::Certificate(Arc::new(Certificate {
        key: ResourceKey::local(Kind::Certificate, name(object)),
        source: source("Secret", object),
        chain: vec![Arc::from(der.as_ref())],
        private_key: PrivateKey::from_der(made.signing_key.serialize_der()),
    }));
    (resource, der)
}

fn terminate(certificate: &str) -> Option<ListenerTls> {
    let certificates = vec![ResourceKey::local(Kind::Certificate, name(certificate))];
    Some(ListenerTls::Terminate { certificates, client: None })
}

fn set_listeners(world: &World, listeners: &[&Listener]) {
    world.set(listeners.iter().map(|listener| Resource::Listener(Arc::new((*listener).clone()))));
}

async fn at(gateway: &ProxyHandle, port: u16) -> SocketAddr {
    until(|| gateway.gateway_address(Transport::Tcp, port).is_some()).await;
    gateway.gateway_address(Transport::Tcp, port).expect("open")
}

/// What a TLS client gets for this server name that trusts this certificate.
async fn ask_tls(to: SocketAddr, host: &str, trusted: &CertificateDer<'static>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a root");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let stream = TcpStream::connect(to).await?;
    in_time(async {
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream.write_all(b"ping ").await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    })
    .await
}

/// An application that ends TLS itself and greets with its name.
async fn tls_server(host: &str, greeting: &'static str) -> (SocketAddr, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).expect("a certificate");
    let der = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![der.clone()], key);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.expect("a configuration")));
    let (listener, address) = listening();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                stream.read_exact(&mut [0; 5]).await?;
                stream.write_all(greeting.as_bytes()).await?;
                stream.shutdown().await
            });
        }
    });
    (address, der)
}

#[tokio::test]
async fn tcp_is_spread_by_weight_and_both_workers_serve() {
    let world = World::new();
    let tcp = listener("tcp", 9000, ListenerProtocol::Tcp, ("*", None));
    let (a, b) = (echo("a ").await, echo("b ").await);
    set_listeners(&world, &[&tcp]);
    world.set([
        service("a", AppProtocol::Tcp),
        service("b", AppProtocol::Tcp),
        endpoints("a", [(a, None)]),
        endpoints("b", [(b, None)]),
        route("split", RouteKind::Tcp, &tcp, &[("a", 9), ("b", 1)]),
    ]);
    let gateway = world.gateway(2);
    let to = at(&gateway, 9000).await;
    let mut counts = [0_u32; 2];
    for _ in 0..100 {
        match ask(to, "").await.expect("served").as_str() {
            "a bye" => counts[0] += 1,
            "b bye" => counts[1] += 1,
            other => panic!("{other:?}"),
        }
    }
    // Each worker turns its own wheel, so the share is exact up to one turn of each.
    assert!((8..=12).contains(&counts[1]), "{counts:?}");
}

#[tokio::test]
async fn one_port_passes_some_names_through_and_ends_tls_for_others() {
    let world = World::new();
    let (secret, own) = certificate("own", "own.example");
    let (backend, theirs) = tls_server("theirs.example", "through").await;
    let own_listener = listener("own", 9443, ListenerProtocol::Tls, ("own.example", terminate("own")));
    let through =
        listener("through", 9443, ListenerProtocol::Tls, ("theirs.example", Some(ListenerTls::Passthrough)));
    set_listeners(&world, &[&own_listener, &through]);
    world.set([
        secret,
        service("plain", AppProtocol::Tcp),
        service("tls", AppProtocol::Tls),
        endpoints("plain", [(echo("ended ").await, None)]),
        endpoints("tls", [(backend, None)]),
        route("own", RouteKind::Tls, &own_listener, &[("plain", 1)]),
        route("through", RouteKind::Tls, &through, &[("tls", 1)]),
    ]);
    let gateway = world.gateway(1);
    let to = at(&gateway, 9443).await;
    assert_eq!(ask_tls(to, "own.example", &own).await.expect("served"), "ended ping bye");
    assert_eq!(ask_tls(to, "theirs.example", &theirs).await.expect("served"), "through");
    // A name that no listener serves ends without one byte of answer, so without an alert.
    let hello = hello("nobody.example");
    let mut stream = TcpStream::connect(to).await.expect("open");
    stream.write_all(&hello).await.expect("open");
    let mut answer = Vec::new();
    let ended = in_time(stream.read_to_end(&mut answer)).await;
    assert!(answer.is_empty(), "{answer:?} {ended:?}");
    // So does what is no TLS at all.
    assert!(ask(to, "GET / HTTP/1.1\r\n\r\n").await.map_or(true, |answer| answer.is_empty()));
}

/// A client's first flight.
fn hello(host: &str) -> Vec<u8> {
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let mut client =
        tokio_rustls::rustls::ClientConnection::new(Arc::new(config), name).expect("a connection");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("a vector takes everything");
    bytes
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_the_old_ones_live_on() {
    let world = World::new();
    let edge = listener("own", 9443, ListenerProtocol::Tls, ("*", terminate("own")));
    let (first, trusted) = certificate("own", "own.example");
    set_listeners(&world, &[&edge]);
    world.set([
        first,
        service("plain", AppProtocol::Tcp),
        endpoints("plain", [(echo("hi ").await, None)]),
        route("own", RouteKind::Tls, &edge, &[("plain", 1)]),
    ]);
    let gateway = world.gateway(1);
    let to = at(&gateway, 9443).await;
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a root");
    let config = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    let name = ServerName::try_from("own.example").expect("a name");
    let stream = TcpStream::connect(to).await.expect("open");
    let mut old = TlsConnector::from(config).connect(name, stream).await.expect("served");

    let (second, newer) = certificate("own", "own.example");
    world.set([second]);
    assert_eq!(ask_tls(to, "own.example", &newer).await.expect("served"), "hi ping bye");
    assert!(ask_tls(to, "own.example", &trusted).await.is_err(), "the old certificate is still shown");
    old.write_all(b"still").await.expect("open");
    let mut answer = [0; 8];
    in_time(old.read_exact(&mut answer)).await.expect("still served");
    assert_eq!(&answer, b"hi still");
}

#[tokio::test]
async fn a_listener_without_usable_certificate_closes_its_connections_only() {
    let world = World::new();
    let (secret, good) = certificate("good", "good.example");
    let bad = listener("bad", 9443, ListenerProtocol::Tls, ("bad.example", terminate("missing")));
    let fine = listener("good", 9443, ListenerProtocol::Tls, ("good.example", terminate("good")));
    set_listeners(&world, &[&bad, &fine]);
    world.set([
        secret,
        service("plain", AppProtocol::Tcp),
        endpoints("plain", [(echo("hi ").await, None)]),
        route("good", RouteKind::Tls, &fine, &[("plain", 1)]),
    ]);
    let gateway = world.gateway(1);
    let to = at(&gateway, 9443).await;
    assert!(ask_tls(to, "bad.example", &good).await.is_err());
    assert_eq!(ask_tls(to, "good.example", &good).await.expect("served"), "hi ping bye");
}

#[tokio::test]
async fn a_change_of_listeners_leaves_connections_of_other_listeners_alone() {
    let world = World::new();
    let stays = listener("stays", 9000, ListenerProtocol::Tcp, ("*", None));
    let goes = listener("goes", 9001, ListenerProtocol::Tcp, ("*", None));
    set_listeners(&world, &[&stays, &goes]);
    world.set([
        service("a", AppProtocol::Tcp),
        endpoints("a", [(echo("hi ").await, None)]),
        route("stays", RouteKind::Tcp, &stays, &[("a", 1)]),
        route("goes", RouteKind::Tcp, &goes, &[("a", 1)]),
    ]);
    let gateway = world.gateway(1);
    let (to_stays, to_goes) = (at(&gateway, 9000).await, at(&gateway, 9001).await);
    let mut kept = TcpStream::connect(to_stays).await.expect("open");
    let mut lost = TcpStream::connect(to_goes).await.expect("open");
    let mut greeting = [0; 3];
    kept.read_exact(&mut greeting).await.expect("served");
    lost.read_exact(&mut greeting).await.expect("served");

    let comes = listener("comes", 9002, ListenerProtocol::Tcp, ("*", None));
    world.remove(&goes.key);
    set_listeners(&world, &[&comes]);
    world.set([route("comes", RouteKind::Tcp, &comes, &[("a", 1)])]);
    assert_eq!(ask(at(&gateway, 9002).await, "").await.expect("served"), "hi bye");
    // The removed listener refuses, and what it carried is cut.
    assert!(in_time(lost.read(&mut greeting)).await.map_or(true, |some| some == 0));
    in_time(async { while TcpStream::connect(to_goes).await.is_ok() {} }).await;
    assert_eq!(at(&gateway, 9000).await, to_stays);
    kept.write_all(b"abc").await.expect("open");
    in_time(kept.read_exact(&mut greeting)).await.expect("still served");
    assert_eq!(&greeting, b"abc");
}

#[tokio::test]
async fn datagrams_reach_the_backend_and_come_back() {
    let world = World::new();
    let udp = listener("udp", 5300, ListenerProtocol::Udp, ("*", None));
    let bound = |to: &str| {
        UdpSocket::from_std(bind_udp(to.parse().expect("address"), false).expect("a port"))
            .expect("a runtime")
    };
    let server = bound(LOCALHOST);
    let backend = server.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        while let Ok((size, from)) = server.recv_from(&mut buffer).await {
            let _ = server.send_to(&[b"pong ", &buffer[..size]].concat(), from).await;
        }
    });
    set_listeners(&world, &[&udp]);
    world.set([
        service("dns", AppProtocol::Detect),
        endpoints_of("dns", Transport::Udp, [(backend, None)]),
        route("dns", RouteKind::Udp, &udp, &[("dns", 1)]),
    ]);
    let gateway = world.gateway(2);
    until(|| gateway.gateway_address(Transport::Udp, 5300).is_some()).await;
    let to = gateway.gateway_address(Transport::Udp, 5300).expect("open");
    let to = SocketAddr::new([127, 0, 0, 1].into(), to.port());
    for turn in 0..10 {
        let client = bound(LOCALHOST);
        let text = format!("{turn}");
        client.send_to(text.as_bytes(), to).await.expect("sent");
        let mut buffer = [0; 64];
        let (size, from) = in_time(client.recv_from(&mut buffer)).await.expect("an answer");
        assert_eq!((&buffer[..size], from), (format!("pong {turn}").as_bytes(), to));
    }
}

#[tokio::test]
async fn a_port_in_use_is_named_and_the_other_listeners_run() {
    let world = World::new();
    let holder = mesh_rt::net::listen_tcp("0.0.0.0:0".parse().expect("address"), false).expect("a port");
    let taken = holder.local_addr().expect("bound").port();
    let free = listener("free", 9000, ListenerProtocol::Tcp, ("*", None));
    let mut options =
        world.options("edge-mesh").gateway(name("edge"), mesh_proxy::proxy::BindPorts::AsWritten);
    options.gateway.as_mut().expect("set").ports = mesh_proxy::proxy::BindPorts::AsWritten;
    let blocked = listener("blocked", taken, ListenerProtocol::Tcp, ("*", None));
    set_listeners(&world, &[&blocked]);
    world.set([
        service("a", AppProtocol::Tcp),
        endpoints("a", [(echo("hi ").await, None)]),
        route("blocked", RouteKind::Tcp, &blocked, &[("a", 1)]),
    ]);
    options.inbound.push(inbound("a", echo("").await, mesh_proxy::role::inbound::Plaintext::Strict));
    let gateway = mesh_proxy::proxy::Proxy::start(options).expect("threads");
    assert_eq!(gateway.addresses().len(), 1, "the inbound listener runs");
    let findings: Vec<_> = gateway.findings().iter().map(ToString::to_string).collect();
    assert_eq!(findings.len(), 1, "{findings:?}");
    let expected = format!("Gateway shop/edge: cannot listen at [::]:{taken}: Address already in use");
    assert!(findings[0].contains(&expected), "{findings:?}");
    drop((holder, free));
    // Once the port is free, the listener opens without anything being said.
    assert_eq!(ask(at(&gateway, taken).await, "").await.expect("served"), "hi bye");
    assert!(gateway.findings().is_empty());
}
