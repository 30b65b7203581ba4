//! What lasts: upgrades, gRPC streams, mirrors, withdrawn access, drains, many cancels, shared connections.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh_model::backend::Target;
use mesh_model::filter::{Filter, Mirror};
use mesh_model::policy::{Action, Operation, Patterns, PolicyRule, TextPattern};
use mesh_model::{AppProtocol, Mesh, RouteKind};
use mesh_proxy::upstream::Speaks;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use crate::model::*;
use crate::net::*;

/// A body whose frames come from a test.
pub(crate) struct Fed(mpsc::UnboundedReceiver<Frame<Bytes>>);

impl hyper::body::Body for Fed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

fn fed() -> (mpsc::UnboundedSender<Frame<Bytes>>, Fed) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Fed(receiver))
}

const HELLO: &[u8] = b"GET /chat HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A backend that agrees to every upgrade after a while and then echoes; it tells the heads it saw.
fn chat(net: &Net, at: std::net::SocketAddr) -> Rc<RefCell<String>> {
    let seen: Rc<RefCell<String>> = Rc::default();
    let told = Rc::clone(&seen);
    net.raw(at, move |mut io| {
        let told = Rc::clone(&told);
        async move {
            let mut buffer = [0; 4096];
            let count = io.read(&mut buffer).await.unwrap_or(0);
            told.borrow_mut().push_str(&String::from_utf8_lossy(&buffer[..count]));
            tokio::time::sleep(Duration::from_millis(20)).await;
            let agreed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello ";
            io.write_all(agreed).await.expect("the proxy reads");
            while let Ok(count @ 1..) = io.read(&mut buffer).await {
                if io.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        }
    });
    seen
}

async fn talk(mut io: DuplexStream) -> String {
    // Bytes behind the wish must wait for the answer, and then arrive.
    io.write_all(&[HELLO, b"early "].concat()).await.expect("the proxy reads");
    let mut all = String::new();
    while !all.contains("early ") {
        let more = read_some(&mut io).await;
        assert!(!more.is_empty(), "no more after {all:?}");
        all.push_str(&more);
    }
    io.write_all(b"later").await.expect("the tunnel is open");
    all.push_str(&read_some(&mut io).await);
    all
}

#[test]
fn websockets_pass_a_gateway_and_two_proxies() {
    on_worker(async {
        let net = Net::default();
        let seen = chat(&net, address(9, 80));
        let mut resources = vec![listener(), route(vec![rule("/", vec![backend("chat", 1)])])];
        resources.extend(service("chat", AppProtocol::WebSocket, &[address(9, 80)]));
        let direct = Proxy::new(&net, resources);

        let far = Proxy::new(&net, [known("chat")]);
        net.listen(address(2, 80), move |io, upstream| {
            assert_eq!(upstream.speaks, Speaks::Http1);
            far.accept(io, inbound("chat", address(9, 80), Some("web")));
        });
        let meshed = meshed("chat", AppProtocol::WebSocket, &[address(2, 80)], Some(identity("chat")));
        let near = Proxy::new(&net, meshed);
        let ends = [direct.open(gateway()), near.open(outbound(&near.mesh, "chat"))];
        for io in ends {
            let all = talk(io).await;
            assert!(all.starts_with("HTTP/1.1 101 "), "{all}");
            assert!(
                all.to_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
                "{all}"
            );
            assert!(all.ends_with("hello early later"), "{all}");
        }
        let seen = seen.borrow();
        assert_eq!(seen.matches("upgrade: websocket").count(), 2, "{seen}");
        assert!(!seen.contains("early"), "bytes came before the answer: {seen}");
    });
}

#[test]
fn s2_bytes_behind_a_refused_upgrade_never_reach_the_backend() {
    on_worker(async {
        for status in ["200 OK", "403 Forbidden"] {
            let net = Net::default();
            let seen: Rc<RefCell<String>> = Rc::default();
            let told = Rc::clone(&seen);
            net.raw(address(9, 80), move |mut io| {
                let told = Rc::clone(&told);
                async move {
                    let mut buffer = [0; 4096];
                    let mut first = true;
                    while let Ok(count @ 1..) = io.read(&mut buffer).await {
                        told.borrow_mut().push_str(&String::from_utf8_lossy(&buffer[..count]));
                        if std::mem::take(&mut first) {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nno");
                            io.write_all(answer.as_bytes()).await.expect("the proxy reads");
                        }
                    }
                }
            });
            let mut resources = vec![listener(), route(vec![rule("/chat", vec![backend("chat", 1)])])];
            resources.extend(service("chat", AppProtocol::Http1, &[address(9, 80)]));
            let proxy = Proxy::new(&net, resources);
            let smuggled = [HELLO, b"GET /secret HTTP/1.1\r\nHost: inside\r\n\r\n"].concat();
            let all = proxy.raw(gateway(), &smuggled).await;
            assert!(all.starts_with(&format!("HTTP/1.1 {status}")), "{all}");
            // What followed is a request of its own, decided by itself.
            assert!(all.contains("HTTP/1.1 404 "), "{all}");
            assert!(!seen.borrow().contains("secret"), "{}", seen.borrow());
        }
    });
}

/// A gRPC-like backend: echoes each message, then a status in trailers.
fn grpc(net: &Net, at: std::net::SocketAddr) {
    net.listen(at, |io, upstream| {
        assert_eq!(upstream.speaks, Speaks::Http2);
        let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
            let (sender, body) = fed();
            let mut incoming = request.into_body();
            tokio::task::spawn_local(async move {
                while let Some(Ok(frame)) = incoming.frame().await {
                    if let Ok(data) = frame.into_data() {
                        let _ = sender.send(Frame::data(data));
                    }
                }
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().expect("a value"));
                let _ = sender.send(Frame::trailers(trailers));
            });
            let response = Response::builder().header("content-type", "application/grpc");
            Ok::<_, std::convert::Infallible>(response.body(body).expect("a response"))
        });
        tokio::task::spawn_local(async move {
            let _ = hyper::server::conn::http2::Builder::new(Local)
                .serve_connection(TokioIo::new(io), service)
                .await;
        });
    });
}

#[test]
fn grpc_streams_pass_both_ways_with_their_trailers() {
    on_worker(async {
        let net = Net::default();
        grpc(&net, address(9, 80));
        let far = Proxy::new(&net, [known("calc")]);
        net.listen(address(2, 80), move |io, _| far.accept(io, inbound("calc", address(9, 80), Some("web"))));
        let mut resources = vec![listener()];
        let to = mesh_model::Attachment::Listener(mesh_model::ResourceKey::local_part(
            mesh_model::Kind::Listener,
            name("edge"),
            "http",
        ));
        resources.push(attached(RouteKind::Grpc, to, vec![rule("/calc.Calc", vec![backend("calc", 1)])]));
        resources.extend(meshed("calc", AppProtocol::Detect, &[address(2, 80)], Some(identity("calc"))));
        let proxy = Proxy::new(&net, resources);
        let io = TokioIo::new(proxy.open(gateway()));
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(Local, io).await.expect("a handshake");
        tokio::task::spawn_local(connection);
        let call = |path: &str, body| {
            let request = Request::post(format!("http://shop.test{path}"));
            request
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(body)
                .expect("a request")
        };
        let (messages, body) = fed();
        let answer = client.send_request(call("/calc.Calc/Add", body)).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        let mut incoming = answer.into_body();
        for n in 0..10 {
            let message = Bytes::from(format!("message {n}"));
            messages.send(Frame::data(message.clone())).expect("the client sends");
            let echoed =
                incoming.frame().await.expect("a frame").expect("no error").into_data().expect("data");
            assert_eq!(echoed, message, "each message comes back before the next is sent");
        }
        drop(messages);
        let trailers =
            incoming.frame().await.expect("a frame").expect("no error").into_trailers().expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");

        let (_, body) = fed();
        let none = client.send_request(call("/other.Service/Do", body)).await.expect("an answer");
        assert_eq!(
            (none.status(), &none.headers()["grpc-status"]),
            (StatusCode::OK, &"12".parse().expect("a value"))
        );
    });
}

#[test]
fn p10_a_new_deny_ends_what_runs_within_a_second() {
    on_worker(async {
        let net = Net::default();
        grpc(&net, address(9, 80));
        let proxy = Proxy::new(&net, [known("calc")]);
        let io = TokioIo::new(proxy.open(inbound("calc", address(9, 80), Some("web"))));
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(Local, io).await.expect("a handshake");
        tokio::task::spawn_local(connection);
        let mut open = Vec::new();
        for path in ["/calc/a", "/calc/b"] {
            let (messages, body) = fed();
            let request = Request::post(format!("http://calc{path}")).body(body).expect("a request");
            let answer = client.send_request(request).await.expect("an answer");
            open.push((messages, answer.into_body()));
        }
        let paths = Patterns { any: vec![TextPattern::from("/calc/a".to_owned())], none: Vec::new() };
        let denied =
            PolicyRule { to: vec![Operation { paths, ..Operation::default() }], ..PolicyRule::default() };
        proxy.mesh.publish(Mesh::from_resources([known("calc"), policy("no-a", Action::Deny, vec![denied])]));
        let ended =
            tokio::time::timeout(Duration::from_secs(1), open[0].1.frame()).await.expect("it is cut in time");
        assert!(ended.is_some_and(|frame| frame.is_err()), "the stream ends with an error");
        open[1].0.send(Frame::data(Bytes::from("still"))).expect("the client sends");
        let frame = open[1].1.frame().await.expect("a frame").expect("the other stream goes on");
        assert_eq!(frame.into_data().expect("data"), "still");
        let request = Request::post("http://calc/calc/a").body(fed().1).expect("a request");
        assert_eq!(client.send_request(request).await.expect("an answer").status(), StatusCode::FORBIDDEN);
    });
}

#[test]
fn mirrors_get_their_share_with_bodies_and_never_slow_the_original() {
    on_worker(async {
        let net = Net::default();
        net.echo(address(1, 80), "one");
        let copies: Rc<RefCell<Vec<usize>>> = Rc::default();
        let told = Rc::clone(&copies);
        net.backend(address(2, 80), move |request: Request<hyper::body::Incoming>| {
            let told = Rc::clone(&told);
            async move {
                let body =
                    request.into_body().collect().await.map_or(usize::MAX, |body| body.to_bytes().len());
                told.borrow_mut().push(body);
                Response::default()
            }
        });
        net.raw(address(3, 80), |io| async move {
            std::future::pending::<()>().await;
            drop(io);
        });
        let mirror = |object: &str, numerator, denominator| {
            Filter::Mirror(Mirror {
                target: Target::Service { service: name(object), port: 80 },
                numerator,
                denominator,
            })
        };
        let mut mirrored = rule("/", vec![backend("one", 1)]);
        mirrored.filters = vec![mirror("two", 25, 100), mirror("stuck", 100, 100)];
        let mut resources = vec![listener(), route(vec![mirrored])];
        resources.extend(service("one", AppProtocol::Http1, &[address(1, 80)]));
        resources.extend(service("two", AppProtocol::Http1, &[address(2, 80)]));
        resources.extend(service("stuck", AppProtocol::Http1, &[address(3, 80)]));
        let proxy = Proxy::new(&net, resources);
        let mut client = proxy.gateway1().await;
        for _ in 0..400 {
            let request = client.request("POST", "/").body(Full::from("body")).expect("a request");
            assert_eq!(client.call(request).await.header("x-served-by"), "one");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(*copies.borrow(), vec![4; 100]);
        assert_eq!(
            proxy.telemetry.metrics.mirrors_dropped.get(),
            400 - 256,
            "a stuck mirror holds its places only"
        );
    });
}

#[test]
fn f20_answers_never_go_to_another_request() {
    on_worker(async {
        let net = Net::default();
        net.backend(address(1, 80), |request: Request<hyper::body::Incoming>| async move {
            let path = request.uri().path().to_owned();
            if path.ends_with('7') {
                tokio::task::yield_now().await;
            }
            Response::new(Full::from(path))
        });
        let mut resources = vec![listener(), route(vec![rule("/", vec![backend("one", 1)])])];
        resources.extend(service("one", AppProtocol::Http1, &[address(1, 80)]));
        let proxy = Proxy::new(&net, resources);
        let mut tasks = Vec::new();
        for worker in 0..8 {
            let proxy = proxy.clone();
            tasks.push(tokio::task::spawn_local(async move {
                let mut client =
                    if worker % 2 == 0 { proxy.gateway1().await } else { proxy.gateway2().await };
                for n in 0..1250 {
                    let path = format!("/{worker}/{n}");
                    if n % 50 == 49 {
                        // A client that goes away in the middle.
                        let request = client.request("GET", &path).body(Full::default()).expect("a request");
                        let _ = tokio::time::timeout(Duration::ZERO, client.send(request)).await;
                        client =
                            if worker % 2 == 0 { proxy.gateway1().await } else { proxy.gateway2().await };
                        continue;
                    }
                    assert_eq!(client.get(&path).await.body, path);
                }
            }));
        }
        for task in tasks {
            task.await.expect("every answer was the right one");
        }
    });
}

#[test]
fn h2_five_thousand_cancels_do_not_end_a_connection() {
    on_worker(async {
        let net = Net::default();
        let reached: Rc<Cell<u32>> = Rc::default();
        let counted = Rc::clone(&reached);
        net.backend(address(1, 80), move |request: Request<hyper::body::Incoming>| {
            let counted = Rc::clone(&counted);
            async move {
                if request.uri().path() == "/slow" {
                    counted.set(counted.get() + 1);
                    std::future::pending::<()>().await;
                }
                Response::new(Full::from("done"))
            }
        });
        let mut resources = vec![listener(), route(vec![rule("/", vec![backend("one", 1)])])];
        resources.extend(service("one", AppProtocol::Http2, &[address(1, 80)]));
        let proxy = Proxy::new(&net, resources);
        let mut client = proxy.gateway2().await;
        for n in 0..5000 {
            let request = client.request("GET", "/slow").body(Full::default()).expect("a request");
            let mut pending = Box::pin(client.send(request));
            for _ in 0..10 {
                let polled = futures_util::FutureExt::now_or_never(&mut pending);
                assert!(polled.is_none(), "request {n} ended: {polled:?}");
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(client.get("/").await.body, "done");
        assert!(reached.get() > 4000, "the cancels were of requests under way: {}", reached.get());
    });
}

#[test]
fn a_drain_lets_requests_finish_and_takes_no_more() {
    on_worker(async {
        let net = Net::default();
        net.backend(address(1, 80), |_| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Response::new(Full::from("done"))
        });
        let mut resources = vec![listener(), route(vec![rule("/", vec![backend("one", 1)])])];
        resources.extend(service("one", AppProtocol::Http1, &[address(1, 80)]));
        let proxy = Proxy::new(&net, resources);
        for http2 in [false, true] {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let (begin, drain) = tokio::sync::oneshot::channel::<()>();
            let ended: Rc<Cell<bool>> = Rc::default();
            let (told, stack) = (Rc::clone(&ended), Rc::clone(&proxy.stack));
            tokio::task::spawn_local(async move {
                let drain = (std::future::pending(), async { drop(drain.await) });
                mesh_proxy::http::serve(theirs, gateway(), stack, drain).await;
                told.set(true);
            });
            let mut client = if http2 { Client::http2(ours).await } else { Client::http1(ours).await };
            let request = client.request("GET", "/").body(Full::default()).expect("a request");
            let sending = client.call(request);
            let draining = async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                begin.send(()).expect("the connection waits");
            };
            let (got, ()) = tokio::join!(sending, draining);
            assert_eq!(got.body, "done");
            assert!(http2 || got.header("connection") == "close", "{:?}", got.headers);
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(ended.get(), "the connection is over, http2: {http2}");
        }
    });
}

#[test]
fn who_connects_just_before_a_drain_and_asks_after_it_is_answered_and_who_is_silent_is_left() {
    on_worker(async {
        let net = Net::default();
        net.backend(address(1, 80), |_| async { Response::new(Full::from("done")) });
        let mut resources = vec![listener(), route(vec![rule("/", vec![backend("one", 1)])])];
        resources.extend(service("one", AppProtocol::Http1, &[address(1, 80)]));
        let proxy = Proxy::new(&net, resources);
        let connect = || {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let (ended, stack) = (Rc::new(Cell::new(false)), Rc::clone(&proxy.stack));
            let told = Rc::clone(&ended);
            tokio::task::spawn_local(async move {
                let drain = (std::future::pending(), std::future::ready(()));
                mesh_proxy::http::serve(theirs, gateway(), stack, drain).await;
                told.set(true);
            });
            (ours, ended)
        };
        let until = |ended: Rc<Cell<bool>>| async move {
            let began = tokio::time::Instant::now();
            while !ended.get() {
                assert!(began.elapsed() < Duration::from_secs(9), "it is kept");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            began.elapsed()
        };
        let (_silent, ended) = connect();
        assert!(until(ended).await > Duration::from_millis(900), "it is left at once");
        for http2 in [false, true] {
            let (ours, ended) = connect();
            tokio::time::sleep(Duration::from_millis(50)).await;
            let mut client = if http2 { Client::http2(ours).await } else { Client::http1(ours).await };
            assert_eq!(client.get("/").await.body, "done", "http2: {http2}");
            until(ended).await;
        }
    });
}

#[test]
fn a_client_is_asked_to_leave_before_an_idle_connection_is_closed() {
    on_worker(async {
        let net = Net::default();
        net.backend(address(1, 80), |_| async { Response::new(Full::from("done")) });
        let mut resources = vec![listener(), route(vec![rule("/", vec![backend("one", 1)])])];
        resources.extend(service("one", AppProtocol::Http1, &[address(1, 80)]));
        let proxy = Proxy::new(&net, resources);
        for http2 in [false, true] {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let (begin, leaving) = tokio::sync::oneshot::channel::<()>();
            let (ended, stack) = (Rc::new(Cell::new(false)), Rc::clone(&proxy.stack));
            let told = Rc::clone(&ended);
            tokio::task::spawn_local(async move {
                let drain = (async { drop(leaving.await) }, std::future::pending());
                mesh_proxy::http::serve(theirs, gateway(), stack, drain).await;
                told.set(true);
            });
            let mut client = if http2 { Client::http2(ours).await } else { Client::http1(ours).await };
            let first = client.get("/").await;
            assert_eq!((first.body.as_str(), first.headers.contains_key("connection")), ("done", false));
            begin.send(()).expect("the connection waits");
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(!ended.get(), "an idle connection is not closed while its client was not told");
            let last = client.get("/").await;
            assert_eq!((last.body.as_str(), last.headers.contains_key("connection")), ("done", !http2));
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(ended.get(), !http2, "http2: {http2}");
        }
    });
}
