//! Authorization services: what they are asked, what their answers do, and that nothing but a yes lets a request
//! pass. The one of gRPC is Envoy's protocol as Envoy's own messages have it, served by gRPC's library for Python.

use std::cell::RefCell;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use mesh_model::backend::Target;
use mesh_model::filter::{AuthProtocol, ExternalAuth, Filter, HeaderKey};
use mesh_model::finding::Reason;
use mesh_model::matcher::{HeaderMatch, ValueMatch};
use mesh_model::route::{Rule, Timeouts};
use mesh_model::{AppProtocol, Listener, Resource};
use testkit::process::Process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::model::*;
use crate::net::*;

fn names(names: &[&'static str]) -> Vec<HeaderKey> {
    names.iter().map(|name| HeaderKey(HeaderName::from_static(name))).collect()
}

fn auth(protocol: AuthProtocol, max_body: u32) -> Filter {
    let target = Target::Service { service: name("authz"), port: 80 };
    Filter::ExternalAuth(ExternalAuth { target, protocol, max_body })
}

fn by_http(prefix: &str, allowed: &[&'static str], taken: &[&'static str]) -> AuthProtocol {
    AuthProtocol::Http { prefix: prefix.into(), allowed: names(allowed), taken: names(taken) }
}

/// A gateway whose only rule asks `authz` at `10.0.0.8:80` and forwards to `one` at `10.0.0.1:80`.
fn gateway_with(net: &Net, change: impl FnOnce(&mut Rule)) -> Proxy {
    let mut only = rule("/", vec![backend("one", 1)]);
    change(&mut only);
    let mut resources = vec![listener(), route(vec![only])];
    resources.extend(service("one", AppProtocol::Http1, &[address(1, 80)]));
    resources.extend(service("authz", AppProtocol::Detect, &[address(8, 80)]));
    Proxy::new(net, resources)
}

fn asking(net: &Net, filter: Filter) -> Proxy {
    gateway_with(net, |rule| rule.filters = vec![filter])
}

type Seen = Rc<RefCell<Vec<String>>>;

/// Notes each request as its echo, with its body.
fn noted(net: &Net, last: u8, answer: fn(&str) -> Response<Full<Bytes>>) -> Seen {
    let seen = Seen::default();
    let notes = Rc::clone(&seen);
    net.backend(address(last, 80), move |request: Request<Incoming>| {
        let notes = Rc::clone(&notes);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let mut text = format!("{:?} {} {}\n", parts.version, parts.method, parts.uri);
            for (name, value) in &parts.headers {
                text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
            }
            text.push_str(&String::from_utf8_lossy(&body));
            let response = answer(parts.uri.path());
            notes.borrow_mut().push(text);
            response
        }
    });
    seen
}

fn status(code: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(code);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::from(body)).expect("a response")
}

fn plain(_: &str) -> Response<Full<Bytes>> {
    status(200, &[("x-served-by", "one")], "done")
}

#[test]
fn a_service_of_http_sees_what_it_may_and_adds_what_it_may() {
    on_worker(async {
        let net = Net::default();
        let asked = noted(&net, 8, |_| {
            let headers =
                [("x-user", "anna"), ("x-other", "no"), ("content-type", "text/plain"), ("server", "s")];
            status(200, &headers, "ignored")
        });
        let served = noted(&net, 1, plain);
        let filter = auth(by_http("/check", &["x-seen"], &["x-user", "x-absent"]), 100);
        let proxy = asking(&net, filter);
        let mut client = proxy.gateway1().await;
        let request = client
            .request("POST", "/a/b?q=1")
            .header("authorization", "Bearer t")
            .header("x-seen", "1")
            .header("x-hidden", "2")
            .header("x-user", "forged")
            .header("x-absent", "forged")
            .header("content-type", "application/json");
        let got = client.call(request.body(Full::from("{}")).expect("a request")).await;
        assert_eq!((got.status.as_u16(), got.header("x-served-by")), (200, "one"));
        let asked = asked.borrow();
        let mut lines: Vec<&str> = asked[0].lines().collect();
        lines[1..].sort_unstable();
        assert_eq!(
            lines,
            [
                "HTTP/1.1 POST /check/a/b?q=1",
                "authorization: Bearer t",
                "content-length: 2",
                "host: shop.test",
                "x-seen: 1",
                "{}",
            ]
        );
        let served = served.borrow();
        assert!(served[0].ends_with("{}") && served[0].contains("x-user: anna\n"), "{}", served[0]);
        assert!(served[0].contains("content-type: application/json\n"), "{}", served[0]);
        for gone in ["forged", "x-absent", "x-other"] {
            assert!(!served[0].contains(gone), "{}", served[0]);
        }
    });
}

#[test]
fn without_lists_nothing_more_is_shown_and_all_but_the_answers_own_headers_are_taken() {
    on_worker(async {
        let net = Net::default();
        let asked =
            noted(&net, 8, |_| status(200, &[("x-user", "anna"), ("server", "s"), ("etag", "e")], ""));
        let served = noted(&net, 1, plain);
        let proxy = asking(&net, auth(by_http("", &[], &[]), 0));
        let mut client = proxy.gateway1().await;
        let request = client.request("POST", "/a").header("x-hidden", "2");
        assert_eq!(client.call(request.body(Full::from("body")).expect("a request")).await.status, 200);
        assert_eq!(asked.borrow()[0], "HTTP/1.1 POST /a\nhost: shop.test\ncontent-length: 0\n");
        let served = served.borrow();
        assert!(served[0].contains("x-user: anna\n") && served[0].contains("etag: e\n"), "{}", served[0]);
        assert!(served[0].ends_with("body") && !served[0].contains("server:"), "{}", served[0]);
    });
}

#[test]
fn a_refusal_of_a_service_is_the_clients_answer_and_reaches_nobody_else() {
    on_worker(async {
        for (what, answer, expected) in [
            ("a login", 401, (401, "Bearer", "who are you?")),
            ("a redirect", 302, (302, "Bearer", "who are you?")),
            ("another success", 204, (403, "", "")),
            ("an error of the service", 500, (503, "", "the authorization service gave no usable answer\n")),
        ] {
            let net = Net::default();
            net.backend(address(8, 80), move |_| async move {
                let headers = [("www-authenticate", "Bearer"), ("x-mesh-status", "200")];
                status(answer, &headers, if answer == 204 { "" } else { "who are you?" })
            });
            let served = noted(&net, 1, plain);
            let copied = noted(&net, 2, plain);
            let filters = |rule: &mut Rule| {
                let target = Target::Service { service: name("one"), port: 80 };
                let mirror = mesh_model::filter::Mirror { target, numerator: 1, denominator: 1 };
                rule.filters = vec![Filter::Mirror(mirror), auth(by_http("", &[], &[]), 0)];
            };
            let got = gateway_with(&net, filters).gateway1().await.get("/").await;
            let seen = (got.status.as_u16(), got.header("www-authenticate"), got.body.as_str());
            assert_eq!(seen, expected, "{what}");
            assert!(!got.header("x-mesh-decision").is_empty() && got.header("x-mesh-status").is_empty());
            assert!(served.borrow().is_empty() && copied.borrow().is_empty(), "{what}");
        }
    });
}

/// What a service may do instead of answering.
async fn misbehave(how: usize, mut io: tokio::io::DuplexStream) {
    let mut buffer = [0; 4096];
    let _ = io.read(&mut buffer).await;
    let answer = match how {
        0 => return,
        1 => std::future::pending().await,
        2 => "SSH-2.0-x\r\n\r\n".to_owned(),
        3 => format!("HTTP/1.1 200 OK\r\nx-a: {}\r\n\r\n", "a".repeat(512 * 1024)),
        4 => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_owned(),
        _ => format!("HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n{}", "a".repeat(70_000)),
    };
    let _ = io.write_all(answer.as_bytes()).await;
}

#[test]
fn a_service_that_gives_no_usable_answer_refuses_in_bounded_time() {
    in_paused_time(async {
        for protocol in [by_http("", &[], &[]), AuthProtocol::Grpc { allowed: Vec::new() }] {
            for how in 0..7 {
                let net = Net::default();
                if how < 6 {
                    net.raw(address(8, 80), move |io| misbehave(how, io));
                }
                let served = noted(&net, 1, plain);
                let proxy = asking(&net, auth(protocol.clone(), 0));
                let began = tokio::time::Instant::now();
                let got = proxy.gateway1().await.get("/").await;
                assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "{how}");
                assert!(began.elapsed() <= Duration::from_secs(16), "{how}: {:?}", began.elapsed());
                assert!(served.borrow().is_empty(), "{how}");
            }
        }
    });
}

#[test]
fn the_rules_limit_holds_for_the_question_too() {
    in_paused_time(async {
        let net = Net::default();
        net.backend(address(8, 80), |_| async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            status(200, &[], "")
        });
        net.backend(address(1, 80), |_| async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            status(200, &[], "")
        });
        for (limit, expected) in [(500, 504), (1000, 504), (1500, 200)] {
            let proxy = gateway_with(&net, |rule| {
                rule.filters = vec![auth(by_http("", &[], &[]), 0)];
                rule.timeouts =
                    Timeouts { request: Some(Duration::from_millis(limit)), backend_request: None };
            });
            let began = tokio::time::Instant::now();
            assert_eq!(proxy.gateway1().await.get("/").await.status.as_u16(), expected, "{limit}");
            assert!(began.elapsed() <= Duration::from_millis(limit), "{limit}: {:?}", began.elapsed());
        }
    });
}

#[test]
fn a_body_is_shown_whole_or_the_request_is_refused() {
    on_worker(async {
        for (most, length, expected) in
            [(10, 10, 200), (10, 11, 413), (100_000, 100_000, 200), (0, 5000, 200)]
        {
            let net = Net::default();
            let asked = noted(&net, 8, |_| status(200, &[], ""));
            let served = noted(&net, 1, plain);
            let proxy = asking(&net, auth(by_http("", &[], &[]), most));
            let body = "b".repeat(length);
            let head = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
            let chunked =
                format!("{head}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n");
            let counted = format!("{head}content-length: {length}\r\n\r\n{body}");
            for request in [chunked, counted] {
                let got = proxy.raw(gateway(), request.as_bytes()).await;
                assert!(got.starts_with(&format!("HTTP/1.1 {expected} ")), "{most} {length}: {got}");
            }
            let count = if expected == 200 { 2 } else { 0 };
            assert_eq!((asked.borrow().len(), served.borrow().len()), (count, count), "{most} {length}");
            let shown = if most == 0 { "" } else { body.as_str() };
            assert!(asked.borrow().iter().all(|seen| seen.ends_with(shown)));
            assert!(served.borrow().iter().all(|seen| seen.ends_with(&body)));
        }
    });
}

#[test]
fn a_backend_has_its_own_service_and_a_bad_reference_refuses() {
    on_worker(async {
        let net = Net::default();
        let asked = noted(&net, 8, |_| status(401, &[], ""));
        let served = noted(&net, 1, plain);
        let of_backend = |rule: &mut Rule| rule.backends[0].filters = vec![auth(by_http("", &[], &[]), 0)];
        let got = gateway_with(&net, of_backend).gateway1().await.get("/").await;
        assert_eq!((got.status.as_u16(), asked.borrow().len(), served.borrow().len()), (401, 1, 0));
        let nowhere = Target::Invalid { reason: Reason::BackendNotFound, reference: "Service x".into() };
        let filter = ExternalAuth { target: nowhere, protocol: by_http("", &[], &[]), max_body: 0 };
        let got = asking(&net, Filter::ExternalAuth(filter)).gateway1().await.get("/").await;
        assert_eq!((got.status.as_u16(), served.borrow().len()), (500, 0));
    });
}

/// Joins connections to `authz` to a process that listens at a port.
fn bridged(net: &Net, port: u16) {
    net.listen(address(8, 80), move |mut io, _| {
        tokio::task::spawn_local(async move {
            let mut far = TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
            let _ = tokio::io::copy_bidirectional(&mut io, &mut far).await;
        });
    });
}

fn grpc_server() -> Option<(Process, u16)> {
    let python = testkit::config::python()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/peers/ext_authz_server.py");
    let mut server = Process::start(Command::new(python).arg(script)).expect("python starts");
    let line = server.wait_for("port ", Duration::from_secs(20)).expect("the server listens");
    let port = line.trim_start_matches("port ").trim().parse().expect("a port");
    Some((server, port))
}

fn question(server: &mut Process) -> serde_json::Value {
    let line = server.wait_for("question ", Duration::from_secs(20)).expect("a question arrives");
    serde_json::from_str(line.trim_start_matches("question ")).expect("JSON")
}

#[test]
fn envoys_check_is_asked_and_obeyed() {
    let Some((mut server, port)) = grpc_server() else {
        return testkit::skip("no Python with xds-protos and grpcio");
    };
    on_worker(async {
        let net = Net::default();
        bridged(&net, port);
        let served = noted(&net, 1, plain);
        let proxy = asking(&net, auth(AuthProtocol::Grpc { allowed: Vec::new() }, 1000));
        let mut client = proxy.gateway2().await;
        let request = client
            .request("POST", "/allowed?token=t&b=1")
            .header("authorization", "Bearer t")
            .header("x-user", "forged")
            .header("x-role", "admin")
            .header("x-kept", "kept");
        let got = client.call(request.body(Full::from("{}")).expect("a request")).await;
        assert_eq!((got.status.as_u16(), got.header("x-authorized")), (200, "yes"));
        let asked = question(&mut server);
        let http = &asked["request"]["http"];
        assert_eq!((&http["method"], &http["path"]), (&"POST".into(), &"/allowed?token=t&b=1".into()));
        assert_eq!((&http["host"], &http["scheme"]), (&"shop.test".into(), &"http".into()));
        assert_eq!(
            (&http["body"], &http["size"], &http["protocol"]),
            (&"{}".into(), &"2".into(), &"HTTP/2".into())
        );
        assert_eq!(http["headers"]["authorization"], "Bearer t");
        assert_eq!(http["headers"][":path"], "/allowed?token=t&b=1");
        assert_eq!(asked["source"]["address"]["socketAddress"]["address"], "192.0.2.7");
        assert_eq!(asked["destination"]["address"]["socketAddress"]["portValue"], 80);
        let seen = served.borrow()[0].clone();
        assert!(seen.starts_with("HTTP/1.1 POST /allowed?b=1&user=anna\n"), "{seen}");
        for line in ["x-user: anna\n", "x-role: admin\nx-role: buyer\n", "x-kept: kept\n"] {
            assert!(seen.contains(line), "{seen}");
        }
        assert!(!seen.contains("authorization") && seen.ends_with("{}"), "{seen}");

        for (path, status, header, body) in [
            ("/bare", 200, "", "done"),
            ("/denied", 401, "Bearer", "who are you?"),
            ("/denied-bare", 403, "", ""),
            ("/failed", 503, "", "the authorization service gave no usable answer\n"),
            ("/path", 503, "", "the authorization service gave no usable answer\n"),
            ("/undecided", 503, "", "the authorization service gave no usable answer\n"),
            ("/unknown", 503, "", "the authorization service gave no usable answer\n"),
        ] {
            let got = client.get(path).await;
            let seen = (got.status.as_u16(), got.header("www-authenticate"), got.body.as_str());
            assert_eq!(seen, (status, header, body), "{path}");
        }
        assert_eq!(served.borrow().len(), 2);

        let call = client.request("POST", "/denied").header("content-type", "application/grpc");
        let got = client.call(call.body(Full::default()).expect("a request")).await;
        let told = (got.status.as_u16(), got.header("grpc-status"), got.header("grpc-message"));
        assert_eq!(told, (200, "16", "who are you?"));

        let few = asking(&net, auth(AuthProtocol::Grpc { allowed: names(&["x-a"]) }, 0));
        let mut client = few.gateway1().await;
        let request = client.request("GET", "/bare").header("x-a", &b"\xfe"[..]).header("x-b", "1");
        let got = client.call(request.body(Full::default()).expect("a request")).await;
        assert_eq!(got.status, 200);
        let asked = std::iter::repeat_with(|| question(&mut server)).take(20);
        let asked = asked.filter(|asked| asked["request"]["http"]["headers"]["x-a"].is_string()).take(1);
        for asked in asked {
            let headers = asked["request"]["http"]["headers"].as_object().expect("headers").clone();
            assert_eq!((headers.len(), &headers["x-a"]), (1, &"\u{fffd}".into()));
        }
    });
}

/// A gateway whose listener asks `authz`, which routes by what it adds: `/` of user anna leads to `one`.
fn gateway_asking_first(net: &Net, filters: Vec<ExternalAuth>) -> Proxy {
    let mut annas = rule("/", vec![backend("one", 1)]);
    annas.matches[0].headers = vec![HeaderMatch {
        name: HeaderName::from_static("x-user"),
        value: ValueMatch::Exact("anna".into()),
    }];
    let Resource::Listener(plain) = listener() else { unreachable!("a listener") };
    let mut resources = vec![
        Resource::Listener(Arc::new(Listener { filters, ..(*plain).clone() })),
        route(vec![annas, rule("/", vec![backend("two", 1)])]),
    ];
    resources.extend(service("one", AppProtocol::Http1, &[address(1, 80)]));
    resources.extend(service("two", AppProtocol::Http1, &[address(2, 80)]));
    resources.extend(service("authz", AppProtocol::Detect, &[address(8, 80)]));
    Proxy::new(net, resources)
}

fn first(protocol: AuthProtocol) -> ExternalAuth {
    let Filter::ExternalAuth(auth) = auth(protocol, 0) else { unreachable!("a question") };
    auth
}

#[test]
fn a_listener_asks_before_the_route_is_chosen_and_the_answer_chooses_it() {
    on_worker(async {
        let net = Net::default();
        let asked = noted(&net, 8, |path| match path {
            "/no" => status(403, &[("x-why", "no")], "refused"),
            "/broken" => status(500, &[], ""),
            "/anna" => status(200, &[("x-user", "anna"), ("host", "evil.test")], ""),
            _ => status(200, &[], ""),
        });
        let one = noted(&net, 1, |_| status(200, &[("x-served-by", "one")], ""));
        let two = noted(&net, 2, |_| status(200, &[("x-served-by", "two")], ""));
        let proxy = gateway_asking_first(&net, vec![first(by_http("", &[], &["x-user", "host"]))]);
        let mut client = proxy.gateway1().await;
        let mut ask = async |path: &'static str| {
            let request = client.request("GET", path).header("x-user", "anna");
            client.call(request.body(Full::default()).expect("a request")).await
        };
        // What the client claims is gone before the route is chosen; what the service says chooses it.
        let got = ask("/anna").await;
        assert_eq!((got.status.as_u16(), got.header("x-served-by")), (200, "one"));
        assert!(one.borrow()[0].contains("host: shop.test"), "{:?}", one.borrow());
        assert_eq!(ask("/other").await.header("x-served-by"), "two");
        let refused = ask("/no").await;
        assert_eq!((refused.status.as_u16(), refused.header("x-why")), (403, "no"));
        assert_eq!(ask("/broken").await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!((asked.borrow().len(), one.borrow().len(), two.borrow().len()), (4, 1, 1));
    });
}

#[test]
fn services_of_a_listener_are_asked_in_order_and_one_that_leads_nowhere_lets_nothing_pass() {
    on_worker(async {
        let net = Net::default();
        noted(&net, 8, |_| status(200, &[], ""));
        let served = noted(&net, 2, plain);
        let good = first(by_http("", &[], &["x-user"]));
        let mut gone = good.clone();
        gone.target = Target::Invalid { reason: Reason::BackendNotFound, reference: "none".into() };
        let proxy = gateway_asking_first(&net, vec![good.clone(), good.clone()]);
        let mut client = proxy.gateway1().await;
        let request = client.request("GET", "/").body(Full::default()).expect("a request");
        assert_eq!(client.call(request).await.status, StatusCode::OK);
        let proxy = gateway_asking_first(&net, vec![good, gone]);
        let mut client = proxy.gateway1().await;
        let request = client.request("GET", "/").body(Full::default()).expect("a request");
        assert!(client.call(request).await.status.is_server_error());
        assert_eq!(served.borrow().len(), 1);
    });
}
