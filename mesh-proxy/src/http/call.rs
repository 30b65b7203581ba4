//! A request on its way through the stack, and the reply on its way back.

use std::rc::Rc;
use std::time::Duration;

use http::header::COOKIE;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use hyper::ext::Protocol;
use mesh_http1_tokio::{Asked, Framing, RawIo, request_head};
use mesh_model::{Authority, RequestHead};

use super::body::{Answered, Body, Course, Received, Tail};
use super::head::Accepted;
use super::incoming::Incoming;
use super::names;
use crate::upstream::{Security, Upstream};

/// The head of a request as it will be sent.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) authority: Authority,
    /// Path and query.
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    /// The protocol to change to.
    pub(crate) upgrade: Option<HeaderValue>,
    /// The client takes trailers.
    pub(crate) trailers: bool,
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) head: Head,
    pub(crate) body: Option<Received>,
    /// The body when copies of it are made; `body` is empty then.
    pub(crate) teed: Option<Body>,
    /// The client spoke HTTP/2.
    pub(crate) http2: bool,
    /// The client is the application beside this proxy.
    pub(crate) direct: bool,
    /// A peer marked the request as HTTP/1 of its application.
    pub(crate) marked_http1: bool,
}

impl Call {
    pub(crate) fn new(
        parts: Parts,
        accepted: Accepted,
        incoming: Incoming,
        pause: Duration,
        course: Rc<Course>,
    ) -> Self {
        let grpc = is_grpc(&parts.headers);
        let http2 = parts.version == Version::HTTP_2;
        let received = Received::new(incoming, (!grpc).then_some(pause), course);
        let body = (!received.is_end_stream()).then_some(received);
        // What follows a body is the next request, not another protocol.
        let upgrade = accepted.upgrade.filter(|_| body.is_none());
        let head = Head {
            method: parts.method,
            authority: accepted.authority,
            uri: parts.uri,
            headers: parts.headers,
            upgrade,
            trailers: accepted.trailers,
        };
        Self { head, body, teed: None, http2, direct: false, marked_http1: accepted.http1 }
    }

    pub(crate) fn shape(&self) -> Shape {
        Shape {
            grpc: self.is_grpc(),
            http2: self.http2,
            direct: self.direct,
            upgrade: self.head.upgrade.is_some(),
        }
    }

    /// Whether the request is a gRPC call.
    pub(crate) fn is_grpc(&self) -> bool {
        is_grpc(&self.head.headers)
    }
}

/// What of a request decides how its backend is spoken to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) grpc: bool,
    pub(crate) http2: bool,
    pub(crate) direct: bool,
    pub(crate) upgrade: bool,
}

/// Whether the content is gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content = headers.get(http::header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    content
        .and_then(|c| c.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

impl Head {
    /// The head as the engine takes it.
    pub(crate) fn view(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            authority: &self.authority,
            path: self.uri.path(),
            query: self.uri.query(),
            headers: &self.headers,
        }
    }

    /// Writes the head in HTTP/1. Returns the framing of the body that it promises.
    pub(crate) fn write_http1(&self, out: &mut Vec<u8>, body: &Body) -> Framing {
        let changed = self.changed();
        let asked = Asked {
            method: &self.method,
            target: self.uri.path_and_query().map_or("/", PathAndQuery::as_str),
            host: (self.authority.host(), self.authority.port()),
            headers: changed.as_ref().unwrap_or(&self.headers),
        };
        request_head(out, &asked, body)
    }

    /// The headers, where HTTP/1 wants others than there are.
    fn changed(&self) -> Option<HeaderMap> {
        let crumbs = self.headers.get_all(COOKIE).iter().nth(1).is_some();
        if self.upgrade.is_none() && !crumbs {
            return None;
        }
        let mut headers = self.headers.clone();
        if crumbs {
            join_cookies(&mut headers);
        }
        if let Some(protocol) = &self.upgrade {
            if protocol.as_bytes().eq_ignore_ascii_case(b"websocket") {
                headers.entry(http::header::SEC_WEBSOCKET_KEY).or_insert_with(websocket_key);
            }
            headers.insert(http::header::UPGRADE, protocol.clone());
        }
        Some(headers)
    }

    /// The request in HTTP/2. `http1` marks it for the proxy at the other end.
    pub(crate) fn http2(mut self, upstream: &Upstream, http1: bool, body: Body) -> Request<Body> {
        if http1 && matches!(upstream.security, Security::Mesh(_)) {
            self.headers.insert(&names::HTTP1, HeaderValue::from_static("1"));
        }
        let tls = !matches!(upstream.security, Security::Plain);
        let authority = self.authority.to_string();
        let mut request = Request::new(body);
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = self.method;
        if let Some(protocol) = self.upgrade.as_ref().and_then(|p| p.to_str().ok()) {
            let method = std::mem::replace(request.method_mut(), Method::CONNECT);
            if let Some(method) = told_method(&method) {
                self.headers.insert(&names::METHOD, method);
            }
            request.extensions_mut().insert(Protocol::from(protocol));
        }
        if self.trailers {
            self.headers.insert(http::header::TE, HeaderValue::from_static("trailers"));
        }
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(if tls { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP });
        parts.authority = authority.parse().ok();
        parts.path_and_query = self.uri.into_parts().path_and_query.or(Some(PathAndQuery::from_static("/")));
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        *request.headers_mut() = self.headers;
        request
    }
}

/// What the proxy at the other end has to be told of the method of a request that asks for another protocol.
fn told_method(method: &Method) -> Option<HeaderValue> {
    let other = *method != Method::GET;
    other.then(|| HeaderValue::from_str(method.as_str()).ok()).flatten()
}

/// HTTP/2 splits cookies for its compression; HTTP/1 knows one line (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// A client of RFC 8441 sends no key, and a server of RFC 6455 wants one.
fn websocket_key() -> HeaderValue {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = mesh_rt::random::secure::<16>();
    let mut text = String::with_capacity(24);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, b| word << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * at)) as usize & 63];
            text.push(if at > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// What comes back, each in its box: it passes through many hands.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The backend's answer.
    Backend(Box<Answered>),
    /// An answer made here.
    Own(Box<Response<Body>>),
    /// The backend agreed to change the protocol.
    Tunnel(Box<Agreed>),
}

/// A backend's leave to change the protocol.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) response: Response<()>,
    pub(crate) raw: Box<dyn RawIo>,
    pub(crate) tail: Tail,
}

impl Reply {
    pub(crate) fn headers_mut(&mut self) -> &mut HeaderMap {
        match self {
            Self::Backend(answered) => answered.response.headers_mut(),
            Self::Own(response) => response.headers_mut(),
            Self::Tunnel(agreed) => agreed.response.headers_mut(),
        }
    }

    pub(crate) fn tail_mut(&mut self) -> Option<&mut Tail> {
        match self {
            Self::Backend(answered) => Some(&mut answered.tail),
            Self::Tunnel(agreed) => Some(&mut agreed.tail),
            Self::Own(_) => None,
        }
    }
}
