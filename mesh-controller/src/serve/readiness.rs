//! Readiness and metrics over plain HTTP: `/ready` and `/metrics`. Nothing can be changed here.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_model::Severity;
use mesh_xds::cache::ResourceCache;
use mesh_xds::server::Fleet;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::controller::View;

/// What is shown.
#[derive(Debug, Clone)]
pub struct Shown {
    /// What the controller holds.
    pub view: watch::Receiver<View>,
    /// What streams are served from.
    pub cache: ResourceCache,
    /// Who is connected.
    pub fleet: Fleet,
}

/// Serves until it is dropped.
pub async fn readiness(listener: TcpListener, shown: Shown) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let shown = shown.clone();
        let service =
            service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(&request, &shown))));
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(std::time::Duration::from_secs(10));
        tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
    }
}

fn answer(request: &Request<Incoming>, shown: &Shown) -> Response<Full<Bytes>> {
    let (status, text) = match request.uri().path() {
        "/metrics" => (StatusCode::OK, metrics(shown)),
        "/ready" if shown.cache.snapshot().is_synced() => (StatusCode::OK, "ready\n".to_owned()),
        "/ready" => (StatusCode::SERVICE_UNAVAILABLE, "not every object has been read yet\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "there are /ready and /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

/// The text format of Prometheus, version 0.0.4.
fn metrics(shown: &Shown) -> String {
    let view = shown.view.borrow().clone();
    let mut resources: BTreeMap<&str, usize> = BTreeMap::new();
    for resource in view.mesh.resources() {
        *resources.entry(resource.key().kind.as_str()).or_default() += 1;
    }
    let mut findings: BTreeMap<&str, usize> = [("error", 0), ("note", 0), ("warning", 0)].into();
    for finding in view.findings.iter() {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Note => "note",
            Severity::Warning => "warning",
        };
        *findings.entry(severity).or_default() += 1;
    }
    let mut text = String::new();
    gauge(&mut text, "mesh_controller_objects", "Objects in force.", [(String::new(), view.store.len())]);
    let labelled = |name: &str, (value, count): (&str, usize)| (format!("{{{name}=\"{value}\"}}"), count);
    let kinds = resources.into_iter().map(|pair| labelled("kind", pair));
    gauge(&mut text, "mesh_controller_resources", "Resources that proxies are told of.", kinds);
    let severities = findings.into_iter().map(|pair| labelled("severity", pair));
    gauge(&mut text, "mesh_controller_findings", "What is wrong with the input.", severities);
    let proxies = shown.fleet.proxies().len();
    gauge(&mut text, "mesh_controller_proxies", "Connected proxies.", [(String::new(), proxies)]);
    text
}

fn gauge(text: &mut String, name: &str, help: &str, values: impl IntoIterator<Item = (String, usize)>) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    for (labels, value) in values {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}
