//! HTTP/1 connections to upstreams: one exchange at a time, then back to the list.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;

use http::{Method, Response};
use mesh_http1_tokio::{Connection, Outgoing, Problem, RawIo};

use super::SendError;
use crate::http::call::Head;
use crate::http::{Body, Incoming};

/// Connections that wait for their next request, the most recently used last.
#[derive(Debug, Default)]
pub(super) struct Idle {
    waiting: RefCell<Vec<Waiting>>,
    most: Cell<usize>,
    /// Sweeps so far, by which waiting is measured: a clock for each request would cost more than it tells.
    sweeps: Cell<u64>,
}

/// A connection, and the sweep since which it waits.
type Waiting = (Rc<Connection<Body>>, u64);

impl Idle {
    pub(super) fn limit(&self, most: usize) {
        self.most.set(most);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// The most recently used connection that is still open. Those whose peer closed are forgotten.
    pub(super) fn take(self: &Rc<Self>) -> Option<Http1> {
        let mut waiting = self.waiting.borrow_mut();
        while let Some((connection, _)) = waiting.pop() {
            if connection.is_quiet() {
                return Some(Http1 { connection, home: Rc::clone(self), reused: true });
            }
        }
        None
    }

    /// Closes what waits since so many sweeps, and what is more than `most`.
    pub(super) fn sweep(&self, sweeps: u64, most: usize) {
        let mut waiting = self.waiting.borrow_mut();
        let turn = self.sweeps.get() + 1;
        self.sweeps.set(turn);
        waiting.retain(|(connection, since)| turn - since < sweeps && connection.is_quiet());
        let surplus = waiting.len().saturating_sub(most);
        waiting.drain(..surplus);
    }

    fn put(&self, connection: Rc<Connection<Body>>) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= self.most.get() && !waiting.is_empty() {
            waiting.remove(0);
        }
        waiting.push((connection, self.sweeps.get()));
    }
}

/// One connection. Dropping it closes it, whatever is under way.
#[derive(Debug)]
pub(super) struct Http1 {
    connection: Rc<Connection<Body>>,
    home: Rc<Idle>,
    reused: bool,
}

/// Begins HTTP/1 on a connection.
pub(super) fn begin(io: Box<dyn RawIo>, home: &Rc<Idle>) -> Http1 {
    Http1 { connection: Connection::new(io), home: Rc::clone(home), reused: false }
}

impl Http1 {
    pub(super) async fn send(self, head: &Head, body: Body) -> Result<(Response<Incoming>, Self), SendError> {
        let of_head = head.method == Method::HEAD;
        self.connection.begin(Outgoing::new(body, |out, body| head.write_http1(out, body)));
        match poll_fn(|cx| self.connection.poll_exchange(cx, of_head)).await {
            Ok(head) => {
                Connection::answered(&self.connection);
                let body = match self.connection.is_end_stream() {
                    true => Incoming::default(),
                    false => Incoming::backend(Rc::clone(&self.connection)),
                };
                Ok((head.map(|()| body), self))
            }
            Err(problem) => {
                let upload = self.connection.unsent();
                let unprocessed = upload.is_some();
                let unsent = upload.and_then(Outgoing::into_body);
                let garbled = problem == Problem::Garbled;
                Err(SendError { unsent, unprocessed, reused: self.reused, garbled })
            }
        }
    }

    pub(super) fn give_back(self) {
        if self.connection.is_reusable() {
            self.home.put(self.connection);
        }
    }

    /// The raw bytes after a change of protocol.
    pub(super) fn into_raw(self) -> Box<dyn RawIo> {
        Box::new(self.connection.take_raw())
    }
}
