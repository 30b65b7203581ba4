//! Spans of a gateway as its policy wants them, at a receiver that shares no code with us.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use mesh_model::backend::Target;
use mesh_model::filter::{HeaderKey, HeaderLine};
use mesh_model::tracing::{Parents, Property, Recording, Share, SpanAttribute, SpanValue, Tracing};
use mesh_model::{AppProtocol, Listener, ListenerProtocol, Resource, RouteKind, Transport};
use mesh_proxy::proxy::ProxyHandle;
use testkit::process::Process;
use tokio::io::AsyncWriteExt;

use super::requests::{application, connect, get};
use super::world::*;

fn tracing(change: impl FnOnce(&mut Recording)) -> Tracing {
    let attribute = |name: &str, value| SpanAttribute { name: Arc::from(name), value };
    let mut recording = Recording {
        receiver: Target::Service { service: name("collector"), port: 80 },
        headers: vec![HeaderLine {
            name: HeaderName::from_static("authorization"),
            value: HeaderValue::from_static("Bearer t"),
        }],
        sampling: Share::ALL,
        parents: Parents::Respected(Share::ALL),
        service_name: Arc::from("shop/edge"),
        span_name: Some(Arc::from("ingress")),
        attributes: vec![
            attribute("user", SpanValue::Header(HeaderKey(HeaderName::from_static("x-user")))),
            attribute("env", SpanValue::Literal(Arc::from("prod"))),
            attribute("code", SpanValue::Property(Property::Status)),
        ],
    };
    change(&mut recording);
    Tracing { source: source("XTelemetryPolicy", "traced"), recording: Some(recording) }
}

fn traced(by: Tracing) -> Listener {
    let plain = listener("http", 8080, ListenerProtocol::Http, ("*", None));
    Listener { tracing: Some(Arc::new(by)), ..plain }
}

/// A gateway in front of `cart` whose spans go to `collector`.
async fn gateway(world: &World, on: &Listener, collector: SocketAddr) -> (ProxyHandle, SocketAddr) {
    world.set([
        Resource::Listener(Arc::new(on.clone())),
        service("cart", AppProtocol::Http1),
        endpoints("cart", [(application().await, None)]),
        service("collector", AppProtocol::Detect),
        endpoints("collector", [(collector, None)]),
        route("cart", RouteKind::Http, on, &[("cart", 1)]),
    ]);
    let gateway = world.gateway(1);
    let at = gateway.gateway_address(Transport::Tcp, 8080).expect("open");
    (gateway, at)
}

#[tokio::test]
async fn spans_reach_the_policys_receiver_with_what_the_policy_adds() {
    let Some(python) = testkit::config::python() else {
        return testkit::skip("no Python with opentelemetry-proto and grpcio");
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/peers/otlp_receiver.py");
    let mut receiver = Process::start(Command::new(python).arg(script)).expect("python starts");
    let line = receiver.wait_for("port ", Duration::from_secs(20)).expect("the receiver listens");
    let port: u16 = line.trim_start_matches("port ").parse().expect("a port");

    let world = World::new();
    let (_gateway, to) =
        gateway(&world, &traced(tracing(|_| ())), SocketAddr::from(([127, 0, 0, 1], port))).await;
    let mut client = connect(to).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request =
        format!("GET /a HTTP/1.1\r\nhost: shop.test\r\nx-user: anna\r\ntraceparent: {parent}\r\n\r\n");
    client.write_all(request.as_bytes()).await.expect("open");
    let waiting = tokio::task::spawn_blocking(move || receiver.wait_for("span ", Duration::from_secs(20)));
    let line = waiting.await.expect("no panic").expect("a span arrives");
    let span: serde_json::Value = serde_json::from_str(line.trim_start_matches("span ")).expect("JSON");
    assert_eq!(span["trace_hex"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span["parent_hex"], "b7ad6b7169203331");
    assert_eq!((&span["service"], &span["name"]), (&"shop/edge".into(), &"ingress".into()));
    assert_eq!(span["metadata"]["authorization"], "Bearer t");
    let attributes = span["attributes"].as_array().expect("attributes");
    let value = |key: &str| attributes.iter().find(|a| a["key"] == key).map(|a| a["value"].clone());
    assert_eq!(value("user").expect("a header")["stringValue"], "anna");
    assert_eq!(value("env").expect("a text")["stringValue"], "prod");
    assert_eq!(value("code").expect("a property")["intValue"], "200");
    assert_eq!(value("url.path").expect("ours")["stringValue"], "/a");
}

#[tokio::test]
async fn a_receiver_that_is_away_delays_no_request() {
    let world = World::new();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let (_gateway, to) = gateway(&world, &traced(tracing(|_| ())), nowhere).await;
    let mut client = connect(to).await;
    for _ in 0..100 {
        assert_eq!(get(&mut client, "shop.test", "/a").await.0, 200);
    }
}
