//! From one workload to another: outbound proxy, mutual TLS, inbound proxy, application.

use mesh_model::AppProtocol;

use super::world::*;

#[tokio::test]
async fn opaque_bytes_pass_through_both_proxies_with_both_ends_kept() {
    let world = World::new();
    for protocol in [AppProtocol::Tcp, AppProtocol::Detect] {
        let (_server, _) = world.sidecar("cart", echo("hi ").await, protocol);
        let (_client, dial) = world.client("web", "cart");
        assert_eq!(ask(dial, "ping ").await.expect("served"), "hi ping bye", "{protocol:?}");
    }
}

#[tokio::test]
async fn a_connection_goes_to_another_endpoint_when_the_first_is_dead() {
    let world = World::new();
    let (_server, alive) = world.sidecar("cart", echo("hi ").await, AppProtocol::Tcp);
    let id = Some(world.id("cart"));
    world.set([endpoints("cart", [("127.0.0.1:1".parse().expect("address"), id.clone()), (alive, id)])]);
    let (_client, dial) = world.client("web", "cart");
    for _ in 0..8 {
        assert_eq!(ask(dial, "").await.expect("served"), "hi bye");
    }
}

#[tokio::test]
async fn an_endpoint_that_vanishes_while_it_is_connected_to_is_not_waited_for() {
    let world = World::new();
    let (_server, alive) = world.sidecar("cart", echo("hi ").await, AppProtocol::Tcp);
    // It takes connections and says nothing.
    let (silent, silent_at) = listening();
    let id = Some(world.id("cart"));
    world.set([endpoints("cart", [(silent_at, id.clone())])]);
    let (_client, dial) = world.client("web", "cart");
    let asked = tokio::spawn(ask(dial, ""));
    let _held = in_time(silent.accept()).await.expect("it is dialled first");
    let began = tokio::time::Instant::now();
    world.set([endpoints("cart", [(alive, id)])]);
    assert_eq!(in_time(asked).await.expect("no panic").expect("served"), "hi bye");
    // A handshake may take much longer than that.
    assert!(began.elapsed().as_secs() < 3, "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_endpoint_with_another_identity_gets_nothing() {
    let world = World::new();
    let (_server, address) = world.sidecar("cart", echo("hi ").await, AppProtocol::Tcp);
    world.set([endpoints("cart", [(address, Some(world.id("bank")))])]);
    let mut options = world.options("web");
    options.outbound.push(outbound("cart"));
    let telemetry = options.telemetry.clone();
    let client = mesh_proxy::proxy::Proxy::start(options).expect("threads");
    let dial = *client.addresses().values().next().expect("a listener");
    assert!(ask(dial, "ping").await.map_or(true, |answer| answer.is_empty()));
    until(|| refused(&telemetry.encode(), "UpstreamIdentity") == 1).await;
}

#[tokio::test]
async fn an_endpoint_outside_the_mesh_is_reached_in_plain_text() {
    let world = World::new();
    let application = echo("hi ").await;
    world.set([service("old", AppProtocol::Tcp), endpoints("old", [(application, None)])]);
    let (_client, dial) = world.client("web", "old");
    assert_eq!(ask(dial, "ping ").await.expect("served"), "hi ping bye");
    // What was meshed is never reached in plain text again, even when nothing answers TLS there.
    world.set([endpoints("old", [(application, Some(world.id("old")))])]);
    assert!(ask(dial, "ping ").await.map_or(true, |answer| answer.is_empty()));
}
