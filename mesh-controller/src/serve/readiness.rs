//! Readiness and metrics over plain HTTP: `/ready` and `/metrics`. Nothing can be changed here.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;

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

use super::{Counters, process};
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
    /// What was counted.
    pub counters: Arc<Counters>,
    /// Whether this replica writes, where there may be several.
    pub leading: Option<watch::Receiver<bool>>,
    /// What is not read, where objects are read kind by kind.
    pub reading: Option<watch::Receiver<Reading>>,
}

/// What of an API server has not been read yet, and what cannot be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Kinds of which no list has come yet.
    pub waiting: BTreeSet<&'static str>,
    /// By kind: why it cannot be read.
    pub problems: BTreeMap<&'static str, String>,
}

impl Reading {
    /// What is waited for, in one line.
    pub(crate) fn waits(&self) -> String {
        let waits = |kind: &&str| match self.problems.get(kind) {
            Some(problem) => format!("{kind} ({problem})"),
            None => (*kind).to_owned(),
        };
        let kinds: BTreeSet<&str> = self.waiting.iter().chain(self.problems.keys()).copied().collect();
        let waiting: Vec<String> = kinds.iter().map(waits).collect();
        match waiting.is_empty() {
            true => "not every object has been read yet\n".to_owned(),
            false => format!("not every object has been read yet; waiting for {}\n", waiting.join(", ")),
        }
    }
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
        "/ready" => {
            let reading = shown.reading.as_ref().map(|reading| reading.borrow().clone());
            (StatusCode::SERVICE_UNAVAILABLE, reading.unwrap_or_default().waits())
        }
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
    let labelled = |name: &str, (value, count): (&str, usize)| (format!("{{{name}=\"{value}\"}}"), count);
    let mut objects: BTreeMap<&str, usize> = BTreeMap::new();
    for key in view.store.keys() {
        *objects.entry(key.kind.as_str()).or_default() += 1;
    }
    let objects = objects.into_iter().map(|pair| labelled("kind", pair));
    gauge(&mut text, "mesh_controller_objects", "Objects in force.", objects);
    let kinds = resources.into_iter().map(|pair| labelled("kind", pair));
    gauge(&mut text, "mesh_controller_resources", "Resources that proxies are told of.", kinds);
    let severities = findings.into_iter().map(|pair| labelled("severity", pair));
    gauge(&mut text, "mesh_controller_findings", "What is wrong with the input.", severities);
    let proxies = shown.fleet.proxies().len();
    gauge(&mut text, "mesh_controller_proxies", "Connected proxies.", [(String::new(), proxies)]);
    if let Some(leading) = &shown.leading {
        let leads = usize::from(*leading.borrow());
        let help = "Whether this replica writes statuses and gateways.";
        gauge(&mut text, "mesh_controller_leader", help, [(String::new(), leads)]);
    }
    if let Some(reading) = &shown.reading {
        let reading = reading.borrow();
        let help = "Kinds that cannot be read, or have not been yet.";
        let kinds: BTreeSet<&str> = reading.waiting.iter().chain(reading.problems.keys()).copied().collect();
        let kinds = kinds.into_iter().map(|kind| labelled("kind", (kind, 1)));
        gauge(&mut text, "mesh_controller_unread", help, kinds);
    }
    shown.counters.write(&mut text);
    process::write(&mut text);
    text
}

fn gauge(text: &mut String, name: &str, help: &str, values: impl IntoIterator<Item = (String, usize)>) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    for (labels, value) in values {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}
