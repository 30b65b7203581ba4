//! What is spoken between two proxies, how many connections that takes, and that none of them ends under a request.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use mesh_model::AppProtocol;
use mesh_proxy::http::{Limits, serve};
use mesh_proxy::pool;
use mesh_proxy::telemetry::Telemetry;
use mesh_proxy::upstream::Speaks;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;

use crate::model::*;
use crate::net::*;

const POST: &[u8] = b"POST /a HTTP/1.1\r\nHost: cart\r\nContent-Length: 2\r\n\r\nhi";

fn cart() -> Vec<mesh_model::Resource> {
    meshed("cart", AppProtocol::Http1, &[address(2, 80)], Some(identity("cart")))
}

#[test]
fn more_requests_at_once_than_connections_to_a_peer_share_one() {
    on_worker(async {
        let (net, dialled): (Net, Rc<RefCell<Vec<Speaks>>>) = Default::default();
        net.backend(address(9, 80), |_| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            http::Response::default()
        });
        let (far, told) = (Proxy::new(&net, [known("cart")]), Rc::clone(&dialled));
        net.listen(address(2, 80), move |io, upstream| {
            told.borrow_mut().push(upstream.speaks);
            far.accept(io, inbound("cart", address(9, 80), Some("web")));
        });
        let limits = (Limits::default(), pool::Limits { to_peer: 2, ..pool::Limits::default() });
        let near = Proxy::pooled(&net, cart(), Telemetry::default(), limits);
        // Twice, so that what waits is used again.
        for _ in 0..2 {
            let asked = (0..6).map(|_| async {
                let mut client = Client::http1(near.open(outbound(&near.mesh, "cart"))).await;
                assert_eq!(client.get("/").await.status, StatusCode::OK);
            });
            futures_util::future::join_all(asked).await;
        }
        let mut spoken = dialled.borrow().clone();
        spoken.sort();
        assert_eq!(spoken, [Speaks::Http1, Speaks::Http1, Speaks::Http2]);
    });
}

#[test]
fn what_the_first_proxy_lets_in_is_not_too_much_for_the_second() {
    on_worker(async {
        for to_peer in [32, 0] {
            let net = Net::default();
            // Its own limit is not what this is about.
            net.raw(address(9, 80), |mut io| async move {
                let head = read_some(&mut io).await;
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
                io.write_all(answer.as_bytes()).await.expect("the proxy reads");
            });
            let far = Proxy::new(&net, [known("cart")]);
            net.listen(address(2, 80), move |io, _| {
                far.accept(io, inbound("cart", address(9, 80), Some("web")));
            });
            let mut resources = vec![listener(), route(vec![rule("/", vec![backend("cart", 1)])])];
            resources.extend(cart());
            let limits = (Limits::default(), pool::Limits { to_peer, ..pool::Limits::default() });
            let near = Proxy::pooled(&net, resources, Telemetry::default(), limits);
            let lines: String = (0..98).map(|n| format!("x-{n}: y\r\n")).collect();
            let head = format!("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n{lines}\r\n");
            let mut io = near.open(gateway());
            io.write_all(head.as_bytes()).await.expect("the proxy reads");
            tokio::time::sleep(Duration::from_millis(200)).await;
            let got = read_some(&mut io).await;
            assert!(got.starts_with("HTTP/1.1 200 ") && got.contains("\nx-97: y\r\n"), "{to_peer}: {got}");
            assert!(got.contains("\nx-forwarded-for: ") && got.contains("\ntraceparent: "), "{got}");
        }
    });
}

/// The proxy of the application at one end of a connection, whose other end a peer of the mesh holds. The connection
/// drains when it is told to.
fn far(net: &Net, limits: Limits) -> (DuplexStream, Rc<Notify>) {
    let proxy = Proxy::with(net, [known("cart")], Telemetry::default(), limits);
    let (ours, theirs) = tokio::io::duplex(256 * 1024);
    let drain: Rc<Notify> = Rc::default();
    let told = Rc::clone(&drain);
    let ends = (std::future::pending(), async move { told.notified().await });
    let downstream = inbound("cart", address(9, 80), Some("web"));
    tokio::task::spawn_local(serve(theirs, downstream, Rc::clone(&proxy.stack), ends));
    (ours, drain)
}

async fn read_to_end(io: &mut DuplexStream) -> String {
    let mut all = String::new();
    io.read_to_string(&mut all).await.expect("text");
    all
}

#[test]
fn a_peer_is_told_before_its_connection_ends_and_a_request_on_its_way_is_answered() {
    in_paused_time(async {
        let net = Net::default();
        net.echo(address(9, 80), "app");
        for idle in [false, true] {
            let limits = Limits { idle: Duration::from_secs(30), ..Limits::default() };
            let (mut io, drain) = far(&net, limits);
            io.write_all(POST).await.expect("open");
            let first = read_some(&mut io).await;
            assert!(first.starts_with("HTTP/1.1 200 ") && !first.contains("connection: close"), "{first}");
            let began = tokio::time::Instant::now();
            if !idle {
                drain.notify_one();
            }
            // The farewell is on its way to the peer while the request is on its way to the application.
            let mut farewell = [0; 27];
            io.read_exact(&mut farewell).await.expect("told");
            assert_eq!(farewell, *b"HTTP/1.1 199 Going Away\r\n\r\n");
            assert_eq!(began.elapsed() >= Duration::from_secs(29), idle, "{:?}", began.elapsed());
            io.write_all(POST).await.expect("open");
            let last = read_to_end(&mut io).await;
            assert!(last.starts_with("HTTP/1.1 200 ") && last.contains("connection: close\r\n"), "{last}");
        }
    });
}

#[test]
fn a_peer_that_says_nothing_after_the_farewell_is_not_waited_for() {
    in_paused_time(async {
        let net = Net::default();
        net.echo(address(9, 80), "app");
        let (mut io, drain) = far(&net, Limits::default());
        io.write_all(POST).await.expect("open");
        let _ = read_some(&mut io).await;
        drain.notify_one();
        let began = tokio::time::Instant::now();
        assert_eq!(read_to_end(&mut io).await, "HTTP/1.1 199 Going Away\r\n\r\n");
        assert!(began.elapsed() <= Duration::from_secs(2), "{:?}", began.elapsed());
    });
}

#[test]
fn requests_that_may_not_be_repeated_outlive_every_connection_of_a_peer_that_leaves() {
    on_worker(async {
        let (net, drains): (Net, Rc<RefCell<Vec<Rc<Notify>>>>) = Default::default();
        net.echo(address(9, 80), "app");
        let (inner, told) = (net.clone(), Rc::clone(&drains));
        net.listen(address(2, 80), move |mut io, upstream| {
            assert_eq!(upstream.speaks, Speaks::Http1);
            let (mut at, drain) = far(&inner, Limits::default());
            told.borrow_mut().push(drain);
            tokio::task::spawn_local(async move { tokio::io::copy_bidirectional(&mut io, &mut at).await });
        });
        let near = Proxy::new(&net, cart());
        let mut client = Client::http1(near.open(outbound(&near.mesh, "cart"))).await;
        for n in 0..300 {
            let drain = drains.borrow().last().cloned();
            if let Some(drain) = drain.filter(|_| n % 3 == 0) {
                drain.notify_one();
                // As many steps later as it takes for the two to meet anywhere on the way.
                for _ in 0..(n / 3) % 12 {
                    tokio::task::yield_now().await;
                }
            }
            let post = client.request("POST", "/a").body("hi".into()).expect("a request");
            let got = client.call(post).await;
            assert_eq!(got.status, StatusCode::OK, "request {n}: {}", got.body);
        }
        let opened = drains.borrow().len();
        assert!(opened >= 90, "{opened} connections");
    });
}
