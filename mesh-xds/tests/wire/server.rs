//! What a server sends, counted message by message.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_xds::server::{Peers, ReportKind, ServerConfig};
use mesh_xds::session::server::{Event, Limits, Scope};
use mesh_xds::{Key, Version};

use crate::plain_client::PlainClient;
use crate::{A, B, Server, open_to_anyone, set, unset};

fn nothing() -> BTreeMap<String, String> {
    BTreeMap::new()
}

#[tokio::test]
async fn one_edit_is_one_resource_and_unaffected_subscribers_receive_no_byte() {
    let server = Server::start(open_to_anyone(), None).await;
    server.cache.apply((0..100).map(|n| set(A, &format!("r{n}"), "1")));
    server.cache.apply([set(B, "b", "1")]);
    let mut all = PlainClient::connect(server.address).await;
    all.subscribe(A, &["*"], &nothing());
    assert_eq!(all.take().await.resources.len(), 100);
    let mut other_name = PlainClient::connect(server.address).await;
    other_name.subscribe(A, &["r7"], &nothing());
    assert_eq!(other_name.take().await.names(), ["r7"]);
    let mut other_type = PlainClient::connect(server.address).await;
    other_type.subscribe(B, &[], &nothing());
    assert_eq!(other_type.take().await.names(), ["b"]);
    let before = (all.messages, other_name.bytes, other_type.bytes);

    let sequence = server.cache.apply([set(A, "r5", "2")]).sequence;
    let edit = all.take().await;
    assert_eq!(edit.resources, [("r5".into(), Version::of(b"2").to_string(), b"2".to_vec())]);
    let key = Key::new(A.into(), "r5");
    server.until("everyone in step", |fleet| fleet.progress(&key, sequence).applied == 3).await;
    assert_eq!((all.messages, other_name.bytes, other_type.bytes), (before.0 + 1, before.1, before.2));

    // The next thing the unaffected ones read is what concerns them, and nothing came before it.
    server.cache.apply([set(A, "r7", "2"), set(B, "b", "2")]);
    assert_eq!((other_name.take().await.names(), other_name.messages), (vec!["r7"], 2));
    assert_eq!((other_type.take().await.names(), other_type.messages), (vec!["b"], 2));
}

#[tokio::test]
async fn a_reconnect_with_versions_moves_only_differences() {
    let server = Server::start(open_to_anyone(), None).await;
    server.cache.apply((0..50).map(|n| set(A, &format!("r{n}"), "1")));
    let mut client = PlainClient::connect(server.address).await;
    client.subscribe(A, &["*"], &nothing());
    let first = client.take().await;
    drop(client);
    server.cache.apply([set(A, "r3", "2"), unset(A, "r4"), set(A, "new", "1")]);
    let held = first.resources.into_iter().map(|(name, version, _)| (name, version)).collect();
    let mut client = PlainClient::connect(server.address).await;
    client.subscribe(A, &["*"], &held);
    let difference = client.take().await;
    assert_eq!(difference.names(), ["new", "r3"]);
    assert_eq!(difference.removed, ["r4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_holds_up_nobody_and_gets_the_last_state_later() {
    const EDITS: u32 = 200;
    const SIZE: usize = 20_000;
    const READERS: usize = 200;
    // A client that waited for the stalled one would wait for ever; a busy machine needs some of this.
    const CONVERGES: Duration = Duration::from_secs(5);
    let server = Server::start(open_to_anyone(), None).await;
    let body = |n: u32| [&n.to_be_bytes()[..], &vec![0; SIZE]].concat();
    server.cache.apply([set(A, "big", body(0))]);
    let mut stalled = PlainClient::connect(server.address).await;
    stalled.subscribe(A, &["*"], &nothing());
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut client = PlainClient::connect(server.address).await;
        client.subscribe(A, &["*"], &nothing());
        client.take().await;
        readers.push(client);
    }
    for n in 1..=EDITS {
        server.cache.apply([set(A, "big", body(n))]);
        tokio::task::yield_now().await;
    }
    let converge = async {
        for reader in &mut readers {
            while !reader.take().await.resources[0].2.starts_with(&EDITS.to_be_bytes()) {}
        }
    };
    tokio::time::timeout(CONVERGES, converge).await.expect("200 clients wait for one that stalls");
    let last = async {
        while !stalled.take().await.resources[0].2.starts_with(&EDITS.to_be_bytes()) {}
        stalled.messages
    };
    let messages = tokio::time::timeout(Duration::from_secs(5), last).await.expect("it catches up");
    assert!(messages <= 2, "{messages} messages were kept for a client that did not read");
}

#[tokio::test]
async fn what_a_proxy_refuses_or_leaves_unanswered_is_known_at_once() {
    let limits = Limits { report_after: Duration::from_millis(50), ..Limits::default() };
    let server =
        Server::start(ServerConfig { limits, ..open_to_anyone() }, Some("spiffe://td/ns/a/sa/b")).await;
    server.cache.apply([set(A, "good", "1"), set(A, "bad", "1")]);
    let mut reports = server.service.fleet().reports();
    let mut client = PlainClient::connect(server.address).await;
    client.subscribe(A, &["bad"], &nothing());
    let response = client.next().await.expect("a response");
    client.nack(&response, "unknown filter \"x\"");
    let key = Key::new(A.into(), "bad");
    let sequence = server.cache.snapshot().sequence();
    server.until("the refusal", |fleet| !fleet.progress(&key, sequence).refused.is_empty()).await;
    let (node, refusal) = server.service.fleet().progress(&key, sequence).refused.remove(0);
    assert_eq!(node.identity.expect("verified").to_string(), "spiffe://td/ns/a/sa/b");
    assert_eq!((refusal.reason.as_str(), refusal.version), ("unknown filter \"x\"", Version::of(b"1")));
    let report = reports.recv().await.expect("a report");
    assert!(matches!(&report.kind, ReportKind::Session(Event::Nacked { .. })), "{report:?}");

    server.cache.apply([set(A, "bad", "2")]);
    client.next().await.expect("the new version");
    let unanswered = |fleet: &mesh_xds::server::Fleet| {
        let mut proxies = fleet.proxies().into_values();
        proxies.any(|proxy| proxy.unanswered.as_ref().is_some_and(|t| t.as_str() == A))
    };
    server.until("the report of silence", unanswered).await;
    let fleet = server.service.fleet();
    let sequence = server.cache.snapshot().sequence();
    assert_eq!((fleet.complaints().len(), fleet.reach(sequence, |_| true).silent), (1, 1));
    assert_eq!(fleet.reach(sequence, |_| false), mesh_xds::server::Reach::default());
    drop(client);
    server.until("the proxy left", |fleet| fleet.proxies().is_empty()).await;
}

#[tokio::test]
async fn a_repaired_resource_clears_the_refusal() {
    let server = Server::start(open_to_anyone(), None).await;
    server.cache.apply([set(A, "x", "bad")]);
    let mut client = PlainClient::connect(server.address).await;
    client.subscribe(A, &["*"], &nothing());
    let response = client.next().await.expect("a response");
    client.nack(&response, "no");
    let sequence = server.cache.apply([set(A, "x", "good")]).sequence;
    client.take().await;
    let key = Key::new(A.into(), "x");
    server.until("the repair", |fleet| fleet.progress(&key, sequence).applied == 1).await;
    assert!(server.service.fleet().complaints().is_empty());
    let reach = server.service.fleet().reach(sequence, |_| true);
    assert!(reach.is_complete() && !server.service.fleet().reach(sequence + 1, |_| true).is_complete());
}

#[tokio::test]
async fn streams_without_a_verified_identity_are_refused_unless_configured() {
    let strict = ServerConfig { peers: Peers::Identified, ..open_to_anyone() };
    let server = Server::start(strict, None).await;
    let stream = tokio::net::TcpStream::connect(server.address).await.expect("the server listens");
    let (mut client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let path = mesh_xds::proto::DELTA_PATH;
    let request = http::Request::post(format!("http://test{path}"))
        .header("content-type", "application/grpc")
        .body(())
        .expect("a request");
    let (response, _send) = client.send_request(request, false).expect("a stream");
    let response = response.await.expect("headers");
    assert_eq!(response.headers()["grpc-status"], "16");
    assert!(server.service.fleet().proxies().is_empty());
}

#[tokio::test]
async fn the_scope_is_judged_by_the_verified_identity() {
    let scope = Scope::new(|node, key| {
        let account = node.identity.as_ref().and_then(|id| id.service_account());
        &*key.name != "secret" || account == Some(("edge", "gateway"))
    });
    for (account, expected) in [("edge/sa/gateway", vec!["open", "secret"]), ("shop/sa/cart", vec!["open"])] {
        let config = ServerConfig { scope: scope.clone(), peers: Peers::Identified, ..open_to_anyone() };
        let server = Server::start(config, Some(&format!("spiffe://td/ns/{account}"))).await;
        server.cache.apply([set(A, "open", "1"), set(A, "secret", "1")]);
        let mut client = PlainClient::connect(server.address).await;
        client.subscribe(A, &["*"], &nothing());
        assert_eq!(client.take().await.names(), expected);
    }
}

#[tokio::test]
async fn closing_ends_streams_and_places_are_limited() {
    let server = Server::start(ServerConfig { max_streams: 1, ..open_to_anyone() }, None).await;
    let mut client = PlainClient::connect(server.address).await;
    client.subscribe(A, &["*"], &nothing());
    client.take().await;
    let second = tokio::spawn(PlainClient::connect(server.address));
    let mut second = second.await.expect("headers arrive");
    assert_eq!(second.next().await, None);
    assert_eq!(client.messages, 1);
    server.service.close();
    assert_eq!(client.status().await, "14");
}

#[tokio::test]
async fn a_request_over_the_limits_ends_its_stream_only() {
    let server = Server::start(open_to_anyone(), None).await;
    let mut good = PlainClient::connect(server.address).await;
    good.subscribe(A, &["*"], &nothing());
    good.take().await;
    let mut client = PlainClient::connect(server.address).await;
    client.subscribe(A, &["x".repeat(5000).as_str()], &nothing());
    assert_eq!(client.status().await, "8");
    server.cache.apply([set(A, "x", "1")]);
    assert_eq!(good.take().await.names(), ["x"]);
}
