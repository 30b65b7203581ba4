//! One HTTP/1 connection to an upstream and the exchange on it. It is used again only when nothing about the ends
//! of its messages is in doubt.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body, Frame};
use mesh_http1::{Framing, Progress, ResponseReader};
use tokio::task::AbortHandle;

use crate::heads::read_response;
use crate::outgoing::{Fault, Outgoing};
use crate::raw::{Prefixed, RawIo};
use crate::wire::{Broken, Wire};

/// Interim answers that are passed over before the one that counts.
const MOST_INTERIM: u8 = 16;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// The request's body broke off.
    Body,
    /// The connection ended or broke.
    Closed,
    /// The answer is not HTTP.
    Garbled,
}

/// A connection to a backend, for requests of this body.
#[derive(Debug)]
pub struct Connection<B> {
    wire: RefCell<Wire>,
    upload: RefCell<Option<Outgoing<B>>>,
    /// The reader of a head that is not complete.
    partial: RefCell<Option<Box<ResponseReader>>>,
    /// The peer would take another request.
    persists: Cell<bool>,
    /// Something went wrong on it.
    broken: Cell<bool>,
    /// What sends the rest of a request whose answer came early.
    pump: RefCell<Option<AbortHandle>>,
}

impl<B: Body<Data = Bytes> + Unpin + 'static> Connection<B> {
    /// A connection that nothing was sent on.
    pub fn new(io: Box<dyn RawIo>) -> Rc<Self> {
        Rc::new(Self {
            wire: RefCell::new(Wire::new(io, b"")),
            upload: RefCell::new(None),
            partial: RefCell::default(),
            persists: Cell::new(false),
            broken: Cell::new(false),
            pump: RefCell::default(),
        })
    }

    /// Whether the connection is open and its peer said nothing: neither its end nor what nobody asked for.
    pub fn is_quiet(&self) -> bool {
        self.wire.borrow_mut().poll_more(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Whether another request may follow the exchange that is over.
    pub fn is_reusable(&self) -> bool {
        let wire = self.wire.borrow();
        let over = wire.is_over() && wire.input().is_empty() && self.upload.borrow().is_none();
        over && self.persists.get() && !self.broken.get()
    }

    /// An exchange begins with this request.
    pub fn begin(&self, request: Outgoing<B>) {
        self.persists.set(false);
        *self.upload.borrow_mut() = Some(request);
    }

    /// Sends the request and reads the head of its answer, whichever is possible.
    pub fn poll_exchange(&self, cx: &mut Context<'_>, of_head: bool) -> Poll<Result<Response<()>, Problem>> {
        match self.poll_upload(cx) {
            Poll::Ready(Err(Fault::Body)) => return Poll::Ready(Err(Problem::Body)),
            Poll::Ready(Err(Fault::Io)) if self.upload.borrow().is_some() => {
                return Poll::Ready(Err(Problem::Closed));
            }
            // A peer that takes no more may have said why.
            Poll::Ready(Ok(()) | Err(Fault::Io)) | Poll::Pending => {}
        }
        self.poll_head(cx, of_head)
    }

    /// The request, when nothing of it was written.
    pub fn unsent(&self) -> Option<Outgoing<B>> {
        self.upload.take().filter(|upload| !upload.begun)
    }

    /// Sends on. A request that could not even be begun stays.
    fn poll_upload(&self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let mut upload = self.upload.borrow_mut();
        let Some(outgoing) = &mut *upload else { return Poll::Ready(Ok(())) };
        let sent = ready!(outgoing.poll(&self.wire, cx));
        self.broken.set(self.broken.get() || sent.is_err());
        if sent.is_ok() || outgoing.begun {
            *upload = None;
        }
        Poll::Ready(sent)
    }

    fn poll_head(&self, cx: &mut Context<'_>, of_head: bool) -> Poll<Result<Response<()>, Problem>> {
        let mut wire = self.wire.borrow_mut();
        let mut interim = 0;
        loop {
            if let Some(response) = self.head(&mut wire, of_head)? {
                if !response.status().is_informational() || changes(&response) {
                    return Poll::Ready(Ok(response));
                }
                interim += 1;
                if interim > MOST_INTERIM {
                    return Poll::Ready(Err(Problem::Garbled));
                }
                continue;
            }
            match ready!(wire.poll_more(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Problem::Closed)),
                Ok(_) => {}
            }
        }
    }

    /// The next head, if all of it was read.
    fn head(&self, wire: &mut Wire, of_head: bool) -> Result<Option<Response<()>>, Problem> {
        if wire.input().is_empty() {
            return Ok(None);
        }
        let mut partial = self.partial.borrow_mut();
        let mut fresh = ResponseReader::new();
        let reader = partial.as_deref_mut().unwrap_or(&mut fresh);
        match reader.read(wire.input()).map_err(|_| Problem::Garbled)? {
            Progress::Done(length) => {
                let bytes = wire.split(length);
                let response = read_response(reader, &bytes).map_err(|_| Problem::Garbled)?;
                let head = reader.head(&bytes);
                let framing = head.framing(of_head);
                wire.begin(framing);
                self.persists.set(head.persists && !changes(&response) && framing != Framing::UntilClose);
                *partial = None;
                Ok(Some(response))
            }
            Progress::More => {
                if partial.is_none() {
                    *partial = Some(Box::new(fresh));
                }
                Ok(None)
            }
        }
    }

    /// The head of the answer was read: a request that is not sent yet is sent while the answer goes on.
    pub fn answered(this: &Rc<Self>) {
        if this.upload.borrow().is_some() {
            let weak = Rc::downgrade(this);
            let pumped = poll_fn(move |cx| match weak.upgrade() {
                Some(connection) => connection.poll_upload(cx).map(drop),
                None => Poll::Ready(()),
            });
            *this.pump.borrow_mut() = Some(tokio::task::spawn_local(pumped).abort_handle());
        }
    }

    /// The next frame of the answer's body.
    pub fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = self.wire.borrow_mut().poll_frame(cx);
        if matches!(frame, Poll::Ready(Some(Err(_)))) {
            self.broken.set(true);
        }
        frame
    }

    /// Whether all of the answer's body was read.
    pub fn is_end_stream(&self) -> bool {
        self.wire.borrow().is_over()
    }

    /// Bytes of the answer's body to go, if that is known.
    pub fn remaining(&self) -> Option<u64> {
        self.wire.borrow().remaining()
    }

    /// The raw bytes; the connection itself is over.
    pub fn take_raw(&self) -> Prefixed<Box<dyn RawIo>> {
        self.broken.set(true);
        self.wire.borrow_mut().take_raw()
    }
}

/// Whether an answer agrees to another protocol.
fn changes(response: &Response<()>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}

impl<B> Drop for Connection<B> {
    fn drop(&mut self) {
        if let Some(pump) = self.pump.take() {
            pump.abort();
        }
        // As far as it goes without waiting: the peer of a TLS connection is told that this is the end.
        let _ = self.wire.borrow_mut().poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }
}
