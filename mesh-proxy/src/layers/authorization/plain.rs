//! The question as a plain HTTP request: the client's method and path, few of its headers. 200 allows.

use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST, SERVER};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use mesh_filters::grant::{Grant, Joining};
use mesh_model::filter::HeaderKey;

use super::Said;
use crate::http::Error;
use crate::http::answer::refusal;
use crate::http::call::Head;
use crate::http::head::strip_connection;
use crate::http::names;
use crate::layers::exchange::Answer;

/// The head of the question. The length is that of the body which is really sent.
pub(super) fn head(from: &Head, prefix: &str, allowed: &[HeaderKey], length: usize) -> Result<Head, Error> {
    let mut headers = HeaderMap::new();
    for name in allowed.iter().map(|key| &key.0).chain([&AUTHORIZATION]) {
        if headers.contains_key(name) {
            continue;
        }
        for value in from.headers.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    let target = from.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let uri = match prefix {
        "" => from.uri.clone(),
        prefix => Uri::try_from(format!("{prefix}{target}")).map_err(|_| Error::Authorizer)?,
    };
    let (method, authority) = (from.method.clone(), from.authority.clone());
    Ok(Head { method, authority, uri, headers, upgrade: None, trailers: false })
}

/// Reads the answer. An error of the service itself is no decision.
pub(super) fn read(answer: Answer, taken: &[HeaderKey], grpc: bool) -> Result<Said, Error> {
    let Answer { mut head, body, .. } = answer;
    strip_connection(&mut head.headers)?;
    head.headers.remove(CONTENT_LENGTH);
    let ours: Vec<HeaderName> =
        head.headers.keys().filter(|name| names::is_ours(name.as_str())).cloned().collect();
    for name in ours {
        head.headers.remove(name);
    }
    match head.status {
        StatusCode::OK => Ok(Said::Allowed(grant(&head.headers, taken))),
        status if status.is_server_error() || status.is_informational() => Err(Error::Authorizer),
        // Without a decision there is no success to tell.
        status if status.is_success() => {
            Ok(Said::Refused(refusal(StatusCode::FORBIDDEN, HeaderMap::new(), body, grpc)))
        }
        status => Ok(Said::Refused(refusal(status, head.headers, body, grpc))),
    }
}

/// Headers that are named are the service's alone: what the client sent under these names is gone.
fn grant(headers: &HeaderMap, taken: &[HeaderKey]) -> Grant {
    let wanted = |name: &HeaderName| match taken.is_empty() {
        true => !is_of_answer(name),
        false => *name != HOST && taken.iter().any(|key| key.0 == *name),
    };
    let lines = headers.iter().filter(|(name, _)| wanted(name));
    let set = lines.map(|(name, value)| (name.clone(), value.clone(), Joining::Replace)).collect();
    let remove = taken.iter().map(|key| key.0.clone()).filter(|name| *name != HOST).collect();
    Grant { remove, set, ..Grant::default() }
}

/// Whether a header is about the service's answer, and would say something wrong about the request.
fn is_of_answer(name: &HeaderName) -> bool {
    const ABOUT_CONTENT: &str = "content-";
    [HOST, DATE, SERVER, CONTENT_TYPE].contains(name) || name.as_str().starts_with(ABOUT_CONTENT)
}
