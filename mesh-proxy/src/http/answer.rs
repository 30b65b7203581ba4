//! Answers that the proxy makes itself: errors, redirects, preflights. Plain text for HTTP, a status in the
//! headers for gRPC.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};

use super::body::Body;
use super::error::Error;
use super::names;
use crate::telemetry::decisions::DecisionId;

/// The answer for an error.
pub(crate) fn error(error: &Error, decision: Option<DecisionId>, grpc: bool) -> Response<Body> {
    let meaning = error.meaning();
    let text = format!("{error}");
    let mut response = if grpc { grpc_status(meaning.status, &text) } else { plain(meaning.status, &text) };
    if matches!(error, Error::Method) {
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    if let Some(id) = decision {
        mark(&mut response, id);
    }
    response
}

/// Names the decision in an answer.
pub(crate) fn mark<B>(response: &mut Response<B>, decision: DecisionId) {
    if let Ok(id) = HeaderValue::try_from(decision.to_string()) {
        response.headers_mut().insert(&names::DECISION, id);
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::full(format!("{text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A gRPC error without content, "trailers-only" (gRPC over HTTP/2, `Responses`).
fn grpc_status(status: StatusCode, text: &str) -> Response<Body> {
    let code = match status.as_u16() {
        400 | 431 => 13,
        401 => 16,
        403 => 7,
        404 | 405 => 12,
        408 | 504 => 4,
        413 | 429 => 8,
        502 | 503 => 14,
        _ => 2,
    };
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(code));
    if let Ok(message) = HeaderValue::from_str(text) {
        headers.insert("grpc-message", message);
    }
    response
}

/// What an authorization service tells a client that it refuses. A gRPC client gets the status in its own way.
pub(crate) fn refusal(
    status: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
    grpc: bool,
) -> Response<Body> {
    if grpc {
        let text = std::str::from_utf8(&body).map(str::trim).ok().filter(|text| !text.is_empty());
        let mut response = grpc_status(status, text.unwrap_or("access denied"));
        for (name, value) in headers.iter().filter(|(name, _)| **name != CONTENT_TYPE) {
            response.headers_mut().append(name, value.clone());
        }
        return response;
    }
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A redirect.
pub(crate) fn redirect(status: u16, location: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND);
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// An answer of headers only.
pub(crate) fn no_content(headers: http::HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = headers;
    response
}
