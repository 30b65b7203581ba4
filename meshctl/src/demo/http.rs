//! What the sample service answers over HTTP: the echo with its downstreams, and the paths that misbehave on
//! purpose. Connections and calls are elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use serde::Serialize;

use super::Arguments;
use super::calls::{Answer, Client};
use super::{grpc, websocket};

/// A body of any kind.
pub(super) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// How much of a request body is shown in the answer.
const SHOWN: usize = 4096;

/// The longest `/delay`.
const LONGEST: Duration = Duration::from_secs(60);

/// The largest `/bytes`.
const LARGEST: u64 = 1 << 30;

/// How many keys of `/fail-once` are remembered.
const REMEMBERED: usize = 10_000;

/// The service.
pub(super) struct App {
    pub(super) name: String,
    pub(super) version: String,
    greeting: Option<String>,
    host: String,
    client: Client,
    failed: Mutex<BTreeSet<String>>,
}

/// What the client and we agreed on in the TLS handshake.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Security {
    server_name: Option<String>,
    protocol: Option<String>,
    version: Option<String>,
}

impl Security {
    pub(super) fn of(connection: &rustls::ServerConnection) -> Self {
        Self {
            server_name: connection.server_name().map(str::to_owned),
            protocol: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            version: connection.protocol_version().map(|version| format!("{version:?}")),
        }
    }
}

/// The echo.
#[derive(Serialize)]
struct Echo<'a> {
    name: &'a str,
    version: &'a str,
    host: &'a str,
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    greeting: Option<&'a str>,
    method: &'a str,
    path: &'a str,
    protocol: String,
    headers: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    body: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<&'a Security>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    calls: Vec<Answer>,
}

impl App {
    pub(super) fn new(arguments: Arguments) -> Self {
        Self {
            name: arguments.name,
            version: arguments.version,
            greeting: arguments.greeting,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            client: Client::new(arguments.calls, arguments.propagate),
            failed: Mutex::default(),
        }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Never.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        security: Option<Arc<Security>>,
    ) -> Result<Response<Body>, Infallible> {
        if grpc::is(&request) {
            return Ok(grpc::answer(&self, request));
        }
        if websocket::is(&request) {
            return Ok(websocket::answer(request));
        }
        let path = request.uri().path().to_owned();
        let mut parts = path.trim_start_matches('/').split('/');
        let (first, second) = (parts.next().unwrap_or_default(), parts.next());
        let response = match (first, second) {
            ("bytes", Some(number)) => number.parse().map_or_else(|_| self.not_understood(), bytes),
            ("delay", Some(delay)) => self.delay(delay).await,
            ("echo", None) => stream_back(request),
            ("fail-once", _) => self.fail_once(request.uri().query().unwrap_or_default()),
            ("healthz", None) => text(StatusCode::OK, "ok\n"),
            ("status", Some(status)) => self.status(status),
            _ => self.echo(request, security.as_deref()).await,
        };
        Ok(response)
    }

    async fn echo(&self, request: Request<Incoming>, security: Option<&Security>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = shown(body).await;
        let calls = self.client.call_all(&head.headers).await;
        let echo = Echo {
            name: &self.name,
            version: &self.version,
            host: &self.host,
            pid: std::process::id(),
            greeting: self.greeting.as_deref(),
            method: head.method.as_str(),
            path: head.uri.path_and_query().map_or("/", |path| path.as_str()),
            protocol: format!("{:?}", head.version),
            headers: headers(&head.headers, head.uri.authority().map(http::uri::Authority::as_str)),
            body,
            tls: security,
            calls,
        };
        let mut json = serde_json::to_string_pretty(&echo).unwrap_or_else(|error| error.to_string());
        json.push('\n');
        let mut response = text(StatusCode::OK, json);
        let kind = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }

    async fn delay(&self, delay: &str) -> Response<Body> {
        let Some(delay) = duration(delay).filter(|delay| *delay <= LONGEST) else {
            return self.not_understood();
        };
        tokio::time::sleep(delay).await;
        self.line(StatusCode::OK)
    }

    /// 503 the first time a query is seen, 200 afterwards.
    fn fail_once(&self, key: &str) -> Response<Body> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= REMEMBERED {
            failed.clear();
        }
        let status =
            if failed.insert(key.to_owned()) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        self.line(status)
    }

    fn status(&self, status: &str) -> Response<Body> {
        let status = status.parse::<StatusCode>().ok().filter(|status| !status.is_informational());
        status.map_or_else(|| self.not_understood(), |status| self.line(status))
    }

    fn not_understood(&self) -> Response<Body> {
        self.line(StatusCode::BAD_REQUEST)
    }

    fn line(&self, status: StatusCode) -> Response<Body> {
        let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let line =
            if bodiless { String::new() } else { format!("{} {} {status}\n", self.name, self.version) };
        text(status, line)
    }
}

/// A response of text.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// The request body as it arrives, so that a large one is never held here.
fn stream_back(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(body.boxed_unsync());
    if let Some(kind) = head.headers.get(header::CONTENT_TYPE) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
    }
    if head.method == Method::HEAD {
        return text(StatusCode::OK, "");
    }
    response
}

/// That many bytes, in pieces.
fn bytes(number: u64) -> Response<Body> {
    const PIECE: &[u8] = &[b'x'; 16 * 1024];
    let mut left = number.min(LARGEST);
    let pieces = std::iter::from_fn(move || {
        let length = left.min(PIECE.len() as u64);
        left -= length;
        (length > 0).then(|| Ok(Frame::data(Bytes::from_static(&PIECE[..length as usize]))))
    });
    Response::new(StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync())
}

/// The beginning of a request body, as text.
async fn shown(body: Incoming) -> String {
    match Limited::new(body, SHOWN).collect().await {
        Ok(whole) => String::from_utf8_lossy(&whole.to_bytes()).into_owned(),
        Err(_) => format!("longer than {SHOWN} bytes, or broken off"),
    }
}

/// All header fields, several values of one joined by commas; an HTTP/2 authority is shown as `host`.
fn headers<'a>(headers: &'a HeaderMap, authority: Option<&str>) -> BTreeMap<&'a str, String> {
    let mut shown = BTreeMap::<&str, String>::new();
    if let Some(authority) = authority {
        shown.insert("host", authority.to_owned());
    }
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let all = shown.entry(name.as_str()).or_default();
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(&value);
    }
    shown
}

/// `100ms` or `2s`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if let Some(number) = text.strip_suffix("ms") {
        return number.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s').and_then(|number| number.parse().ok()).map(Duration::from_secs)
}
