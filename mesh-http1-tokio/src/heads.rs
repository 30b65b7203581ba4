//! Heads between bytes and the types of the `http` crate, and which framing a message is sent with.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, response};
use http_body::Body;
use mesh_http1::{Error, Fields, Framing, RequestReader, ResponseReader, Version, write};

/// The end of the year 9999, which is the last that a date can name.
const LAST_SECOND: u64 = 253_402_300_799;
/// Room in a map for lines that are added. More of it would double the map of a usual request.
const ADDED: usize = 2;

/// A request whose head was read.
#[derive(Debug)]
pub struct Started {
    /// The request. Its target is as it was sent.
    pub request: Request<()>,
    /// How its body is framed.
    pub framing: Framing,
    /// The client waits for leave to send the body.
    pub expects_continue: bool,
    /// What decides how it is answered.
    pub way: Way,
}

/// What of a request decides how it is answered.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// The version that the client speaks.
    pub version: Version,
    /// Another request may follow.
    pub persists: bool,
    /// The answer has no body, whatever its head says.
    pub head_only: bool,
}

/// The request of these bytes, which the reader has read.
pub(crate) fn read_request(reader: &RequestReader, bytes: &Bytes) -> Result<Started, Error> {
    let head = reader.head(bytes);
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(head.method).map_err(|_| Error::StartLine)?;
    let target = bytes.slice(reader.target_place());
    *request.uri_mut() = Uri::from_maybe_shared(target).map_err(|_| Error::Target)?;
    *request.version_mut() = match head.version {
        Version::Http10 => http::Version::HTTP_10,
        Version::Http11 => http::Version::HTTP_11,
    };
    *request.headers_mut() = fields(head.fields.clone(), bytes)?;
    let way =
        Way { version: head.version, persists: head.persists, head_only: *request.method() == Method::HEAD };
    Ok(Started { request, framing: head.framing, expects_continue: head.expects_continue, way })
}

/// The response of these bytes, which the reader has read.
pub(crate) fn read_response(reader: &ResponseReader, bytes: &Bytes) -> Result<Response<()>, Error> {
    let head = reader.head(bytes);
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).map_err(|_| Error::StartLine)?;
    *response.headers_mut() = fields(head.fields.clone(), bytes)?;
    Ok(response)
}

fn fields(mut fields: Fields<'_>, bytes: &Bytes) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::with_capacity(fields.len() + ADDED);
    while let Some((name, value)) = fields.next_places() {
        let name = HeaderName::from_bytes(&bytes[name]).map_err(|_| Error::Field)?;
        let value = if value.is_empty() {
            HeaderValue::from_static("")
        } else {
            HeaderValue::from_maybe_shared(bytes.slice(value)).map_err(|_| Error::Field)?
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// What the head of a request is written from.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'r> {
    /// The method.
    pub method: &'r Method,
    /// Path and query.
    pub target: &'r str,
    /// The host that is asked for, and its port if it is to be named.
    pub host: (&'r str, Option<u16>),
    /// The other lines. `Host` and what speaks about connection and framing are passed over.
    pub headers: &'r HeaderMap,
}

/// Writes the head of a request. Returns the framing that it promises.
pub fn request_head(out: &mut Vec<u8>, asked: &Asked<'_>, body: &impl Body) -> Framing {
    write::request_line(out, asked.method.as_str().as_bytes(), asked.target.as_bytes());
    write::host(out, asked.host.0.as_bytes(), asked.host.1);
    let promised = lines(out, asked.headers);
    if asked.headers.contains_key(UPGRADE) {
        write::field(out, b"connection", b"upgrade");
    }
    let framing = of(body);
    match framing {
        Framing::Length(0) if !promised && !may_have_content(asked.method) => {}
        framing => frame(out, framing),
    }
    write::end_of_head(out);
    framing
}

/// Methods whose requests usually have content: without any, they say so (RFC 9110, section 8.6).
fn may_have_content(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Writes the head of an answer. Returns the framing that it promises, and whether the connection persists.
pub fn response_head(
    out: &mut Vec<u8>,
    (response, body): (&response::Parts, &impl Body),
    way: Way,
    now: impl FnOnce() -> SystemTime,
) -> (Framing, bool) {
    let (status, headers) = (response.status, &response.headers);
    write::status_line(out, status.as_u16(), status.canonical_reason().unwrap_or_default());
    lines(out, headers);
    if !headers.contains_key(DATE) {
        write_date(out, now());
    }
    let silent = status.is_informational() || status == StatusCode::NO_CONTENT;
    let framing = match of(body) {
        _ if silent => Framing::Length(0),
        // The length that the body would have had.
        body if way.head_only || status == StatusCode::NOT_MODIFIED => {
            match (headers.get(CONTENT_LENGTH), body) {
                (Some(length), _) => write::field(out, b"content-length", length.as_bytes()),
                (None, Framing::Length(length @ 1..)) => write::content_length(out, length),
                (None, _) => {}
            }
            Framing::Length(0)
        }
        Framing::Chunked if way.version == Version::Http10 => Framing::UntilClose,
        framing => {
            frame(out, framing);
            framing
        }
    };
    let persists = way.persists && framing != Framing::UntilClose;
    match (status, persists) {
        (StatusCode::SWITCHING_PROTOCOLS, _) => write::field(out, b"connection", b"upgrade"),
        (_, false) => write::field(out, b"connection", b"close"),
        (_, true) if way.version == Version::Http10 => write::field(out, b"connection", b"keep-alive"),
        (_, true) => {}
    }
    write::end_of_head(out);
    (framing, persists)
}

fn of(body: &impl Body) -> Framing {
    match body.size_hint().exact() {
        Some(length) => Framing::Length(length),
        None if body.is_end_stream() => Framing::Length(0),
        None => Framing::Chunked,
    }
}

fn frame(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Chunked => write::chunked(out),
        Framing::Length(length) => write::content_length(out, length),
        Framing::UntilClose => {}
    }
}

/// All lines but those that speak about connection and framing, which are written anew, and the host of a request.
/// Whether there was a length among them.
fn lines(out: &mut Vec<u8>, headers: &HeaderMap) -> bool {
    let mut length = false;
    for (name, value) in headers {
        length |= *name == CONTENT_LENGTH;
        if ![CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, HOST].contains(name) {
            write::field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    length
}

/// A proxy says when an answer came that does not (RFC 9110, section 6.6.1). The text is made once a second.
fn write_date(out: &mut Vec<u8>, now: SystemTime) {
    thread_local! {
        static LAST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().min(LAST_SECOND);
    LAST.with_borrow_mut(|(last, text)| {
        if *last != second || text.is_empty() {
            *last = second;
            *text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        }
        write::field(out, b"date", text.as_bytes());
    });
}
