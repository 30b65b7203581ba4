//! WebSocket (RFC 6455) byte by byte: a table of exchanges, good and bad ones, with an echo server of another
//! make, once directly and once through a gateway and the sidecars of two workloads. Both must be the same.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use mesh_model::{AppProtocol, ListenerProtocol, Resource, RouteKind, Transport};
use mesh_proxy::proxy::ProxyHandle;
use testkit::process::Process;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::websocket_rows::{Row, rows};
use super::world::*;

/// The echo server, and where it listens.
fn server() -> Option<(Process, SocketAddr)> {
    let python = testkit::config::python()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/peers/websocket_echo.py");
    let mut server = Process::start(Command::new(python).arg(script)).expect("python starts");
    let line = server.wait_for("port ", Duration::from_secs(20)).expect("the server listens");
    let port = line.trim_start_matches("port ").parse().expect("a port");
    Some((server, SocketAddr::from(([127, 0, 0, 1], port))))
}

/// From a gateway to a workload whose application is the outbound side of its own proxy, and so on to the server:
/// three proxies, and two hops of mutual TLS.
async fn chain(world: &World, server: SocketAddr) -> (Vec<ProxyHandle>, SocketAddr) {
    let (chat, _) = world.sidecar("chat", server, AppProtocol::WebSocket);
    let (near, dial) = world.client("front", "chat");
    let (front, _) = world.sidecar("front", dial, AppProtocol::WebSocket);
    let http = listener("http", 8080, ListenerProtocol::Http, ("*", None));
    let to_front = route("front", RouteKind::Http, &http, &[("front", 1)]);
    world.set([to_front, Resource::Listener(std::sync::Arc::new(http))]);
    let gateway = world.gateway(1);
    until(|| gateway.gateway_address(Transport::Tcp, 8080).is_some()).await;
    let at = gateway.gateway_address(Transport::Tcp, 8080).expect("open");
    (vec![chat, near, front, gateway], at)
}

/// What came back, and whether it ended as TCP ends.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    bytes: Vec<u8>,
    clean: bool,
}

/// Plays a row to its end. The client waits for the server to close, as RFC 6455, section 7.1.1, has it.
async fn play(at: SocketAddr, row: &Row) -> Outcome {
    let mut stream = BufReader::new(TcpStream::connect(at).await.expect("open"));
    stream.get_ref().set_nodelay(true).expect("a socket");
    shake_hands(&mut stream).await;
    let mut bytes = Vec::new();
    let mut awaited = 0;
    for step in &row.steps {
        for piece in step.send.chunks(step.pieces.max(1)) {
            stream.write_all(piece).await.expect("the server reads");
        }
        awaited += step.answer.len();
        while bytes.len() < awaited {
            let count = stream.read_buf(&mut bytes).await.expect("an answer");
            assert!(count > 0, "{}: it ended after {} of {awaited} bytes", row.name, bytes.len());
        }
    }
    let clean = stream.read_to_end(&mut bytes).await.is_ok();
    Outcome { bytes, clean }
}

async fn shake_hands(stream: &mut BufReader<TcpStream>) {
    const WISH: &str = "GET /chat HTTP/1.1\r\nHost: front\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    stream.write_all(WISH.as_bytes()).await.expect("open");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let count = stream.read_line(&mut head).await.expect("an answer");
        assert!(count > 0, "it ended within {head:?}");
    }
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // The answer to the sample key of RFC 6455, section 1.3.
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
}

#[tokio::test]
async fn every_websocket_exchange_is_the_same_through_gateway_and_sidecars() {
    let Some((_server, direct)) = server() else {
        return testkit::skip("no Python with websockets");
    };
    let world = World::new();
    let (_proxies, through) = chain(&world, direct).await;
    let rows = rows();
    let mut complaints = Vec::new();
    for row in &rows {
        let limit = Duration::from_secs(30);
        let outcome = |at| tokio::time::timeout(limit, play(at, row));
        let (Ok(expected), Ok(found)) = (outcome(direct).await, outcome(through).await) else {
            complaints.push(format!("{}: no end within {limit:?}", row.name));
            continue;
        };
        if let Some(complaint) = row.complaint(&expected.bytes) {
            complaints.push(format!("{}: the server itself: {complaint}", row.name));
        }
        if found != expected {
            let (found, expected) = (shown(&found), shown(&expected));
            complaints.push(format!("{}: {found} instead of {expected}", row.name));
        }
    }
    assert!(complaints.is_empty(), "{} of {} rows:\n{}", complaints.len(), rows.len(), complaints.join("\n"));
}

fn shown(outcome: &Outcome) -> String {
    let Outcome { bytes, clean } = outcome;
    let end = &bytes[bytes.len().saturating_sub(32)..];
    format!("{} bytes, clean {clean}, at the end {end:02x?}", bytes.len())
}
