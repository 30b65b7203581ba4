//! What is known about a connection and a request when a decision is made.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};

use crate::authority::Authority;
use crate::identity::SpiffeId;

/// What is known about a connection at its destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFacts {
    /// The client's address, as the socket shows it.
    pub source: IpAddr,
    /// The address that the client meant.
    pub destination: SocketAddr,
    /// The client's identity, verified by TLS. `None` for plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<SpiffeId>,
    /// The server name of the ClientHello.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<Arc<str>>,
}

/// The head of a request, normalised.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// Host and port, canonical.
    pub authority: &'a Authority,
    /// The path, normalised by [`crate::path::normalize`].
    pub path: &'a str,
    /// The query without `?`.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
}
