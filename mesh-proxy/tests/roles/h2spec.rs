//! HTTP/2 by the standards: h2spec in its strict mode against a gateway, with and without TLS: every case of RFC 9113 and RFC 7541 that it
//! knows passes but those listed here, and the test fails as soon as one of these passes too.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh_model::tls::PrivateKey;
use mesh_model::{
    AppProtocol, Certificate, Kind, ListenerProtocol, ListenerTls, Resource, ResourceKey, RouteKind,
    Transport,
};
use mesh_proxy::proxy::ProxyHandle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::world::*;

/// Cases of h2spec 2.2.1 with `--strict`.
const CASES: usize = 146;

/// What is known to fail without TLS, and why that stays.
const EXPECTED_WITHOUT_TLS: &[(&str, &str)] = &[(
    "http2/3.5: Sends invalid connection preface",
    "the port speaks HTTP/1.1 too, and whatever is no preface gets the answer of HTTP/1.1, 400 and a close",
)];
/// The same with TLS, where both sides have agreed on HTTP/2.
const EXPECTED_WITH_TLS: &[(&str, &str)] = &[];

/// One case and what became of it.
#[derive(Debug)]
struct Case {
    title: String,
    /// What h2spec says about it when it did not pass.
    complaint: Option<String>,
}

/// Reads a report in JUnit's form: cases without a name of their own, so section and text together.
fn read(report: &str) -> Vec<Case> {
    report.split("<testcase ").skip(1).map(case).collect()
}

fn case(text: &str) -> Case {
    let attribute = |name: &str| {
        let value = text.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
        plain(value.map_or("", |(value, _)| value))
    };
    let title = format!("{}: {}", attribute("package"), attribute("classname"));
    let body = text.split_once("</testcase>").map_or(text, |(body, _)| body);
    let passed = !["<failure", "<error", "<skipped"].iter().any(|mark| body.contains(mark));
    Case { title, complaint: (!passed).then(|| plain(body)) }
}

fn plain(text: &str) -> String {
    [("&#34;", "\""), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&#xA;", " "), ("&amp;", "&")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// What is wrong with a run, a line each.
fn complaints(cases: &[Case], expected: &[(&str, &str)]) -> Vec<String> {
    let listed = |case: &Case| expected.iter().any(|(title, _)| *title == case.title);
    let mut complaints = Vec::new();
    for case in cases {
        match (&case.complaint, listed(case)) {
            (Some(complaint), false) => complaints.push(format!("{}: {complaint}", case.title)),
            (None, true) => complaints.push(format!("{}: passes now, take it off the list", case.title)),
            (Some(_), true) | (None, false) => {}
        }
    }
    let absent = expected.iter().filter(|(title, _)| cases.iter().all(|case| case.title != *title));
    complaints.extend(absent.map(|(title, _)| format!("{title}: there is no such case")));
    if cases.len() != CASES {
        complaints.push(format!("{} cases ran, not {CASES}", cases.len()));
    }
    complaints
}

/// An application that answers when it has the whole request: an earlier answer ends the stream before the frames
/// that a case is about have come, and such frames a server is to ignore (RFC 9113, section 5.1).
async fn application() -> SocketAddr {
    let (listener, address) = listening();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async move {
                request.into_body().collect().await?;
                Ok::<_, hyper::Error>(Response::new("the whole request has come\n".repeat(8)))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// A gateway with a listener of each kind in front of an application of HTTP/1.1.
struct Gateway {
    _proxy: ProxyHandle,
    plain: SocketAddr,
    tls: SocketAddr,
    certificate: CertificateDer<'static>,
}

async fn gateway(world: &World) -> Gateway {
    let made = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).expect("a certificate");
    let certificate = ResourceKey::local(Kind::Certificate, name("own"));
    let tls = ListenerTls::Terminate { certificates: vec![certificate.clone()], client: None };
    let http = listener("http", 8080, ListenerProtocol::Http, ("*", None));
    let https = listener("https", 8443, ListenerProtocol::Https, ("*", Some(tls)));
    world.set([
        Resource::Certificate(Arc::new(Certificate {
            key: certificate,
            source: source("Secret", "own"),
            chain: vec![Arc::from(made.cert.der().as_ref())],
            private_key: PrivateKey::from_der(made.signing_key.serialize_der()),
        })),
        service("cart", AppProtocol::Http1),
        endpoints("cart", [(application().await, None)]),
        route_of("cart", &http),
        route_of("cart-tls", &https),
        Resource::Listener(Arc::new(http)),
        Resource::Listener(Arc::new(https)),
    ]);
    let proxy = world.gateway(2);
    let at = |port| proxy.gateway_address(Transport::Tcp, port);
    until(|| at(8080).is_some() && at(8443).is_some()).await;
    let open = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, at(port).expect("open").port()));
    let [plain, tls] = [8080, 8443].map(open);
    Gateway { _proxy: proxy, plain, tls, certificate: made.cert.der().clone() }
}

fn route_of(object: &str, on: &mesh_model::Listener) -> Resource {
    route(object, RouteKind::Http, on, &[("cart", 1)])
}

fn run(program: &Path, at: SocketAddr, more: &[&str]) -> Vec<Case> {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.xml");
    let mut command = Command::new(program);
    command.args(["--strict", "--host", &at.ip().to_string(), "--port", &at.port().to_string()]);
    command.args(["--path", "/h2spec", "--junit-report"]).arg(&report).args(more);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.expect("h2spec starts");
    let text = std::fs::read_to_string(&report);
    read(&text.unwrap_or_else(|error| panic!("h2spec ended with {status} and no report: {error}")))
}

#[tokio::test]
async fn a_gateway_speaks_http2_as_h2spec_reads_the_standards() {
    let Some(program) = testkit::config::h2spec() else {
        return testkit::skip("h2spec is not there; `cargo xtask test` builds it");
    };
    let world = World::new();
    let gateway = gateway(&world).await;
    let plain = (gateway.plain, &[][..], EXPECTED_WITHOUT_TLS);
    let tls = (gateway.tls, &["--tls", "--insecure"][..], EXPECTED_WITH_TLS);
    for (at, more, expected) in [plain, tls] {
        let program = program.clone();
        let cases = tokio::task::spawn_blocking(move || run(&program, at, more)).await.expect("it ran");
        let complaints = complaints(&cases, expected);
        assert!(complaints.is_empty(), "{more:?}:\n{}", complaints.join("\n"));
    }
}

#[test]
fn a_report_tells_failures_and_what_passes_against_expectation() {
    let text = r#"<testsuites><testsuite>
      <testcase package="http2/3.5" classname="Sends &#34;a&#34;" time="0.1"></testcase>
      <testcase package="http2/3.5" classname="Sends b" time="0.1"><error>Timeout</error></testcase>
      <testcase package="http2/3.5" classname="Sends c" time="0.1"><skipped></skipped></testcase>
    </testsuite></testsuites>"#;
    let cases = read(text);
    let expected = [("http2/3.5: Sends \"a\"", "it was so"), ("http2/3.5: Sends b", "it is so")];
    let complaints = complaints(&cases, &expected);
    assert_eq!(complaints.len(), 3, "{complaints:?}");
    assert!(complaints[0].starts_with("http2/3.5: Sends \"a\": passes now"), "{complaints:?}");
    assert!(complaints[1].starts_with("http2/3.5: Sends c: "), "{complaints:?}");
    assert!(complaints[2].starts_with("3 cases ran"), "{complaints:?}");
}

/// What a client over TLS gets for these bytes, until the gateway closes or has nothing more to say.
async fn told(gateway: &Gateway, protocol: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut roots = RootCertStore::empty();
    roots.add(gateway.certificate.clone()).expect("a root");
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let host = ServerName::try_from("shop.example").expect("a name");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    in_time(async {
        let stream = TcpStream::connect(gateway.tls).await.expect("open");
        let mut stream = connector.connect(host, stream).await.expect("trusted");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
        stream.write_all(bytes).await.expect("open");
        let mut answer = Vec::new();
        // The end may come without a farewell; what was said is whole by then.
        let _ = stream.read_to_end(&mut answer).await;
        answer
    })
    .await
}

#[tokio::test]
async fn over_tls_only_the_protocol_is_served_that_both_sides_agreed_on() {
    let world = World::new();
    let gateway = gateway(&world).await;
    let http1 = b"GET / HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n";
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    assert!(told(&gateway, b"http/1.1", http1).await.starts_with(b"HTTP/1.1 200 "));
    assert_eq!(told(&gateway, b"h2", http1).await, b"", "HTTP/1.1 where HTTP/2 was agreed on");
    let answer = told(&gateway, b"http/1.1", http2).await;
    assert!(answer.starts_with(b"HTTP/1.1 505 "), "{:?}", String::from_utf8_lossy(&answer));
}
