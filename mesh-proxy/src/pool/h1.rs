//! HTTP/1 connections to upstreams: one exchange at a time, then back to the list. How many there are is counted, so
//! that more requests at once than that can go another way.

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
    /// One more is held by each connection that is open or being opened, waiting or not.
    open: Rc<()>,
    /// Sweeps so far, by which waiting is measured: a clock for each request would cost more than it tells.
    sweeps: Cell<u64>,
}

/// A connection, and the sweep since which it waits.
type Waiting = (Http, u64);

/// A connection and its place in the count.
#[derive(Debug)]
struct Http {
    connection: Rc<Connection<Body>>,
    _place: Place,
}

/// A place in the count of a list's connections, for as long as it is held.
pub(super) type Place = Rc<()>;

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
        while let Some((http, _)) = waiting.pop() {
            if http.connection.is_quiet() {
                return Some(Http1 { http, home: Rc::clone(self), reused: true });
            }
        }
        None
    }

    /// A place for another connection, if there are less than so many.
    pub(super) fn place(&self, most: usize) -> Option<Place> {
        (Rc::strong_count(&self.open) <= most).then(|| Rc::clone(&self.open))
    }

    /// Closes what waits since so many sweeps, and what is more than `most`.
    pub(super) fn sweep(&self, sweeps: u64, most: usize) {
        let mut waiting = self.waiting.borrow_mut();
        let turn = self.sweeps.get() + 1;
        self.sweeps.set(turn);
        waiting.retain(|(http, since)| turn - since < sweeps && http.connection.is_quiet());
        let surplus = waiting.len().saturating_sub(most);
        waiting.drain(..surplus);
    }

    fn put(&self, http: Http) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= self.most.get() && !waiting.is_empty() {
            waiting.remove(0);
        }
        waiting.push((http, self.sweeps.get()));
    }
}

/// One connection. Dropping it closes it, whatever is under way.
#[derive(Debug)]
pub(super) struct Http1 {
    http: Http,
    home: Rc<Idle>,
    reused: bool,
}

/// Begins HTTP/1 on a connection.
pub(super) fn begin(io: Box<dyn RawIo>, place: Place, home: &Rc<Idle>) -> Http1 {
    let http = Http { connection: Connection::new(io), _place: place };
    Http1 { http, home: Rc::clone(home), reused: false }
}

impl Http1 {
    pub(super) async fn send(self, head: &Head, body: Body) -> Result<(Response<Incoming>, Self), SendError> {
        let of_head = head.method == Method::HEAD;
        let connection = &self.http.connection;
        connection.begin(Outgoing::new(body, |out, body| head.write_http1(out, body)));
        match poll_fn(|cx| connection.poll_exchange(cx, of_head)).await {
            Ok(head) => {
                Connection::answered(connection);
                let body = match connection.is_end_stream() {
                    true => Incoming::default(),
                    false => Incoming::backend(Rc::clone(connection)),
                };
                Ok((head.map(|()| body), self))
            }
            Err(problem) => {
                let upload = connection.unsent();
                let unprocessed = upload.is_some();
                let unsent = upload.and_then(Outgoing::into_body);
                let garbled = problem == Problem::Garbled;
                Err(SendError { unsent, unprocessed, reused: self.reused, garbled })
            }
        }
    }

    pub(super) fn give_back(self) {
        if self.http.connection.is_reusable() {
            self.home.put(self.http);
        }
    }

    /// The raw bytes after a change of protocol, which is no connection of the list any more.
    pub(super) fn into_raw(self) -> Box<dyn RawIo> {
        Box::new(self.http.connection.take_raw())
    }
}
