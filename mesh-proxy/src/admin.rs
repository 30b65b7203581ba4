//! The admin and the metrics port: what the proxy holds and how it does. Reading only: no request changes
//! anything, and no answer holds a secret.

mod probe;

use std::convert::Infallible;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::proxy::ProxyHandle;
use crate::snapshot::SharedMesh;
use crate::telemetry::Telemetry;

pub use probe::{Kind, Probe, Probes};

/// Longest time for a request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// The pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);

/// What a port shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// Everything; for loopback. Requests under a foreign host name are refused, so that no web page can read it.
    Admin,
    /// Metrics, readiness and questions about the application; for the network.
    Metrics,
}

/// What there is to see.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The configuration.
    pub mesh: SharedMesh,
    /// Questions about the application.
    pub probes: Arc<Probes>,
    /// The proxy.
    pub proxy: ProxyHandle,
    /// Metrics and decisions.
    pub telemetry: Telemetry,
}

/// Serves a port until the future is dropped.
///
/// # Errors
/// When the listener cannot be used on this runtime.
pub async fn serve(listener: StdListener, admin: Admin, surface: Surface) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, admin.clone(), surface))),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, admin: Admin, surface: Surface) {
    let Ok(pod) = stream.local_addr().map(|address| address.ip().to_canonical()) else { return };
    let service = service_fn(move |request: Request<Incoming>| {
        let admin = admin.clone();
        async move {
            let probe = admin.probe(surface, request.uri().path());
            let (method, path, host) = (request.method(), request.uri().path(), request.headers().get(HOST));
            Ok::<_, Infallible>(match (method, probe) {
                (&Method::GET, Some(probe)) => {
                    let (status, body) = probe.ask(pod).await;
                    text(status, body)
                }
                _ => admin.answer(surface, method, path, host),
            })
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_headers(32)
        .serve_connection(TokioIo::new(stream), service);
    // The client may leave at any time.
    let _ = served.await;
}

impl Admin {
    /// The question about the application that a path means.
    fn probe(&self, surface: Surface, path: &str) -> Option<&Probe> {
        let name = path.strip_prefix("/probe/").filter(|_| surface == Surface::Metrics)?;
        self.probes.get(name)
    }

    /// The answer to a request.
    fn answer(
        &self,
        surface: Surface,
        method: &Method,
        path: &str,
        host: Option<&HeaderValue>,
    ) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n".to_owned());
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        if surface == Surface::Admin && !host.is_some_and(is_local) {
            return text(StatusCode::FORBIDDEN, "ask under a local name\n".to_owned());
        }
        match (surface, path) {
            (_, "/healthz") => text(StatusCode::OK, "alive\n".to_owned()),
            (_, "/ready") => match self.proxy.is_ready() {
                true => text(StatusCode::OK, "ready\n".to_owned()),
                false => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
            },
            (_, "/metrics") => {
                let mut answer = text(StatusCode::OK, self.telemetry.encode());
                let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(openmetrics));
                answer
            }
            (Surface::Admin, "/config_dump") => json_answer(&self.config()),
            (Surface::Admin, path) => match path.strip_prefix("/decisions/") {
                Some(id) => self.decision(id),
                None => nothing(),
            },
            (Surface::Metrics, _) => nothing(),
        }
    }

    fn config(&self) -> Value {
        let mesh = self.mesh.current();
        let resources: Vec<Value> = mesh.resources().filter_map(|r| serde_json::to_value(r).ok()).collect();
        let listeners: Vec<Value> = self
            .proxy
            .addresses()
            .into_iter()
            .map(|(id, address)| json!({ "listener": format!("{id:?}"), "address": address.to_string() }))
            .collect();
        let findings: Vec<String> = self.proxy.findings().iter().map(ToString::to_string).collect();
        json!({
            "version": mesh.version(),
            "listeners": listeners,
            "findings": findings,
            "resources": resources,
        })
    }

    fn decision(&self, id: &str) -> Response<Full<Bytes>> {
        let found = id.parse().ok().and_then(|id| self.telemetry.decisions.find(id));
        found.map_or_else(nothing, |record| json_answer(&record.explain()))
    }
}

/// Whether a host header names this machine.
fn is_local(host: &HeaderValue) -> bool {
    let Ok(authority) = host.to_str().unwrap_or_default().parse::<mesh_model::Authority>() else {
        return false;
    };
    let name = authority.host();
    let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn nothing() -> Response<Full<Bytes>> {
    text(StatusCode::NOT_FOUND, "nothing is here\n".to_owned())
}

fn json_answer(value: &Value) -> Response<Full<Bytes>> {
    let mut answer = text(StatusCode::OK, format!("{value:#}\n"));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

#[cfg(test)]
mod tests;
