//! Upstream HTTP connections of one worker, kept and shared. No lock: a pool belongs to one thread.
//!
//! HTTP/1 connections carry one request at a time and wait in a list between two; HTTP/2 connections are
//! shared up to their capacity. A connection is used again only after its last exchange ended cleanly. A peer of the
//! mesh has both: HTTP/1 costs less, and what is more than a number of requests at once is multiplexed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use mesh_http1_tokio::RawIo;
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use crate::hashed::HashMap;
use crate::http::body::Answered;
use crate::http::call::Head;
use crate::http::{Body, Incoming};
use crate::upstream::{Connect, ConnectError, Security, Speaks, Upstream};

mod h1;
mod h2;

use h1::Http1;
use h2::Http2;

/// How often a pool is swept.
pub(crate) const SWEEP: Duration = Duration::from_secs(5);

/// Limits of a pool.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Idle HTTP/1 connections kept per upstream.
    pub idle_per_upstream: usize,
    /// How long an HTTP/1 connection may wait for its next request.
    pub idle: Duration,
    /// HTTP/1 connections to one peer of the mesh. More requests at once than that share connections of HTTP/2.
    pub to_peer: usize,
    /// Requests that share one HTTP/2 connection.
    pub streams: u32,
    /// How long a connection may take to be made.
    pub connect: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle_per_upstream: 128,
            idle: Duration::from_secs(45),
            to_peer: 32,
            streams: 100,
            connect: Duration::from_secs(5),
        }
    }
}

/// The pool of a worker.
#[derive(Debug)]
pub struct Pool<C> {
    connect: C,
    limits: Limits,
    slots: RefCell<HashMap<Upstream, Rc<Slot>>>,
    opened: Counter,
}

#[derive(Debug, Default)]
struct Slot {
    http1: Rc<h1::Idle>,
    http2: h2::Shared,
    /// The peer knows the mesh's HTTP/2 alone.
    only_http2: Cell<bool>,
}

/// Why a request that got a connection has no answer.
#[derive(Debug)]
pub struct SendError {
    /// The body, when nothing of the request was sent.
    pub unsent: Option<Body>,
    /// Nothing of the request can have been processed, though it may have been sent.
    pub unprocessed: bool,
    /// The connection had served a request before, so that its peer may just have closed it.
    pub reused: bool,
    /// The answer is not HTTP.
    pub garbled: bool,
}

/// One exchange's hold on a connection.
#[derive(Debug)]
pub struct Lease(Held);

#[derive(Debug)]
enum Held {
    One(Http1),
    Shared(Http2),
}

/// A connection on its way back. Dropping it closes an HTTP/1 connection.
#[derive(Debug)]
pub struct GiveBack(Option<Held>);

impl<C: Connect> Pool<C> {
    /// An empty pool that connects through `connect` and counts what it opens.
    pub fn new(connect: C, limits: Limits, opened: Counter) -> Self {
        Self { connect, limits, slots: RefCell::default(), opened }
    }

    /// A connection to an upstream: one that waits, else a new one.
    ///
    /// # Errors
    /// Why no connection could be made; nothing was sent.
    pub async fn checkout(&self, upstream: &Upstream) -> Result<Lease, ConnectError> {
        let slot = self.slot(upstream);
        if upstream.speaks == Speaks::Http2 {
            return slot.http2.checkout(self, upstream).await.map(|held| Lease(Held::Shared(held)));
        }
        match slot.http1.take() {
            Some(waiting) => Ok(Lease(Held::One(waiting))),
            None => self.open_http1(upstream, &slot).await,
        }
    }

    /// A stream of HTTP/2 to a peer that would otherwise be spoken to in HTTP/1.
    async fn checkout_stream(&self, upstream: &Upstream) -> Result<Lease, ConnectError> {
        let shared = Upstream { speaks: Speaks::Http2, ..upstream.clone() };
        let held = self.slot(&shared).http2.checkout(self, &shared).await?;
        Ok(Lease(Held::Shared(held)))
    }

    /// A new HTTP/1 connection, whatever waits.
    ///
    /// # Errors
    /// As [`Pool::checkout`].
    pub async fn checkout_new(&self, upstream: &Upstream) -> Result<Lease, ConnectError> {
        if upstream.speaks == Speaks::Http2 {
            return self.checkout(upstream).await;
        }
        let slot = self.slot(upstream);
        self.open_http1(upstream, &slot).await
    }

    /// Opens a connection. Its future is large and rarely needed, so that it has a place of its own.
    async fn open_http1(&self, upstream: &Upstream, slot: &Slot) -> Result<Lease, ConnectError> {
        let most = match upstream.security {
            Security::Mesh(_) if slot.only_http2.get() => 0,
            Security::Mesh(_) => self.limits.to_peer,
            Security::Application | Security::Plain | Security::Tls(..) => usize::MAX,
        };
        let opened = Box::pin(async {
            let Some(place) = slot.http1.place(most) else { return self.checkout_stream(upstream).await };
            match self.open(upstream).await {
                Ok(io) => Ok(Lease(Held::One(h1::begin(Box::new(io), place, &slot.http1)))),
                Err(ConnectError::OnlyHttp2(_)) => {
                    slot.only_http2.set(true);
                    self.checkout_stream(upstream).await
                }
                Err(problem) => Err(problem),
            }
        });
        opened.await
    }

    /// To be called every five seconds: closes what has waited too long and forgets upstreams without connections.
    pub fn sweep(&self) {
        let idle = self.limits.idle;
        let sweeps = (idle.as_secs() / SWEEP.as_secs()).max(1);
        self.slots.borrow_mut().retain(|_, slot| {
            slot.http1.sweep(sweeps, self.limits.idle_per_upstream);
            slot.http2.sweep(idle);
            Rc::strong_count(slot) > 1 || !slot.http1.is_empty() || !slot.http2.is_empty()
        });
    }

    fn slot(&self, upstream: &Upstream) -> Rc<Slot> {
        if let Some(slot) = self.slots.borrow().get(upstream) {
            return Rc::clone(slot);
        }
        let slot = Rc::new(Slot::default());
        slot.http1.limit(self.limits.idle_per_upstream);
        self.slots.borrow_mut().insert(upstream.clone(), Rc::clone(&slot));
        slot
    }

    async fn open(&self, upstream: &Upstream) -> Result<C::Io, ConnectError> {
        self.opened.inc();
        let opened = tokio::time::timeout(self.limits.connect, self.connect.connect(upstream)).await;
        opened.unwrap_or(Err(ConnectError::TimedOut(upstream.address)))
    }
}

fn broken(upstream: &Upstream, problem: hyper::Error) -> ConnectError {
    ConnectError::Io { address: upstream.address, problem: std::io::Error::other(problem) }
}

impl Lease {
    /// Sends a request to its upstream, marked as HTTP/1 of the application if it is, and waits for the head of
    /// its answer. Dropping the future ends the exchange.
    ///
    /// # Errors
    /// What happened, and whether the request may be sent again.
    pub(crate) async fn send(
        self,
        head: &Head,
        (upstream, http1): (&Upstream, bool),
        body: Body,
    ) -> Result<Box<Answered>, SendError> {
        match self.0 {
            Held::One(held) => {
                let (response, held) = held.send(head, body).await?;
                Ok(Answered::new(response, GiveBack(Some(Held::One(held)))))
            }
            Held::Shared(held) => {
                let request = head.clone().http2(upstream, http1, body);
                // Large, and not of the connections that are for one request at a time.
                let (response, held) = Box::pin(held.send(request)).await?;
                let response = response.map(Incoming::from);
                Ok(Answered::new(response, GiveBack(Some(Held::Shared(held)))))
            }
        }
    }
}

impl GiveBack {
    /// Puts the connection back.
    pub fn give(mut self) {
        if let Some(Held::One(held)) = self.0.take() {
            held.give_back();
        }
    }

    /// After 101 the raw bytes of an HTTP/1 connection; `None` for HTTP/2, where the answer carries them.
    pub(crate) fn into_raw(mut self) -> Option<Box<dyn RawIo>> {
        match self.0.take() {
            Some(Held::One(held)) => Some(held.into_raw()),
            _ => None,
        }
    }
}

/// When something was last used.
fn now() -> Instant {
    Instant::now()
}
