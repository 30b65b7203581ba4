//! A request's head between the strict reading and the service behind: what was decided about is what goes on.

use http::header::{CONNECTION, HOST, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Version};
use hyper::ext::Protocol;
use mesh_model::{Authority, Reason, RequestHead};

use mesh_proxy::http::Error;
use mesh_proxy::http::head::{Accepted, Sender, accept};

/// A head that was read strictly.
pub(crate) struct Head<'p> {
    parts: &'p mut Parts,
    accepted: Accepted,
    extended: Option<Protocol>,
}

impl<'p> Head<'p> {
    /// Reads a head as a proxy does, and normalises it in place.
    pub(crate) fn read(parts: &'p mut Parts, sender: Sender) -> Result<Self, Error> {
        let extended = parts.extensions.get::<Protocol>().cloned();
        let accepted = accept(parts, sender)?;
        Ok(Self { parts, accepted, extended })
    }

    /// The head as the engine takes it.
    pub(crate) fn view(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.parts.method,
            authority: &self.accepted.authority,
            path: self.parts.uri.path(),
            query: self.parts.uri.query(),
            headers: &self.parts.headers,
        }
    }

    /// Puts back what a service expects to find in a request: its host, and the wish for another protocol.
    pub(crate) fn finish(self) -> Result<Authority, Error> {
        let Self { parts, accepted, extended } = self;
        let host = HeaderValue::from_str(&accepted.authority.to_string());
        parts.headers.insert(HOST, host.map_err(|_| mesh_proxy::http::Malformed::Authority)?);
        match (extended, accepted.upgrade) {
            (Some(protocol), _) => {
                parts.method = Method::CONNECT;
                parts.extensions.insert(protocol);
            }
            (None, Some(protocol)) if parts.version == Version::HTTP_11 => {
                parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                parts.headers.insert(UPGRADE, protocol);
            }
            (None, _) => {}
        }
        Ok(accepted.authority)
    }
}

/// The answer to a request that does not pass. The reason is among its extensions.
pub(crate) fn refusal<B: Default>(status: StatusCode, reason: Reason) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = status;
    response.extensions_mut().insert(reason);
    response
}

/// The answer to a request that cannot be read.
pub(crate) fn unreadable<B: Default>(error: &Error) -> Response<B> {
    let meaning = error.meaning();
    refusal(meaning.status, meaning.reason)
}
