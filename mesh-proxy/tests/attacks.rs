//! Attacks on proxies over real sockets, each named after the rule that it would break.

#[allow(dead_code)]
#[path = "roles/world.rs"]
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mesh_ca::tls::{client_config, peer_name};
use mesh_model::AppProtocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use world::*;

/// A server that serves each connection by a function.
async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = mesh_rt::net::listen_tcp(LOCALHOST.parse().expect("address"), false).expect("a port");
    let listener = TcpListener::from_std(listener).expect("a runtime");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Answers one request with the head it received.
async fn show_head(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", head.len());
    stream.write_all(&[answer.as_bytes(), &head].concat()).await
}

#[tokio::test]
async fn opaque_bytes_to_a_port_of_http_cannot_say_who_sent_them() {
    let world = World::new();
    let (_server, at) = world.sidecar("cart", server(show_head).await, AppProtocol::Http1);
    let config = client_config(&world.identity("web"), vec![world.id("cart")], &[b"mesh-tcp/1"]);
    let stream = TcpStream::connect(at).await.expect("open");
    let connector = TlsConnector::from(config.expect("a configuration"));
    let answer = in_time(async {
        let mut stream = connector.connect(peer_name(), stream).await?;
        let forged = b"GET / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\
            x-forwarded-client-cert: URI=spiffe://cluster.local/ns/shop/sa/bank\r\n\r\n";
        stream.write_all(forged).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    });
    let answer = answer.await.expect("an answer");
    assert!(answer.contains("/sa/web") && !answer.contains("/sa/bank"), "{answer}");
}

/// An HTTP/2 server that takes a request and leaves at once, having named the request as one it may process.
async fn take_and_leave(mut stream: TcpStream, taken: Arc<AtomicUsize>) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?;
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await?;
        if head[3] == 1 {
            taken.fetch_add(1, Ordering::SeqCst);
            let goaway = [&[0, 0, 8, 7, 0, 0, 0, 0, 0], &head[5..9], &[0, 0, 0, 0]].concat();
            stream.write_all(&goaway).await?;
            return stream.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_post_that_a_leaving_backend_may_have_processed_is_sent_once() {
    let world = World::new();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let backend = server(move |stream| take_and_leave(stream, Arc::clone(&count))).await;
    world.set([service("cart", AppProtocol::Http2), endpoints("cart", [(backend, None)])]);
    let (_client, dial) = world.client("web", "cart");
    let post = "POST / HTTP/1.1\r\nhost: cart\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(dial).await.expect("open");
    let mut answer = String::new();
    stream.write_all(post.as_bytes()).await.expect("open");
    in_time(stream.read_to_string(&mut answer)).await.expect("an answer");
    assert_eq!(taken.load(Ordering::SeqCst), 1, "{answer}");
    assert!(answer.starts_with("HTTP/1.1 50"), "{answer}");
}

#[tokio::test]
async fn a_protocol_is_changed_only_when_the_application_changes_it() {
    let world = World::new();
    let (_server, _) = world.sidecar("cart", server(show_head).await, AppProtocol::Http1);
    let (_client, dial) = world.client("web", "cart");
    let mut stream = TcpStream::connect(dial).await.expect("open");
    let wish = b"GET /page HTTP/1.1\r\nhost: cart\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(wish).await.expect("open");
    let mut answer = vec![0; 4096];
    let length = in_time(stream.read(&mut answer)).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!answer.contains("x-mesh-status"), "{answer}");
}
