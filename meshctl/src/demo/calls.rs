//! Calls of the sample service to its downstreams: plain HTTP/1.1, connections kept between calls. No proxy
//! settings: that the calls are secured is the mesh's doing.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::config;

/// Request headers that are passed on: W3C trace context, and what the examples route by.
const PROPAGATED: &[&str] = &["baggage", "traceparent", "tracestate", "x-cohort", "x-request-id"];

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of an answer is shown.
const SHOWN: usize = 256 * 1024;

/// How many idle connections are kept for one downstream.
const KEPT: usize = 64;

/// A downstream.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    name: String,
    url: Uri,
    host: String,
    port: u16,
}

impl FromStr for Call {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, url) = text.split_once('=').ok_or("expected NAME=http://HOST[:PORT]/PATH")?;
        let url: Uri = url.parse().map_err(|error| format!("{url:?}: {error}"))?;
        if url.scheme_str() != Some("http") {
            return Err(format!("{url}: only http:// is called"));
        }
        let host = url.host().ok_or_else(|| format!("{url}: names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_u16().unwrap_or(80);
        Ok(Self { name: name.to_owned(), url, host, port })
    }
}

/// What came of a call.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    name: String,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum Error {
    /// No connection.
    #[error("{host}:{port}: {source}")]
    Connect { host: String, port: u16, source: std::io::Error },
    /// The exchange broke off.
    #[error("{0}")]
    Exchange(#[from] hyper::Error),
    /// The answer could not be read to its end, or is too long.
    #[error("the answer: {0}")]
    Read(Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("no answer within {PATIENCE:?}")]
    Timeout,
}

type Sender = SendRequest<Empty<Bytes>>;

/// All downstreams with their idle connections.
pub(super) struct Client {
    downstreams: Vec<(Call, Mutex<Vec<Sender>>)>,
    propagated: Vec<HeaderName>,
}

impl Client {
    pub(super) fn new(calls: Vec<Call>, more: Vec<HeaderName>) -> Self {
        let propagated = PROPAGATED.iter().map(|name| HeaderName::from_static(name)).chain(more).collect();
        let downstreams = calls.into_iter().map(|call| (call, Mutex::default())).collect();
        Self { downstreams, propagated }
    }

    /// Calls all downstreams at once and waits for all; answers in the order of the arguments.
    pub(super) async fn call_all(&self, received: &HeaderMap) -> Vec<Answer> {
        let calls = self.downstreams.iter().map(|(call, idle)| async move {
            let exchange = tokio::time::timeout(PATIENCE, self.exchange(call, idle, received));
            let outcome = exchange.await.unwrap_or(Err(Error::Timeout));
            let (status, answer, error) = match outcome {
                Ok((status, answer)) => (Some(status), Some(answer), None),
                Err(error) => (None, None, Some(error.to_string())),
            };
            Answer { name: call.name.clone(), url: call.url.to_string(), status, answer, error }
        });
        join_all(calls).await
    }

    async fn exchange(
        &self,
        call: &Call,
        idle: &Mutex<Vec<Sender>>,
        received: &HeaderMap,
    ) -> Result<(u16, Value), Error> {
        let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let kept = kept.filter(|sender| !sender.is_closed());
        let (mut sender, fresh) = match kept {
            Some(sender) => (sender, false),
            None => (connect(call).await?, true),
        };
        let mut response = sender.send_request(self.request(call, received)).await;
        if response.is_err() && !fresh {
            // The downstream closed the kept connection at the same time; GET may be sent again.
            sender = connect(call).await?;
            response = sender.send_request(self.request(call, received)).await;
        }
        let response = response?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), SHOWN).collect().await.map_err(Error::Read)?.to_bytes();
        let json = serde_json::from_slice(&body);
        let answer = json.unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        let mut kept = idle.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(sender);
        }
        Ok((status, answer))
    }

    fn request(&self, call: &Call, received: &HeaderMap) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        let path = call.url.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = Uri::from_str(path).unwrap_or_default();
        let headers = request.headers_mut();
        let authority = call.url.authority().map_or("", |authority| authority.as_str());
        if let Ok(host) = HeaderValue::from_str(authority) {
            headers.insert(header::HOST, host);
        }
        for name in &self.propagated {
            for value in received.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        request
    }
}

async fn connect(call: &Call) -> Result<Sender, Error> {
    let named = (call.host.clone(), call.port);
    let (host, port) = config::service_address(&call.host, call.port).unwrap_or(named);
    let connected = TcpStream::connect((host.as_str(), port)).await;
    let stream = connected.map_err(|source| Error::Connect { host, port, source })?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Its error is told to the request that it concerns.
    tokio::spawn(connection);
    Ok(sender)
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.downstreams.iter().map(|(call, _)| &call.name)).finish()
    }
}
