//! HTTP/2 connections to upstreams: shared up to a number of streams, opened once for all who wait.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Pool, SendError, broken, now};
use crate::http::Body;
use crate::http::local::Local;
use crate::upstream::{Connect, ConnectError, Upstream};

/// Window of one stream: what a fast network needs, not more than a slow reader may cost.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Window of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// A silent peer is asked after this long, and is gone when it does not answer for as long again.
const PING: Duration = Duration::from_secs(10);

/// The connections to one upstream.
#[derive(Debug)]
pub(super) struct Shared {
    conns: RefCell<Vec<Conn>>,
    /// Held while a connection is made, so that a burst opens one, not many.
    opening: Semaphore,
}

impl Default for Shared {
    fn default() -> Self {
        Self { conns: RefCell::default(), opening: Semaphore::new(1) }
    }
}

#[derive(Debug, Clone)]
struct Conn {
    sender: SendRequest<Body>,
    streams: Rc<Cell<u32>>,
    used: Rc<Cell<Instant>>,
}

/// One stream's hold on a connection.
#[derive(Debug)]
pub(super) struct Http2 {
    conn: Conn,
    reused: bool,
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.conn.streams.set(self.conn.streams.get().saturating_sub(1));
        self.conn.used.set(now());
    }
}

impl Shared {
    pub(super) async fn checkout<C: Connect>(
        &self,
        pool: &Pool<C>,
        upstream: &Upstream,
    ) -> Result<Http2, ConnectError> {
        if let Some(held) = self.free(pool.limits.streams) {
            return Ok(held);
        }
        Box::pin(self.open(pool, upstream)).await
    }

    /// Opens a connection, once for all who wait. Its future is large and rarely needed.
    async fn open<C: Connect>(&self, pool: &Pool<C>, upstream: &Upstream) -> Result<Http2, ConnectError> {
        let _turn = self.opening.acquire().await.ok();
        if let Some(held) = self.free(pool.limits.streams) {
            return Ok(held);
        }
        let io = pool.open(upstream).await?;
        let conn = handshake(io).await.map_err(|problem| broken(upstream, problem))?;
        self.conns.borrow_mut().push(conn.clone());
        Ok(conn.hold(false))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.conns.borrow().is_empty()
    }

    /// Forgets closed connections and those without streams for too long; the peer gets GOAWAY.
    pub(super) fn sweep(&self, idle: Duration) {
        self.conns.borrow_mut().retain(|conn| {
            let resting = conn.streams.get() == 0 && conn.used.get().elapsed() >= idle;
            !conn.sender.is_closed() && !resting
        });
    }

    fn free(&self, streams: u32) -> Option<Http2> {
        let mut open = self.conns.borrow_mut();
        open.retain(|conn| !conn.sender.is_closed());
        open.iter().find(|conn| conn.streams.get() < streams).map(|conn| conn.clone().hold(true))
    }
}

impl Conn {
    fn hold(self, reused: bool) -> Http2 {
        self.streams.set(self.streams.get() + 1);
        Http2 { conn: self, reused }
    }
}

async fn handshake<I>(io: I) -> hyper::Result<Conn>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut builder = http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(2 * crate::http::MAX_HEAD as u32)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
    tokio::task::spawn_local(async move {
        // The error reaches every stream of the connection; here it has nobody to tell.
        let _ = connection.await;
    });
    Ok(Conn { sender, streams: Rc::default(), used: Rc::new(Cell::new(now())) })
}

impl Http2 {
    pub(super) async fn send(
        mut self,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, Self), SendError> {
        match self.conn.sender.try_send_request(request).await {
            Ok(response) => Ok((response, self)),
            Err(mut error) => {
                let unsent = error.take_message().map(Request::into_body);
                let error = error.into_error();
                let unprocessed = unsent.is_some() || was_refused(&error);
                Err(SendError { unsent, unprocessed, reused: self.reused, garbled: false })
            }
        }
    }
}

/// REFUSED_STREAM and a graceful GOAWAY promise that nothing was processed (RFC 9113, section 8.7).
fn was_refused(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|e| e.downcast_ref::<::h2::Error>());
    source.is_some_and(|e| {
        e.reason() == Some(::h2::Reason::REFUSED_STREAM)
            || (e.is_go_away() && e.is_remote() && e.reason() == Some(::h2::Reason::NO_ERROR))
    })
}
