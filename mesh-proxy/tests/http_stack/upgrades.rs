//! Requests that ask for another protocol, through the proxies of both workloads: what they are is not changed by
//! what is spoken in between, even where that is HTTP/2, which knows one method for all of them.

use std::cell::RefCell;
use std::rc::Rc;

use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use mesh_model::policy::{Action, Operation, Patterns, PolicyRule, TextPattern};
use mesh_model::{AppProtocol, Mesh};
use mesh_proxy::http::Limits;
use mesh_proxy::pool;
use mesh_proxy::snapshot::SharedMesh;
use mesh_proxy::telemetry::Telemetry;
use mesh_proxy::upstream::Speaks;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::model::*;
use crate::net::*;

/// Two proxies: a client's, and that of an application which agrees to another protocol below `/agree` only.
struct Hop {
    near: Proxy,
    far: SharedMesh,
    seen: Rc<RefCell<String>>,
}

impl Hop {
    /// Over HTTP/1 and over HTTP/2.
    fn both() -> [Self; 2] {
        [pool::Limits::default().to_peer, 0].map(Self::new)
    }

    fn new(to_peer: usize) -> Self {
        let net = Net::default();
        let seen: Rc<RefCell<String>> = Rc::default();
        let told = Rc::clone(&seen);
        net.raw(address(9, 80), move |io| application(io, Rc::clone(&told)));
        let far = Proxy::new(&net, [known("app")]);
        let mesh = far.mesh.clone();
        net.listen(address(2, 80), move |io, upstream| {
            assert_eq!(upstream.speaks == Speaks::Http2, to_peer == 0);
            far.accept(io, inbound("app", address(9, 80), Some("web")));
        });
        let resources = meshed("app", AppProtocol::Http1, &[address(2, 80)], Some(identity("app")));
        let limits = (Limits::default(), pool::Limits { to_peer, ..pool::Limits::default() });
        Self { near: Proxy::pooled(&net, resources, Telemetry::default(), limits), far: mesh, seen }
    }

    /// What an application's client in HTTP/1 gets for a request without a body.
    async fn ask(&self, method: &str, path: &str, lines: &str) -> String {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n{lines}\r\n");
        self.near.raw(outbound(&self.near.mesh, "app"), head.as_bytes()).await
    }
}

async fn application(mut io: DuplexStream, told: Rc<RefCell<String>>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = io.read(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        let answer = match text.contains(" /agree ") && text.to_lowercase().contains("upgrade: tcp") {
            true => "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\nraw",
            false => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        };
        told.borrow_mut().push_str(&text);
        if io.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

const WISH: &str = "Connection: Upgrade\r\nUpgrade: tcp\r\n";

#[test]
fn a_request_for_another_protocol_keeps_its_method_between_two_proxies() {
    on_worker(async {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "M-SEARCH"] {
            for (path, status, ends) in [("/agree", 101, "raw"), ("/refuse", 200, "\r\n\r\n")] {
                for hop in Hop::both() {
                    let answer = hop.ask(method, path, WISH).await;
                    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answer}");
                    assert!(answer.ends_with(ends), "{method} {path}: {answer}");
                    let seen = hop.seen.borrow().to_lowercase();
                    let line = format!("{method} {path} http/1.1\r\n").to_lowercase();
                    assert!(seen.starts_with(&line), "{method} {path}: {seen}");
                    assert!(seen.contains("upgrade: tcp") && !seen.contains("x-mesh-"), "{seen}");
                }
            }
        }
    });
}

#[test]
fn a_head_asks_for_no_other_protocol() {
    on_worker(async {
        for hop in Hop::both() {
            let answer = hop.ask("HEAD", "/agree", WISH).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            let seen = hop.seen.borrow().to_lowercase();
            assert!(seen.starts_with("head /agree ") && !seen.contains("upgrade"), "{seen}");
        }
    });
}

#[test]
fn policies_of_the_destination_are_asked_about_the_method_that_was_sent() {
    on_worker(async {
        for hop in Hop::both() {
            let methods = Patterns { any: vec![TextPattern::from("POST".to_owned())], none: Vec::new() };
            let denied = PolicyRule {
                to: vec![Operation { methods, ..Operation::default() }],
                ..PolicyRule::default()
            };
            let resources = [known("app"), policy("no-post", Action::Deny, vec![denied])];
            hop.far.publish(Mesh::from_resources(resources));
            let answer = hop.ask("POST", "/agree", WISH).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
            assert_eq!(*hop.seen.borrow(), "");
            let answer = hop.ask("GET", "/agree", WISH).await;
            assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        }
    });
}

#[test]
fn an_application_cannot_name_another_method_than_it_sent() {
    on_worker(async {
        for hop in Hop::both() {
            let answer = hop.ask("GET", "/agree", &format!("{WISH}x-mesh-method: DELETE\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
            assert!(hop.seen.borrow().starts_with("GET /agree "), "{}", hop.seen.borrow());
        }
    });
}

#[test]
fn a_peer_that_names_a_method_which_asks_for_nothing_is_refused() {
    on_worker(async {
        for method in ["CONNECT", "HEAD", "not a method"] {
            let net = Net::default();
            let seen: Rc<RefCell<String>> = Rc::default();
            let told = Rc::clone(&seen);
            net.raw(address(9, 80), move |io| application(io, Rc::clone(&told)));
            let far = Proxy::new(&net, [known("app")]);
            let io = far.open(inbound("app", address(9, 80), Some("web")));
            let builder = hyper::client::conn::http2::Builder::new(Local);
            let (mut peer, connection) = builder.handshake(TokioIo::new(io)).await.expect("HTTP/2");
            tokio::task::spawn_local(connection);
            // The first answer says that the other end knows extended CONNECT.
            let plain = Request::get("http://app/refuse")
                .header("x-mesh-http1", "1")
                .body(Full::default())
                .expect("a request");
            assert_eq!(peer.send_request(plain).await.expect("an answer").status(), 200);
            let mut request = Request::new(Full::<bytes::Bytes>::default());
            *request.method_mut() = http::Method::CONNECT;
            *request.uri_mut() = "http://app/agree".parse().expect("a target");
            request.headers_mut().insert("x-mesh-method", method.parse().expect("a value"));
            request.extensions_mut().insert(Protocol::from_static("tcp"));
            let answer = peer.send_request(request).await.expect("an answer");
            assert_eq!(answer.status(), 400, "{method}");
            answer.into_body().collect().await.expect("a whole answer");
            assert!(!seen.borrow().contains("/agree"), "{method}: {}", seen.borrow());
        }
    });
}
