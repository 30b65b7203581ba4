//! The question as Envoy's `Check`, version 3. Only a status of zero allows.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, COOKIE, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use mesh_filters::grant::{Grant, Joining, Line, join};
use mesh_model::filter::HeaderKey;
use mesh_xds::proto::authorization::{
    Address, AppendAction, AttributeContext, CHECK_PATH, CheckRequest, CheckResponse, DeniedHttpResponse,
    HeaderValueOption, HttpRequest, OkHttpResponse, Peer, Request, SocketAddress, TlsSession,
};
use prost::Message;

use super::{Question, Said};
use crate::http::Error;
use crate::http::answer::refusal;
use crate::http::call::{Call, Head};
use crate::layers::exchange::Answer;

/// A flag for compression and four bytes of length (gRPC over HTTP/2, `Length-Prefixed-Message`).
const PREFIX: usize = 5;

/// The head of the call.
pub(super) fn head(authority: &str) -> Result<Head, Error> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let authority = authority.parse().map_err(|_| Error::Authorizer)?;
    let uri = Uri::from_static(CHECK_PATH);
    Ok(Head { method: Method::POST, authority, uri, headers, upgrade: None, trailers: true })
}

/// The framed message.
pub(super) fn message(
    question: &Question<'_>,
    now: SystemTime,
    (allowed, body): (&[HeaderKey], Bytes),
    call: &Call,
) -> Bytes {
    let facts = &question.downstream.facts;
    let http = http_request(question, (allowed, body), call);
    let source = Peer {
        address: Some(address(facts.source, None)),
        principal: facts.peer.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    let destination = Peer {
        address: Some(address(facts.destination.ip(), Some(facts.destination.port()))),
        principal: String::new(),
    };
    let check = CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(source),
            destination: Some(destination),
            request: Some(Request { time: Some(now.into()), http: Some(http) }),
            tls_session: facts.sni.as_ref().map(|sni| TlsSession { sni: sni.to_string() }),
        }),
    };
    let length = check.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_u8(0);
    // A head and a body are bounded, and so is the message.
    framed.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    framed.extend_from_slice(&check.encode_to_vec());
    framed.freeze()
}

fn address(ip: IpAddr, port: Option<u16>) -> Address {
    let address = ip.to_canonical().to_string();
    Address { socket_address: Some(SocketAddress { address, port_value: Some(port.map_or(0, u32::from)) }) }
}

fn http_request(question: &Question<'_>, (allowed, body): (&[HeaderKey], Bytes), call: &Call) -> HttpRequest {
    let head = &call.head;
    let path = head.uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
    let scheme = if question.downstream.tls { "https" } else { "http" };
    let size = match &call.body {
        None => Some(0),
        Some(received) => received.size_hint().exact(),
    };
    let (text, raw) = match std::str::from_utf8(&body) {
        Ok(text) => (text.to_owned(), Bytes::new()),
        Err(_) => (String::new(), body),
    };
    let mut headers = joined(&head.headers, allowed);
    if allowed.is_empty() {
        let pseudo = [
            (":authority", head.authority.to_string()),
            (":method", head.method.to_string()),
            (":path", path.clone()),
            (":scheme", scheme.to_owned()),
        ];
        headers.extend(pseudo.map(|(name, value)| (name.to_owned(), value)));
    }
    HttpRequest {
        id: question.id.clone(),
        method: head.method.to_string(),
        headers,
        path,
        host: head.authority.to_string(),
        scheme: scheme.to_owned(),
        size: size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1),
        protocol: if call.http2 { "HTTP/2" } else { "HTTP/1.1" }.to_owned(),
        body: text,
        raw_body: raw,
    }
}

/// Headers as texts. What is no text is made one: a message that cannot be read would never be decided about.
fn joined(headers: &HeaderMap, allowed: &[HeaderKey]) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        if !allowed.is_empty() && !allowed.iter().any(|key| key.0 == *name) {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        match all.get_mut(name.as_str()) {
            Some(line) => {
                line.push_str(if *name == COOKIE { "; " } else { "," });
                line.push_str(&value);
            }
            None => _ = all.insert(name.to_string(), value.into_owned()),
        }
    }
    all
}

/// Reads the answer.
pub(super) fn read(answer: Answer, grpc: bool) -> Result<Said, Error> {
    let status = answer.trailers.as_ref().unwrap_or(&answer.head.headers).get("grpc-status");
    let ok = status.is_some_and(|status| status.as_bytes() == b"0");
    if answer.head.status != StatusCode::OK || !ok {
        return Err(Error::Authorizer);
    }
    let response = unframed(&answer.body).and_then(|message| CheckResponse::decode(message).ok());
    let response = response.ok_or(Error::Authorizer)?;
    if response.error_response.is_some() {
        return Err(Error::Authorizer);
    }
    // The field is there, or nothing was decided.
    match response.status.ok_or(Error::Authorizer)?.code {
        0 => grant(response.ok_response.unwrap_or_default()).map(Said::Allowed),
        _ => denied(response.denied_response.unwrap_or_default(), grpc),
    }
}

/// The only message of a body.
fn unframed(body: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = body.split_first_chunk::<PREFIX>()?;
    let [compressed, length @ ..] = *prefix;
    (compressed == 0 && u32::from_be_bytes(length) as usize == message.len()).then_some(message)
}

fn denied(response: DeniedHttpResponse, grpc: bool) -> Result<Said, Error> {
    let code = response.status.map_or(0, |status| status.code);
    let status = u16::try_from(code).ok().filter(|code| *code >= 300);
    let status = status.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::FORBIDDEN);
    let mut headers = HeaderMap::new();
    join(lines(response.headers)?, &mut headers);
    Ok(Said::Refused(refusal(status, headers, Bytes::from(response.body), grpc)))
}

fn grant(response: OkHttpResponse) -> Result<Grant, Error> {
    let name = |name: String| HeaderName::try_from(name).map_err(|_| Error::Authorizer);
    let remove = response.headers_to_remove.into_iter().map(name).collect::<Result<Vec<_>, _>>()?;
    let set_parameters = response.query_parameters_to_set.into_iter();
    Ok(Grant {
        remove: remove.into_iter().filter(|name| *name != HOST).collect(),
        set: lines(response.headers)?,
        answer: lines(response.response_headers_to_add)?,
        drop_parameters: response.query_parameters_to_remove,
        set_parameters: set_parameters.map(|parameter| (parameter.key, parameter.value)).collect(),
    })
}

/// Headers that can be set. One that cannot, such as `:path`, makes the answer useless: leaving it out could mean
/// something else than the service wanted.
fn lines(options: Vec<HeaderValueOption>) -> Result<Vec<Line>, Error> {
    let line = |option: HeaderValueOption| {
        let joining = match (option.append, AppendAction::try_from(option.append_action)) {
            (Some(true), _) => Joining::Append,
            (None, Ok(AppendAction::AddIfAbsent)) => Joining::IfAbsent,
            (None, Ok(AppendAction::OverwriteIfExists)) => Joining::IfPresent,
            _ => Joining::Replace,
        };
        let header = option.header.ok_or(Error::Authorizer)?;
        let value = if header.value.is_empty() { header.raw_value } else { Bytes::from(header.value) };
        let name = HeaderName::try_from(header.key).ok().filter(|name| *name != HOST);
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Error::Authorizer)?;
        Ok((name.ok_or(Error::Authorizer)?, value, joining))
    };
    options.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_holds_exactly_one_uncompressed_message() {
        assert_eq!(unframed(&[0, 0, 0, 0, 2, 7, 8]), Some(&[7, 8][..]));
        for body in [&[][..], &[0, 0, 0, 0], &[1, 0, 0, 0, 1, 7], &[0, 0, 0, 0, 2, 7], &[0, 0, 0, 0, 0, 7]] {
            assert_eq!(unframed(body), None, "{body:?}");
        }
    }

    #[test]
    fn headers_are_texts_and_only_those_that_may_be_seen() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        headers.append("cookie", HeaderValue::from_static("a=1"));
        headers.append("cookie", HeaderValue::from_static("b=2"));
        headers.append("x-b", HeaderValue::from_bytes(b"\xff").unwrap());
        let all = joined(&headers, &[]);
        assert_eq!((&*all["x-a"], &*all["cookie"], &*all["x-b"]), ("1,2", "a=1; b=2", "\u{fffd}"));
        let some = joined(&headers, &[HeaderKey(HeaderName::from_static("x-a"))]);
        assert_eq!(some.keys().collect::<Vec<_>>(), ["x-a"]);
    }
}
