//! The strict reading of a request head: what is ambiguous is refused, the rest is brought to one form, and
//! what only the mesh may say is removed. Nothing here routes or forwards.
//!
//! After [`accept`] the head holds the bytes that policies are asked about and that are forwarded.

use http::header::{CONNECTION, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use hyper::ext::Protocol;
use mesh_model::{Authority, path};

use super::error::{Error, Malformed};
use super::names;

/// Most header lines of a head.
pub const MAX_HEADERS: usize = 100;
/// How many more a proxy of the mesh may have added to what it let in.
const ADDED_BY_PEER: usize = 28;
/// Most bytes of a head, decoded.
pub const MAX_HEAD: usize = 60 * 1024;

/// Who sent a head, and so what it may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The application beside this proxy.
    Application,
    /// Anyone: the outside of a gateway.
    Outside,
    /// A proxy of the mesh, verified by mutual TLS.
    Peer,
    /// A client without verified identity, at a destination that permits plain text.
    Unverified,
}

/// What the head said besides what is left in it.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Host and port, canonical.
    pub authority: Authority,
    /// The protocol that the client wants to change to.
    pub upgrade: Option<HeaderValue>,
    /// A peer marked the request as HTTP/1 of its application.
    pub http1: bool,
    /// The client takes trailers.
    pub trailers: bool,
}

/// Checks a head, removes what may not pass and normalises the rest in place: afterwards the URI is path and
/// query only, and no header is left that speaks about the connection.
///
/// # Errors
/// The answer that the client gets instead.
pub fn accept(parts: &mut Parts, sender: Sender) -> Result<Accepted, Error> {
    let most = if sender == Sender::Peer { MAX_HEADERS + ADDED_BY_PEER } else { MAX_HEADERS };
    if parts.headers.len() > most {
        return Err(Error::HeadTooLarge);
    }
    let extended = parts.extensions.remove::<Protocol>();
    if parts.method == Method::CONNECT && extended.is_none() {
        return Err(Error::Refused(http::StatusCode::NOT_FOUND, mesh_model::Reason::NoRoute));
    }
    // Most heads say nothing about their connection, which one look at each name tells.
    let bare = !parts.headers.keys().any(|name| is_of_one_hop(name) || name == EXPECT);
    if !bare {
        check_framing(&parts.headers)?;
        check_expectation(&mut parts.headers)?;
    }
    let authority = authority(parts)?;
    normalise_target(parts)?;
    let te = if bare { None } else { parts.headers.get(TE) };
    let trailers = te.is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let upgrade = match extended {
        Some(protocol) => Some(extended_connect(parts, &protocol, sender)?),
        None if bare => None,
        None => wanted_upgrade(parts),
    };
    if !bare {
        strip_connection(&mut parts.headers)?;
    }
    let http1 = sender == Sender::Peer && parts.headers.contains_key(&names::HTTP1);
    strip_reserved(&mut parts.headers, sender)?;
    Ok(Accepted { authority, upgrade, http1, trailers })
}

/// RFC 9112, section 6.1: one `Transfer-Encoding` with one coding, and never beside a length.
fn check_framing(headers: &HeaderMap) -> Result<(), Malformed> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let single = codings.next().is_none() && !headers.contains_key(http::header::CONTENT_LENGTH);
    if chunked && single { Ok(()) } else { Err(Malformed::Framing) }
}

fn check_expectation(headers: &mut HeaderMap) -> Result<(), Error> {
    match headers.remove(EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Err(Error::Expectation),
        _ => Ok(()),
    }
}

/// The authority of the target if it has one, else the only `Host`.
fn authority(parts: &mut Parts) -> Result<Authority, Malformed> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let from_target = parts.uri.authority().map(http::uri::Authority::as_str);
    if second.is_some() || (host.is_none() && (from_target.is_none() || parts.version < Version::HTTP_2)) {
        return Err(Malformed::Authority);
    }
    let parse = |text: &str| text.parse::<Authority>().map_err(|_| Malformed::Authority);
    let host = host.map(|h| h.to_str().map_err(|_| Malformed::Authority).and_then(parse)).transpose();
    let target = from_target.map(parse).transpose()?;
    // A client of HTTP/2 may send a Host of its own making; the pseudo-header replaces it. HTTP/1 must agree
    // with itself at least on what a host is.
    let host = if parts.version >= Version::HTTP_2 && target.is_some() { None } else { host? };
    parts.headers.remove(HOST);
    target.or(host).ok_or(Malformed::Authority)
}

fn normalise_target(parts: &mut Parts) -> Result<(), Malformed> {
    if parts.uri.scheme().is_some_and(|s| {
        !(s.as_str().eq_ignore_ascii_case("http") || s.as_str().eq_ignore_ascii_case("https"))
    }) {
        return Err(Malformed::Scheme);
    }
    let raw = parts.uri.path();
    let query = parts.uri.query();
    if query.is_some_and(|query| !query.bytes().all(|b| b.is_ascii_graphic())) {
        return Err(Malformed::Path);
    }
    let normal = path::normalize(raw).map_err(|_| Malformed::Path)?;
    let changed = match (&normal, query) {
        (std::borrow::Cow::Borrowed(_), _) if parts.uri.scheme().is_none() => return Ok(()),
        (path, None) => PathAndQuery::try_from(path.as_ref()),
        (path, Some(query)) => PathAndQuery::try_from(format!("{path}?{query}")),
    };
    parts.uri = Uri::from(changed.map_err(|_| Malformed::Path)?);
    Ok(())
}

/// Turns an extended CONNECT (RFC 8441) into what it stands for: a GET, or what a proxy of the mesh was asked in
/// HTTP/1, where every method may ask for another protocol (RFC 9110, section 7.8).
fn extended_connect(
    parts: &mut Parts,
    protocol: &Protocol,
    sender: Sender,
) -> Result<HeaderValue, Malformed> {
    let told = parts.headers.get(&names::METHOD).filter(|_| sender == Sender::Peer);
    parts.method = match told.map(|told| Method::from_bytes(told.as_bytes())) {
        None => Method::GET,
        Some(Ok(method)) if method != Method::CONNECT && method != Method::HEAD => method,
        Some(_) => return Err(Malformed::Method),
    };
    HeaderValue::from_str(protocol.as_str()).map_err(|_| Malformed::Framing)
}

/// The protocol of `Upgrade`, if the connection asks for it. HTTP/2 is never changed to in this way, and HEAD, whose
/// answer speaks of a body that does not come, changes nothing.
fn wanted_upgrade(parts: &Parts) -> Option<HeaderValue> {
    if parts.method == Method::HEAD {
        return None;
    }
    let protocol = parts.headers.get(UPGRADE)?;
    let asked = tokens(&parts.headers).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let name = protocol.to_str().ok()?;
    let single = !name.contains(',') && !name.to_ascii_lowercase().starts_with("h2");
    (asked && single && parts.version == Version::HTTP_11).then(|| protocol.clone())
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// Removes the headers of one hop (RFC 9110, section 7.6.1).
pub(crate) fn strip_connection(headers: &mut HeaderMap) -> Result<(), Malformed> {
    // Most heads have none of them, which one look at each name tells.
    if !headers.keys().any(is_of_one_hop) {
        return Ok(());
    }
    if headers.contains_key(CONNECTION) {
        let named: Vec<String> = tokens(headers).map(str::to_ascii_lowercase).collect();
        if named.iter().any(|name| names::is_reserved(name)) {
            return Err(Malformed::Connection);
        }
        for name in named {
            headers.remove(name.as_str());
        }
        headers.remove(CONNECTION);
    }
    for name in [
        &names::KEEP_ALIVE,
        &names::PROXY_CONNECTION,
        &names::HTTP2_SETTINGS,
        &http::header::PROXY_AUTHORIZATION,
        &TE,
        &TRANSFER_ENCODING,
        &UPGRADE,
    ] {
        headers.remove(name);
    }
    Ok(())
}

fn is_of_one_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Removes what this sender may not say, in one pass over the names.
fn strip_reserved(headers: &mut HeaderMap, sender: Sender) -> Result<(), Malformed> {
    let outside = sender == Sender::Outside;
    if outside && headers.keys().any(|name| name.as_str().as_bytes().contains(&b'_')) {
        return Err(Malformed::HeaderName);
    }
    let drop_forwarded = matches!(sender, Sender::Outside | Sender::Unverified);
    let refused = |name: &&HeaderName| {
        names::is_ours(name.as_str()) || (drop_forwarded && names::is_forwarded(name.as_str()))
    };
    let found: Vec<HeaderName> = headers.keys().filter(refused).cloned().collect();
    for name in found {
        headers.remove(name);
    }
    trim_values(headers);
    Ok(())
}

/// HTTP/2 carries values as they are; outer blanks have no meaning (RFC 9110, section 5.5).
fn trim_values(headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        let bytes = value.as_bytes();
        let blank = |b: Option<&u8>| b.is_some_and(|b| matches!(b, b' ' | b'\t'));
        let outer = blank(bytes.first()) || blank(bytes.last());
        if outer && let Ok(trimmed) = HeaderValue::from_bytes(bytes.trim_ascii()) {
            *value = trimmed;
        }
    }
}
