//! HTTP/1.1, with connections that are kept or not.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;

use http::header::{CONNECTION, HOST};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Loss;

/// Connections that are kept, so that each is idle most of the time, as those of many clients are.
const KEPT: usize = 32;

type Connection = SendRequest<Empty<Bytes>>;

pub(super) struct Sender {
    to: SocketAddr,
    host: String,
    keep: bool,
    idle: RefCell<VecDeque<Connection>>,
}

impl Sender {
    pub(super) fn new(to: SocketAddr, host: &str, keep: bool) -> Self {
        Self { to, host: host.to_owned(), keep, idle: RefCell::default() }
    }

    pub(super) async fn send(&self) -> Result<(), Loss> {
        let mut connection = match self.longest_idle() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let response = match connection.try_send_request(self.request()).await {
            Ok(response) => response,
            // Nothing of it was written: the connection had ended before.
            Err(error) if error.message().is_some() => {
                connection = self.open().await?;
                let sent = connection.send_request(self.request()).await;
                sent.map_err(|error| Loss::of("sending", &error))?
            }
            Err(error) => return Err(Loss::of("sending", error.error())),
        };
        whole(response).await?;
        if self.keep && !connection.is_closed() {
            self.idle.borrow_mut().push_back(connection);
        }
        Ok(())
    }

    /// Kept connections are taken in turn, and new ones are opened until there are enough.
    fn longest_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|connection| !connection.is_closed());
        (idle.len() >= KEPT).then(|| idle.pop_front()).flatten()
    }

    async fn open(&self) -> Result<Connection, Loss> {
        let stream = TcpStream::connect(self.to).await.map_err(|error| Loss::of("connecting", &error))?;
        let (connection, driver) =
            handshake(TokioIo::new(stream)).await.map_err(|error| Loss::of("connecting", &error))?;
        tokio::task::spawn_local(driver);
        Ok(connection)
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        let host = self.host.parse().unwrap_or(http::HeaderValue::from_static("invalid"));
        request.headers_mut().insert(HOST, host);
        if !self.keep {
            request.headers_mut().insert(CONNECTION, http::HeaderValue::from_static("close"));
        }
        request
    }
}

/// Reads an answer to its end.
pub(super) async fn whole(response: Response<Incoming>) -> Result<(), Loss> {
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| Loss::of("answer", &error))?;
    if !status.is_success() {
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        return Err(Loss::new(status.as_str(), text.trim()));
    }
    Ok(())
}
