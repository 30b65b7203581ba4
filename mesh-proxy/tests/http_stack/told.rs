//! What the stack tells: the access log, metrics, traces, decisions; and the filters that answer by themselves.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use mesh_model::backend::Target;
use mesh_model::engine::{Place, explain_route};
use mesh_model::filter::{Cors, Filter, Origin, PathEdit, Redirect, Rewrite};
use mesh_model::tracing::{Parents, Recording, Share, Tracing};
use mesh_model::{AppProtocol, Listener, RequestHead, Resource, SourceRef};
use mesh_proxy::http::Limits;
use mesh_proxy::telemetry::Telemetry;
use mesh_proxy::telemetry::access_log::{AccessLog, Level};

use crate::model::*;
use crate::net::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    async fn next(&self) -> serde_json::Value {
        loop {
            let text = std::mem::take(&mut *self.0.lock().expect("nobody panicked"));
            if !text.is_empty() {
                return serde_json::from_slice(&text).expect("one line of JSON");
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
}

fn one(net: &Net, telemetry: Telemetry, filters: Vec<Filter>) -> Proxy {
    net.echo(address(1, 80), "one");
    let mut only = rule("/a", vec![backend("one", 1)]);
    only.filters = filters;
    let mut resources = vec![listener(), route(vec![only])];
    resources.extend(service("one", AppProtocol::Http1, &[address(1, 80)]));
    Proxy::with(net, resources, telemetry, Limits::default())
}

#[test]
fn each_exchange_is_logged_with_its_decision_and_counted_once() {
    on_worker(async {
        let lines = Lines::default();
        let log = AccessLog::to(Level::All, lines.clone());
        let telemetry = Telemetry { access_log: log, ..Telemetry::default() };
        let proxy = one(&Net::default(), telemetry.clone(), Vec::new());
        let mut client = proxy.gateway1().await;
        let sent = client.request("POST", "/a/b?secret=1").body(Full::from("12345")).expect("a request");
        let got = client.call(sent).await;
        let line = lines.next().await;
        assert_eq!(line["side"], "gateway");
        assert_eq!((&line["method"], &line["authority"]), (&"POST".into(), &"shop.test".into()));
        assert_eq!((&line["path"], &line["status"]), (&"/a/b".into(), &200.into()));
        assert_eq!((&line["bytes_received"], &line["bytes_sent"]), (&5.into(), &got.body.len().into()));
        assert_eq!((&line["reason"], &line["upstream"]), (&"Accepted".into(), &"10.0.0.1:80".into()));
        assert_eq!(line["route"], "HTTPRoute shop/route (built in)");

        let none = client.get("/none").await;
        let line = lines.next().await;
        assert_eq!((&line["status"], &line["reason"]), (&404.into(), &"NoRule".into()));
        assert_eq!(line["decision"], none.header("x-mesh-decision"));
        let text = telemetry.encode();
        for wanted in [
            r#"mesh_requests_total{source_workload="edge",source_namespace="shop",destination_workload="one",destination_namespace="shop",service="shop/one",code="200",flag=""} 1"#,
            r#"service="unknown",code="404",flag="NoRule"} 1"#,
            r#"mesh_request_duration_seconds_count{source_workload="edge",source_namespace="shop",destination_workload="one",destination_namespace="shop",service="shop/one"} 1"#,
            "mesh_upstream_connects_total 1",
        ] {
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
    });
}

#[test]
fn r3_hosts_and_paths_make_no_series() {
    on_worker(async {
        let telemetry = Telemetry::default();
        let proxy = one(&Net::default(), telemetry.clone(), Vec::new());
        let mut client = proxy.gateway2().await;
        for n in 0..500 {
            let uri = format!("http://host-{n}.test/a/{n}");
            let request = http::Request::get(uri).body(Full::default()).expect("a request");
            assert_eq!(client.call(request).await.status, StatusCode::OK);
        }
        assert_eq!(telemetry.metrics.series(), 1);
    });
}

#[test]
fn a_decision_is_explained_as_the_engine_does() {
    on_worker(async {
        let telemetry = Telemetry::default();
        let proxy = one(&Net::default(), telemetry.clone(), Vec::new());
        let got = proxy.gateway1().await.get("/b/../c").await;
        let id = got.header("x-mesh-decision").parse().expect("an id");
        let explained = telemetry.decisions.find(id).expect("it is kept").explain();
        let authority = "shop.test".parse().expect("an authority");
        let headers = HeaderMap::new();
        let head = RequestHead {
            method: &Method::GET,
            authority: &authority,
            path: "/c",
            query: None,
            headers: &headers,
        };
        let place = Place::Gateway { gateway: &name("edge"), port: 80, sni: None };
        let expected = explain_route(&proxy.mesh.current(), place, &head);
        assert_eq!(explained, serde_json::to_value(expected).expect("JSON"));
    });
}

#[test]
fn a_trace_is_carried_on_and_begun_where_there_is_none() {
    on_worker(async {
        let proxy = one(&Net::default(), Telemetry::default(), Vec::new());
        let mut client = proxy.gateway1().await;
        let sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let request = client.request("GET", "/a").header("traceparent", sent).header("tracestate", "v=1");
        let got = client.call(request.body(Full::default()).expect("a request")).await;
        assert!(got.body.contains(&format!("traceparent: {sent}\n")), "{}", got.body);
        assert!(got.body.contains("tracestate: v=1\n"), "{}", got.body);
        let begun = client.get("/a").await;
        let line = begun.body.lines().find(|line| line.starts_with("traceparent: 00-")).expect("a context");
        assert_eq!(line.len(), "traceparent: ".len() + 55);
    });
}

/// A gateway whose policy records so, for the receiver `otlp`, which declares HTTP/1.1.
fn recorded(net: &Net, change: impl FnOnce(&mut Recording)) -> (Proxy, Rc<RefCell<Vec<String>>>) {
    net.echo(address(1, 80), "one");
    let seen = Rc::<RefCell<Vec<String>>>::default();
    let notes = Rc::clone(&seen);
    net.backend(address(9, 80), move |request: Request<Incoming>| {
        let notes = Rc::clone(&notes);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let kind = parts.headers.get("content-type").cloned();
            let text = format!("{} {} {kind:?} {}", parts.method, parts.uri, String::from_utf8_lossy(&body));
            notes.borrow_mut().push(text);
            Response::new(Full::<Bytes>::default())
        }
    });
    let mut recording = Recording {
        receiver: Target::Service { service: name("otlp"), port: 80 },
        headers: Vec::new(),
        sampling: Share::ALL,
        parents: Parents::Respected(Share::ALL),
        service_name: "the-edge".into(),
        span_name: None,
        attributes: Vec::new(),
    };
    change(&mut recording);
    let source = SourceRef::new("XTelemetryPolicy", name("traced"), mesh_model::Origin::Builtin);
    let tracing = Some(Arc::new(Tracing { source, recording: Some(recording) }));
    let Resource::Listener(plain) = listener() else { unreachable!("a listener") };
    let mut resources = vec![
        Resource::Listener(Arc::new(Listener { tracing, ..(*plain).clone() })),
        route(vec![rule("/a", vec![backend("one", 1)])]),
    ];
    resources.extend(service("one", AppProtocol::Http1, &[address(1, 80)]));
    resources.extend(service("otlp", AppProtocol::Http1, &[address(9, 80)]));
    (Proxy::new(net, resources), seen)
}

#[test]
fn a_policy_exports_over_http_where_the_receiver_declares_it_and_only_what_it_samples() {
    on_worker(async {
        let net = Net::default();
        let (proxy, seen) = recorded(&net, |_| ());
        let got = proxy.gateway1().await.get("/a").await;
        assert!(got.body.contains("-01\n"), "the trace is recorded: {}", got.body);
        while seen.borrow().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let text = seen.borrow()[0].clone();
        assert!(text.starts_with("POST /v1/traces Some(\"application/x-protobuf\")"), "{text}");
        assert!(text.contains("the-edge") && text.contains("/a"), "{text}");
        let (proxy, seen) =
            recorded(&net, |recording| recording.sampling = Share { numerator: 0, denominator: 1 });
        let got = proxy.gateway1().await.get("/a").await;
        assert!(got.body.contains("-00\n"), "the trace is not recorded: {}", got.body);
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        assert_eq!(seen.borrow().len(), 0);
    });
}

#[test]
fn redirects_and_preflights_are_answered_here_and_rewrites_reach_the_backend() {
    on_worker(async {
        let net = Net::default();
        let redirect = Redirect {
            scheme: Some("https".into()),
            hostname: None,
            port: None,
            path: Some(PathEdit::Prefix("/new".into())),
            status: 301,
        };
        let proxy = one(&net, Telemetry::default(), vec![Filter::Redirect(redirect)]);
        let got = proxy.gateway1().await.get("/a/b?q=1").await;
        assert_eq!((got.status.as_u16(), got.header("location")), (301, "https://shop.test/new/b?q=1"));
        assert_eq!(net.dialled.get(), 0);

        let cors =
            Cors { allow_origins: vec![Origin::Any], allow_methods: vec!["GET".into()], ..Cors::default() };
        let proxy = one(&net, Telemetry::default(), vec![Filter::Cors(cors)]);
        let mut client = proxy.gateway1().await;
        let preflight = client.request("OPTIONS", "/a").header("origin", "https://x.test");
        let preflight = preflight.header("access-control-request-method", "GET");
        let got = client.call(preflight.body(Full::default()).expect("a request")).await;
        assert_eq!((got.status.as_u16(), got.header("access-control-allow-origin")), (204, "https://x.test"));
        assert_eq!(net.dialled.get(), 0);
        let crossing = client.request("GET", "/a").header("origin", "https://x.test");
        let got = client.call(crossing.body(Full::default()).expect("a request")).await;
        assert_eq!(
            (got.header("x-served-by"), got.header("access-control-allow-origin")),
            ("one", "https://x.test")
        );

        let rewrite = Rewrite { hostname: Some("inside".into()), path: Some(PathEdit::Full("/z".into())) };
        let proxy = one(&net, Telemetry::default(), vec![Filter::Rewrite(rewrite)]);
        let got = proxy.gateway2().await.get("/a/b?q=1").await;
        assert!(got.body.starts_with("one HTTP/1.1 GET /z?q=1\n"), "{}", got.body);
        assert!(got.body.contains("host: inside\n"), "{}", got.body);
    });
}

#[test]
fn a_denial_at_the_destination_names_its_decision_to_the_client() {
    on_worker(async {
        let net = Net::default();
        net.echo(address(9, 80), "app");
        let deny = policy("none", mesh_model::policy::Action::Allow, Vec::new());
        let far = Proxy::new(&net, [known("cart"), deny]);
        let decisions = far.telemetry.decisions.clone();
        net.listen(address(2, 80), move |io, _| far.accept(io, inbound("cart", address(9, 80), Some("web"))));
        let near =
            Proxy::new(&net, meshed("cart", AppProtocol::Http1, &[address(2, 80)], Some(identity("cart"))));
        let got = Client::http1(near.open(outbound(&near.mesh, "cart"))).await.get("/").await;
        assert_eq!((got.status, got.body.as_str()), (StatusCode::FORBIDDEN, "access denied\n"));
        let id = got.header("x-mesh-decision").parse().expect("an id");
        let explained = decisions.find(id).expect("the destination's own").explain();
        assert_eq!(
            (&explained["allowed"], &explained["reason"]),
            (&false.into(), &"NotAllowedByPolicy".into())
        );
    });
}

#[test]
fn a_workload_that_is_not_known_lets_nothing_in() {
    on_worker(async {
        let net = Net::default();
        net.echo(address(9, 80), "app");
        let proxy = Proxy::new(&net, Vec::new());
        let got =
            Client::http2(proxy.open(inbound("cart", address(9, 80), Some("web")))).await.get("/").await;
        assert_eq!((got.status, net.dialled.get()), (StatusCode::SERVICE_UNAVAILABLE, 0));
    });
}
