//! HTTP from a gateway, or a client's own proxy, through mutual TLS to an application.

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_model::policy::{Action, AuthorizationPolicy, Operation, Patterns, PolicyRule, TextPattern};
use mesh_model::{AppProtocol, Kind, ListenerProtocol, Resource, ResourceKey, RouteKind, Transport};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::world::*;

/// An HTTP/1.1 application that answers with the head it received.
async fn application() -> SocketAddr {
    let listener = mesh_rt::net::listen_tcp(LOCALHOST.parse().expect("address"), false).expect("a port");
    let listener = TcpListener::from_std(listener).expect("a runtime");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream));
        }
    });
    address
}

async fn answer_all(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let head = read_head(&mut stream).await?;
        if head.is_empty() {
            return Ok(());
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        stream.write_all(answer.as_bytes()).await?;
    }
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

/// Status and body of a GET on a connection that stays open.
async fn get(stream: &mut BufReader<TcpStream>, host: &str, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    in_time(async {
        stream.write_all(request.as_bytes()).await.expect("open");
        let head = read_head(stream).await.expect("an answer");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        let length =
            head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.expect("a length")];
        stream.read_exact(&mut body).await.expect("a body");
        (status, String::from_utf8_lossy(&body).into_owned())
    })
    .await
}

async fn connect(to: SocketAddr) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(to).await.expect("open"))
}

#[tokio::test]
async fn a_request_passes_gateway_and_sidecar_with_the_identity_of_each_hop() {
    let world = World::new();
    let (_server, _) = world.sidecar("cart", application().await, AppProtocol::Http1);
    let http = listener("http", 8080, ListenerProtocol::Http, ("*", None));
    world.set([
        Resource::Listener(Arc::new(http.clone())),
        route("cart", RouteKind::Http, &http, &[("cart", 1)]),
    ]);
    let gateway = world.gateway(1);
    let to = gateway.gateway_address(Transport::Tcp, 8080).expect("open");
    let mut client = connect(to).await;
    for path in ["/a", "/b?c=d"] {
        let (status, head) = get(&mut client, "shop.example", path).await;
        assert_eq!(
            (status, head.lines().next()),
            (200, Some(format!("GET {path} HTTP/1.1").as_str())),
            "{head}"
        );
        assert!(head.contains("shop.example"), "{head}");
    }
}

#[tokio::test]
async fn a_request_passes_both_sidecars_and_policies_read_it() {
    let world = World::new();
    let (_server, _) = world.sidecar("cart", application().await, AppProtocol::Detect);
    let (_client, dial) = world.client("web", "cart");
    let paths = Patterns { any: vec![TextPattern::from("/admin*".to_owned())], none: Vec::new() };
    world.set([Resource::Policy(Arc::new(AuthorizationPolicy {
        key: ResourceKey::local(Kind::Policy, name("no-admin")),
        source: source("AuthorizationPolicy", "no-admin"),
        action: Action::Deny,
        selector: [(Arc::from("app"), Arc::from("cart"))].into(),
        rules: vec![PolicyRule {
            to: vec![Operation { paths, ..Operation::default() }],
            ..PolicyRule::default()
        }],
    }))]);
    let mut client = connect(dial).await;
    let (status, head) = get(&mut client, "cart", "/items").await;
    assert_eq!((status, head.lines().next()), (200, Some("GET /items HTTP/1.1")), "{head}");
    assert_eq!(get(&mut client, "cart", "/admin/x").await.0, 403);
    assert_eq!(get(&mut client, "cart", "/items").await.0, 200);
}
