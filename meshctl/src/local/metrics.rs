//! The metrics of a local mesh on a loopback port, for Prometheus. Reading only.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_proxy::telemetry::Telemetry;
use tokio::net::{TcpListener, TcpStream};

/// How long a request's head may take.
const HEAD: std::time::Duration = std::time::Duration::from_secs(10);

/// The port, open but not yet served.
pub(crate) struct MetricsPort(TcpListener);

impl MetricsPort {
    /// Opens the port.
    pub(crate) fn open(address: SocketAddr) -> std::io::Result<Self> {
        TcpListener::from_std(mesh_rt::net::listen_tcp(address, false)?).map(Self)
    }

    /// Where it is.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves until the future is dropped.
    pub(crate) async fn serve(self, telemetry: Telemetry) {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) => drop(tokio::task::spawn_local(connection(stream, telemetry.clone()))),
                // Out of descriptors: there may be some again soon.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    }
}

async fn connection(stream: TcpStream, telemetry: Telemetry) {
    let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request, &telemetry))));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD);
    // A client that breaks off needs no answer.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn answer(request: &Request<Incoming>, telemetry: &Telemetry) -> Response<Full<Bytes>> {
    let text = |status: StatusCode, kind: &'static str, text: String| {
        let mut answer = Response::new(Full::new(Bytes::from(text)));
        *answer.status_mut() = status;
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        answer
    };
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => text(StatusCode::OK, OPEN_METRICS, telemetry.encode()),
        (&Method::GET, _) => text(StatusCode::NOT_FOUND, "text/plain", "only /metrics is here\n".to_owned()),
        _ => {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n".to_owned());
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            answer
        }
    }
}
