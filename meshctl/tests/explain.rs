//! What `meshctl explain` says of a request equals what the running mesh decided about it, byte for byte, over
//! 10,000 generated requests at the gateway, and at the sidecars on both ends of calls inside the mesh.
#![allow(clippy::disallowed_methods, reason = "a test waits by the real clock and binds real ports")]

#[path = "up/harness.rs"]
#[allow(dead_code, reason = "each test file uses its part of the harness")]
mod harness;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use mesh_rt::random::Fast;
use serde_json::Value;

use harness::{Mesh, get, request};

/// Generated requests.
const REQUESTS: usize = 10_000;
/// Requests between two questions to the mesh, less than a proxy remembers.
const ROUND: usize = 2_000;
/// Connections that send at the same time.
const CONNECTIONS: usize = 4;

const ROUTES: &str = r#"
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: matches
  namespace: default
spec:
  parentRefs: [{name: bookinfo}]
  hostnames: ["a.test", "*.wild.test"]
  rules:
    - matches: [{path: {type: Exact, value: /a}}]
      filters: [{type: RequestRedirect, requestRedirect: {hostname: exact.test, statusCode: 301}}]
    - matches: [{path: {type: PathPrefix, value: /a}}, {path: {type: PathPrefix, value: /a/b}, method: POST}]
      filters: [{type: RequestRedirect, requestRedirect: {hostname: prefix.test, statusCode: 302}}]
    - matches: [{path: {type: RegularExpression, value: "/a/[0-9]+/c.*"}}]
      filters: [{type: RequestRedirect, requestRedirect: {hostname: regex.test, statusCode: 302}}]
    - matches: [{path: {type: PathPrefix, value: /a/b}, headers: [{name: x-kind, value: one}]}]
      filters: [{type: RequestRedirect, requestRedirect: {hostname: header.test, statusCode: 302}}]
    - matches:
        - path: {type: PathPrefix, value: /a}
          headers: [{name: x-kind, type: RegularExpression, value: "t[a-z]+"}, {name: x-other, value: "1"}]
      filters: [{type: RequestRedirect, requestRedirect: {hostname: headers.test, statusCode: 302}}]
    - matches: [{queryParams: [{name: q, value: "1"}]}]
      filters: [{type: RequestRedirect, requestRedirect: {hostname: query.test, statusCode: 302}}]
    - matches: [{queryParams: [{name: q, type: RegularExpression, value: "[2-9]+"}, {name: r, value: x}]}]
      filters: [{type: RequestRedirect, requestRedirect: {hostname: queries.test, statusCode: 302}}]
    - matches: [{method: PUT}]
      filters: [{type: RequestRedirect, requestRedirect: {hostname: method.test, statusCode: 302}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: backends
  namespace: default
spec:
  parentRefs: [{name: bookinfo}]
  hostnames: ["x.wild.test"]
  rules:
    - matches: [{path: {type: PathPrefix, value: /a/b}, headers: [{name: x-kind, value: two}]}]
      backendRefs: [{name: details, port: 9080, weight: 1}]
      filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /d}}}]
    - matches: [{path: {type: Exact, value: /a/b}, method: DELETE}]
      backendRefs: [{name: ratings, port: 9080}]
    - matches: [{path: {type: PathPrefix, value: /x}, queryParams: [{name: r, value: x}]}]
      backendRefs: [{name: nowhere, port: 9080}]
"#;

/// The routes of this test beside those of bookinfo; the gateway may call `details`, but not `ratings`.
fn with_routes(name: &str, text: String) -> String {
    match name {
        "gateway.yaml" => text + ROUTES,
        "policies.yaml" => text
            .replace("sa/productpage\"]", "sa/productpage\", \"cluster.local/ns/default/sa/bookinfo-mesh\"]"),
        _ => text,
    }
}

/// A generated request.
#[derive(Debug, Clone)]
struct Generated {
    method: &'static str,
    host: &'static str,
    target: String,
    headers: Vec<(&'static str, &'static str)>,
}

impl Generated {
    fn new(chance: &mut Fast) -> Self {
        let mut one = |of: &[&'static str]| {
            let at = chance.below(of.len() as u64);
            of[usize::try_from(at).expect("small")]
        };
        let method = one(&["GET", "GET", "GET", "POST", "PUT", "DELETE"]);
        let host =
            one(&["a.test", "A.test", "x.wild.test", "y.wild.test", "z.y.wild.test", "wild.test", "b.test"]);
        let segments = ["/a", "/b", "/x", "/1", "/23", "/c", "/%61", "/.", "//a", "/B", "/a%20b"];
        let first = one(&["/a", "/a", "/x", "/productpage-not", ""]);
        let mut target = first.to_owned() + one(&segments);
        for _ in 0..3 {
            target += one(&["", "", "/b", "/c", "/1"]);
            target += one(&["", "", "", "/..", "/"]);
        }
        // A path that climbs above its root is refused before there is a decision.
        if mesh_model::path::normalize(&target).is_err() {
            target = "/a".to_owned();
        }
        target += one(&["", "", "?q=1", "?q=23&r=x", "?r=x", "?q=2&q=1", "?q", "?q=%31", "?Q=1", "?"]);
        let kind =
            [("x-kind", "one"), ("x-kind", "two"), ("X-Kind", "ten"), ("x-other", "1"), ("x-none", "n")];
        let number = chance.below(4);
        let headers = (0..number).map(|_| kind[usize::try_from(chance.below(5)).expect("small")]).collect();
        Self { method, host, target, headers }
    }

    /// The request as a line of a batch.
    fn line(&self) -> String {
        let headers = self.headers.iter().map(|(name, value)| format!("\t{name}: {value}"));
        format!("{} http://{}{}{}\n", self.method, self.host, self.target, headers.collect::<String>())
    }

    /// The request with a trace id that finds it again in the access log.
    fn request(&self, number: usize) -> http::Request<Empty<Bytes>> {
        let mut request = http::Request::builder().method(self.method).uri(&self.target);
        request = request
            .header("host", self.host)
            .header("traceparent", format!("00-{}-{:016x}-00", trace(number), 1));
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        request.body(Empty::new()).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

fn trace(number: usize) -> String {
    format!("{:032x}", number + 1)
}

/// Sends requests one after the other on a connection.
async fn send(to: std::net::SocketAddr, requests: Vec<http::Request<Empty<Bytes>>>) {
    let stream = tokio::net::TcpStream::connect(to).await.expect("connects");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    for request in requests {
        sender.ready().await.expect("the connection stays open");
        let shown = format!("{request:?}");
        let answer = sender.send_request(request).await.unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_ne!(answer.status(), 400, "{shown}");
        answer.into_body().collect().await.expect("an answer to its end");
    }
}

/// A line of the access log: which side, its authority and the decision.
#[derive(Debug, Clone)]
struct Logged {
    trace: String,
    side: String,
    authority: String,
    decision: String,
}

/// All lines of the access log, once at least `wanted` are those of a gateway.
fn logged(log: &Path, wanted: usize) -> Vec<Logged> {
    let begin = Instant::now();
    loop {
        let text = std::fs::read_to_string(log).expect("readable");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let part = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let all: Vec<_> = lines
            .map(|line| Logged {
                trace: part(&line, "trace_id"),
                side: part(&line, "side"),
                authority: part(&line, "authority"),
                decision: part(&line, "decision"),
            })
            .collect();
        let count = all.iter().filter(|line| line.side == "gateway").count();
        if count >= wanted {
            return all;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{count} of {wanted} requests were logged");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// What the running mesh explains of decisions.
fn why(mesh: &Mesh, ids: &[String]) -> BTreeMap<String, Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
    command.args(["why", "--output", "json", "--pid", &mesh.process.id().to_string()]).args(ids);
    let out = command.stderr(Stdio::inherit()).output().expect("meshctl runs");
    assert!(out.status.success(), "a decision is not known");
    let lines = String::from_utf8(out.stdout).expect("text");
    let all = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    all.map(|v| (v["decision"].as_str().expect("an id").to_owned(), v["explanation"].clone())).collect()
}

/// What the engine explains without a mesh.
fn explained(mesh: &Mesh, lines: &str, from: &[&str]) -> Vec<Value> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), lines).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
    command.args(["explain", "--output", "json"]).args(from).arg("--batch").arg(file.path());
    let out = command.arg(mesh.folder.path()).stderr(Stdio::piped()).output().expect("meshctl runs");
    let text = String::from_utf8(out.stdout).expect("text");
    let all: Vec<_> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(all.len(), lines.lines().count(), "{}", String::from_utf8_lossy(&out.stderr));
    all
}

fn started() -> (Mesh, tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    let arguments = ["--capture", "namespaces", "--access-log", log.to_str().expect("text")];
    (Mesh::start_edited("bookinfo", &arguments, with_routes), folder, log)
}

#[test]
fn the_explanation_equals_the_live_decision_over_ten_thousand_requests() {
    let (mesh, _folder, log) = started();
    let mut chance = Fast::seeded(20);
    let all: Vec<_> = (0..REQUESTS).map(|_| Generated::new(&mut chance)).collect();
    let engine = explained(&mesh, &all.iter().map(Generated::line).collect::<String>(), &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (mut outcomes, mut behind) = (BTreeMap::<String, usize>::new(), BTreeMap::<bool, usize>::new());
    for begin in (0..REQUESTS).step_by(ROUND) {
        let sending = (0..CONNECTIONS).map(|connection| {
            let own = (begin..begin + ROUND).filter(move |n| n % CONNECTIONS == connection);
            send(mesh.address(), own.map(|n| all[n].request(n)).collect())
        });
        runtime.block_on(futures_util::future::join_all(sending));
        let lines = logged(&log, begin + ROUND);
        let number = |line: &Logged| usize::from_str_radix(&line.trace, 16).ok()?.checked_sub(1);
        let round: Vec<_> = lines
            .iter()
            .filter_map(|l| Some((number(l).filter(|n| *n >= begin && *n < REQUESTS)?, l)))
            .collect();
        let ids: Vec<_> = round.iter().map(|(_, line)| line.decision.clone()).collect();
        let live = why(&mesh, &ids);
        for (number, line) in round {
            let live = live[&line.decision].to_string();
            let journey = &engine[number];
            if line.side == "gateway" {
                assert_eq!(live, journey["decision"].to_string(), "{:?}", all[number]);
                *outcomes.entry(outcome(journey)).or_default() += 1;
            } else {
                // It says which of the workloads behind the backends it is.
                let destinations = journey["destinations"].as_array().expect("destinations");
                let all_of_them: Vec<_> = destinations.iter().map(ToString::to_string).collect();
                assert!(all_of_them.contains(&live), "{:?}: {live}", all[number]);
                *behind.entry(live.contains("\"allowed\":true")).or_default() += 1;
            }
        }
    }
    assert_eq!(outcomes.values().sum::<usize>(), REQUESTS, "{outcomes:?}");
    assert!(outcomes.len() >= 12, "the requests met too few rules: {outcomes:?}");
    assert!(behind.len() == 2 && behind.values().all(|n| *n >= 5), "allowed or not at sidecars: {behind:?}");
}

/// The rule or refusal that a request met.
fn outcome(journey: &Value) -> String {
    let decision = &journey["decision"];
    format!("{} {} {}", decision["route"]["source"], decision["route"]["rule"], decision["status"])
}

#[test]
fn calls_inside_the_mesh_are_explained_as_they_were_decided() {
    let (mesh, _folder, log) = started();
    let page = format!("{}/productpage", mesh.url());
    for headers in [&[][..], &["x-cohort: beta"], &["x-cohort: other"]] {
        assert_eq!(get(&page, headers).0, 200);
    }
    let outbound = |lines: &[Logged]| {
        let of = |l: &&Logged| l.side == "outbound" && l.authority.starts_with("reviews");
        lines.iter().filter(of).cloned().collect::<Vec<_>>()
    };
    let begin = Instant::now();
    let mut calls = outbound(&logged(&log, 3));
    while calls.len() < 3 {
        assert!(begin.elapsed() < Duration::from_secs(10), "{calls:?}");
        calls = outbound(&logged(&log, 3));
    }
    let lines = "GET http://reviews/reviews/0\nGET http://reviews/reviews/0\tx-cohort: beta\nGET http://reviews/reviews/0\tx-cohort: other\n";
    let engine = explained(&mesh, lines, &["--from", "productpage"]);
    let live = why(&mesh, &calls.iter().map(|call| call.decision.clone()).collect::<Vec<_>>());
    for (call, journey) in calls.iter().zip(&engine) {
        assert_eq!(live[&call.decision].to_string(), journey["decision"].to_string());
    }
    assert!(engine[1].to_string().contains("reviews-v3"), "{}", engine[1]);
}

#[test]
fn why_explains_the_decision_that_an_answer_names() {
    let (mesh, _folder, log) = started();
    assert_eq!(request("GET", &format!("{}/not-there", mesh.url()), &[]).0, 404);
    let id = logged(&log, 1)[0].decision.clone();
    let why = |id: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
        command.args(["why", "--pid", &mesh.process.id().to_string(), id]).output().expect("meshctl runs")
    };
    let out = why(&id);
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("/not-there") && text.contains("404"), "{out:?}");
    let out = why("0000000000000000");
    assert!(!out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("0000000000000000"), "{out:?}");
}
