//! HTTP/1 connections to upstreams: one exchange at a time, then back to the list.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{SendError, now};
use crate::http::Body;
use crate::http::raw::{Prefixed, RawIo};

/// Connections that wait for their next request, the most recently used last.
#[derive(Debug, Default)]
pub(super) struct Idle {
    waiting: RefCell<Vec<(Http1, Instant)>>,
    most: Cell<usize>,
}

impl Idle {
    pub(super) fn limit(&self, most: usize) {
        self.most.set(most);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// The most recently used connection that is ready. Those whose peer closed are forgotten.
    pub(super) fn take(&self, idle: Duration) -> Option<Http1> {
        let mut waiting = self.waiting.borrow_mut();
        let mut at = waiting.len();
        while at > 0 {
            at -= 1;
            let (held, since) = &mut waiting[at];
            match held.sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(())) if since.elapsed() < idle => return Some(waiting.remove(at).0),
                Poll::Pending if since.elapsed() < idle => {}
                _ => drop(waiting.remove(at)),
            }
        }
        None
    }

    pub(super) fn sweep(&self, idle: Duration, most: usize) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|(held, since)| since.elapsed() < idle && !held.sender.is_closed());
        let surplus = waiting.len().saturating_sub(most);
        waiting.drain(..surplus);
    }

    fn put(&self, held: Http1) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= self.most.get() && !waiting.is_empty() {
            waiting.remove(0);
        }
        waiting.push((held, now()));
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Http1 {
    sender: SendRequest<Body>,
    raw: oneshot::Receiver<Box<dyn RawIo>>,
    home: Rc<Idle>,
    reused: bool,
}

/// Starts HTTP/1 on a connection and drives it on this worker.
pub(super) async fn handshake<I>(io: I, home: &Rc<Idle>) -> hyper::Result<Http1>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    // The codec's own limit, 100 header lines, is kept: named, it would cost an allocation for each head.
    builder.max_header_size(crate::http::MAX_HEAD * 2);
    let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
    let (raw_sender, raw) = oneshot::channel::<Box<dyn RawIo>>();
    tokio::task::spawn_local(async move {
        let Ok(parts) = connection.without_shutdown().await else { return };
        let io: Box<dyn RawIo> = Box::new(Prefixed::new(parts.read_buf, parts.io.into_inner()));
        if let Err(mut unwanted) = raw_sender.send(io) {
            // Nobody changed the protocol: the connection is simply over.
            let _ = unwanted.shutdown().await;
        }
    });
    Ok(Http1 { sender, raw, home: Rc::clone(home), reused: false })
}

impl Http1 {
    pub(super) async fn send(
        mut self,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, Self), SendError> {
        match self.sender.try_send_request(request).await {
            Ok(response) => Ok((response, self)),
            Err(mut error) => {
                let unsent = error.take_message().map(Box::new);
                let error = error.into_error();
                Err(SendError {
                    unprocessed: unsent.is_some(),
                    unsent,
                    reused: self.reused,
                    garbled: error.is_parse(),
                })
            }
        }
    }

    pub(super) fn give_back(mut self) {
        if !self.sender.is_closed() {
            self.reused = true;
            let home = Rc::clone(&self.home);
            home.put(self);
        }
    }

    pub(super) async fn into_raw(self) -> Option<Box<dyn RawIo>> {
        self.raw.await.ok()
    }
}
