//! What is told of connections and datagrams that nobody reads: one line each when they are over, and counters.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use mesh_model::policy::Action;
use mesh_model::{AppProtocol, ListenerProtocol, Resource, RouteKind, Transport};
use mesh_proxy::proxy::{BindPorts, ListenerId, Proxy, ProxyOptions};
use mesh_proxy::role::inbound::Plaintext;
use mesh_proxy::telemetry::Telemetry;
use mesh_proxy::telemetry::access_log::{AccessLog, Level};
use mesh_rt::net::bind_udp;
use serde_json::Value;
use tokio::net::UdpSocket;

use super::strict::policy;
use super::world::*;

/// The lines of an access log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn telling(level: Level, options: &mut ProxyOptions) -> (Self, Telemetry) {
        let lines = Self::default();
        options.telemetry.access_log = AccessLog::to(level, lines.clone());
        (lines, options.telemetry.clone())
    }

    /// The next line; all that came before it are taken.
    async fn next(&self) -> Value {
        until(|| self.0.lock().expect("nobody panicked").ends_with(b"\n")).await;
        let text = std::mem::take(&mut *self.0.lock().expect("nobody panicked"));
        serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&text)))
    }
}

fn has(telemetry: &Telemetry, line: &str) -> bool {
    telemetry.encode().lines().any(|l| l == line)
}

#[tokio::test]
async fn both_proxies_tell_a_connection_with_identities_and_bytes() {
    let world = World::new();
    let application = echo("hi ").await;
    world.set([workload(&world, "cart"), service("cart", AppProtocol::Tcp)]);
    let mut options = world.options("cart");
    options.inbound.push(inbound("cart", application, Plaintext::Strict));
    let (inner, inside) = Lines::telling(Level::All, &mut options);
    let server = Proxy::start(options).expect("threads");
    let at = server.addresses()[&ListenerId::Inbound(0)];
    world.set([endpoints("cart", [(at, Some(world.id("cart")))])]);
    let mut options = world.options("web");
    options.outbound.push(outbound("cart"));
    let (outer, outside) = Lines::telling(Level::All, &mut options);
    let client = Proxy::start(options).expect("threads");
    let dial = client.addresses()[&ListenerId::Outbound(0)];

    assert_eq!(ask(dial, "ping ").await.expect("served"), "hi ping bye");
    let line = outer.next().await;
    assert_eq!((&line["side"], &line["protocol"]), (&"outbound".into(), &"tcp".into()));
    assert_eq!((&line["service"], &line["upstream"]), (&"shop/cart".into(), &at.to_string().into()));
    assert_eq!((&line["bytes_received"], &line["bytes_sent"]), (&5.into(), &11.into()));
    assert_eq!(
        (&line["reason"], &line["destination"]),
        (&"Accepted".into(), &world.id("cart").to_string().into())
    );
    let line = inner.next().await;
    assert_eq!((&line["side"], &line["reason"]), (&"inbound".into(), &"Accepted".into()));
    assert_eq!((&line["bytes_received"], &line["bytes_sent"]), (&5.into(), &11.into()));
    assert_eq!(line["source"], world.id("web").to_string());
    assert_eq!(line["upstream"], application.to_string());
    for (telemetry, labels) in [
        (
            &outside,
            r#"source_workload="unknown",source_namespace="shop",destination_workload="cart",destination_namespace="shop",service="shop/cart""#,
        ),
        (
            &inside,
            r#"source_workload="web",source_namespace="shop",destination_workload="cart",destination_namespace="shop",service="unknown""#,
        ),
    ] {
        let series = format!(r#"{{{labels},protocol="tcp",flag=""}}"#);
        assert!(has(telemetry, &format!("mesh_flows_total{series} 1")), "{}", telemetry.encode());
        assert!(
            has(telemetry, &format!("mesh_flow_received_bytes_total{series} 5")),
            "{}",
            telemetry.encode()
        );
        assert!(has(telemetry, &format!("mesh_flow_sent_bytes_total{series} 11")), "{}", telemetry.encode());
    }

    // Who is refused is told, too, and why.
    world.set([policy("not-web", Action::Deny, &["cluster.local/ns/shop/sa/web"])]);
    let _ = ask(dial, "ping ").await;
    let line = inner.next().await;
    assert_eq!((&line["reason"], &line["bytes_sent"]), (&"DeniedByPolicy".into(), &0.into()));
    assert_eq!(line["source"], world.id("web").to_string());
}

#[tokio::test]
async fn a_gateway_tells_routes_and_why_a_connection_went_nowhere() {
    let world = World::new();
    let tcp = listener("tcp", 9000, ListenerProtocol::Tcp, ("*", None));
    let application = echo("a ").await;
    world.set([
        Resource::Listener(Arc::new(tcp.clone())),
        service("a", AppProtocol::Tcp),
        endpoints("a", [(application, None)]),
        route("only", RouteKind::Tcp, &tcp, &[("a", 1)]),
    ]);
    let mut options = world.options("edge-mesh").gateway(name("edge"), BindPorts::Any);
    let (lines, _) = Lines::telling(Level::All, &mut options);
    let gateway = Proxy::start(options).expect("threads");
    until(|| gateway.gateway_address(Transport::Tcp, 9000).is_some()).await;
    let to = gateway.gateway_address(Transport::Tcp, 9000).expect("open");
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, to.port()));

    assert_eq!(ask(to, "x").await.expect("served"), "a xbye");
    let line = lines.next().await;
    assert_eq!((&line["side"], &line["route"]), (&"gateway".into(), &"TCPRoute shop/only (built in)".into()));
    assert_eq!((&line["upstream"], &line["bytes_received"]), (&application.to_string().into(), &1.into()));
    // The socket has both families, and a client is told in its own.
    let client = line["client"].as_str().expect("a client").to_owned();
    assert!(client.starts_with("127.0.0.1:"), "{client}");

    world.set([endpoints("a", [])]);
    let _ = ask(to, "x").await;
    let line = lines.next().await;
    assert_eq!((&line["reason"], &line["service"]), (&"NoEndpoint".into(), &"shop/a".into()));
}

#[tokio::test]
async fn a_session_of_datagrams_is_told_once_it_was_silent() {
    let world = World::new();
    let udp = listener("udp", 9053, ListenerProtocol::Udp, ("*", None));
    let any: SocketAddr = LOCALHOST.parse().expect("address");
    let server = UdpSocket::from_std(bind_udp(any, false).expect("a port")).expect("a runtime");
    let application = server.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        while let Ok((size, from)) = server.recv_from(&mut buffer).await {
            let _ = server.send_to(&[&buffer[..size], b"!!"].concat(), from).await;
        }
    });
    world.set([
        Resource::Listener(Arc::new(udp.clone())),
        service("dns", AppProtocol::Tcp),
        endpoints_of("dns", Transport::Udp, [(application, None)]),
        route("dns", RouteKind::Udp, &udp, &[("dns", 1)]),
    ]);
    let mut options = world.options("edge-mesh").gateway(name("edge"), BindPorts::Any);
    options.times.udp_idle = std::time::Duration::from_millis(50);
    // Sessions that end by silence are no errors: at this level only the refused one is told.
    let (lines, telemetry) = Lines::telling(Level::Errors, &mut options);
    let gateway = Proxy::start(options).expect("threads");
    until(|| gateway.gateway_address(Transport::Udp, 9053).is_some()).await;
    let to = gateway.gateway_address(Transport::Udp, 9053).expect("open");
    // By either family: the socket has both.
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, to.port()));
    let client = UdpSocket::from_std(bind_udp(any, false).expect("a port")).expect("a runtime");
    let mut buffer = [0; 64];
    for text in ["one", "three"] {
        client.send_to(text.as_bytes(), to).await.expect("sent");
        in_time(client.recv_from(&mut buffer)).await.expect("an answer");
    }
    let labels = r#"source_workload="edge",source_namespace="shop",destination_workload="dns",destination_namespace="shop",service="shop/dns",protocol="udp""#;
    until(|| has(&telemetry, &format!(r#"mesh_flows_total{{{labels},flag=""}} 1"#))).await;
    assert!(has(&telemetry, &format!(r#"mesh_flow_received_bytes_total{{{labels},flag=""}} 8"#)));
    assert!(has(&telemetry, &format!(r#"mesh_flow_sent_bytes_total{{{labels},flag=""}} 12"#)));

    world.set([endpoints_of("dns", Transport::Udp, [])]);
    client.send_to(b"x", to).await.expect("sent");
    let line = lines.next().await;
    assert_eq!((&line["protocol"], &line["reason"]), (&"udp".into(), &"NoEndpoint".into()));
}
