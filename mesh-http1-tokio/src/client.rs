//! The client's connection, shared by the loop that serves it and by the body of the request under way.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use mesh_http1::{Error, Framing, Progress, RequestReader};

use crate::heads::{Started, read_request};
use crate::outgoing::{Fault, Outgoing};
use crate::raw::{Prefixed, RawIo};
use crate::wire::{Broken, Wire};

/// Said while nobody asks: no further request is wanted on this connection. A client that has asked meanwhile passes
/// it over like every interim answer (RFC 9110, section 15.2) and gets its answer; one that is about to ask sees that
/// the connection is not quiet and takes another one.
const FAREWELL: &[u8] = b"HTTP/1.1 199 Going Away\r\n\r\n";
/// Leave to send the body (RFC 9110, section 10.1.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Bytes of a body that nobody wants which are passed over for the sake of the next request.
const MOST_SKIPPED: usize = 256 * 1024;

/// A client's connection.
#[derive(Debug)]
pub struct Client {
    wire: RefCell<Wire>,
    /// What of the leave to send the body is still to be written, once somebody wants the body.
    leave: Cell<&'static [u8]>,
}

impl Client {
    /// The connection on this wire.
    pub fn new(wire: Wire) -> Rc<Self> {
        Rc::new(Self { wire: RefCell::new(wire), leave: Cell::new(b"") })
    }

    /// A request begins whose body is framed so.
    pub fn begin(&self, framing: Framing, expects_continue: bool) {
        self.wire.borrow_mut().begin(framing);
        self.leave.set(if expects_continue && !self.is_end_stream() { CONTINUE } else { b"" });
    }

    /// What of the leave was begun and must be completed before anything else is written. Leave that was not
    /// given is withdrawn: the client was not told to send, and its body does not come.
    pub fn rest_of_leave(&self) -> &'static [u8] {
        let leave = self.leave.replace(b"");
        if leave.len() == CONTINUE.len() { b"" } else { leave }
    }

    /// Whether the client still waits for leave.
    pub fn waits_for_leave(&self) -> bool {
        self.leave.get().len() == CONTINUE.len()
    }

    /// The next head; `None` when the connection ended. `partial` is the reader of a head that is not complete.
    pub fn poll_head(
        &self,
        cx: &mut Context<'_>,
        partial: &mut Option<Box<RequestReader>>,
    ) -> Poll<Result<Option<Started>, Error>> {
        let mut wire = self.wire.borrow_mut();
        loop {
            if !wire.input().is_empty() {
                let mut fresh = RequestReader::new();
                let reader = partial.as_deref_mut().unwrap_or(&mut fresh);
                match reader.read(wire.input())? {
                    Progress::Done(length) => {
                        let bytes = wire.split(length);
                        return Poll::Ready(read_request(reader, &bytes).map(Some));
                    }
                    Progress::More if partial.is_none() => *partial = Some(Box::new(fresh)),
                    Progress::More => {}
                }
            }
            match ready!(wire.poll_more(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Ok(None)),
                Ok(_) => {}
            }
        }
    }

    /// The next frame of the body under way.
    pub fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut wire = self.wire.borrow_mut();
        // A client that did not wait needs no leave.
        if self.waits_for_leave() && !wire.input().is_empty() {
            self.leave.set(b"");
        }
        if !self.leave.get().is_empty() {
            ready!(self.poll_leave(&mut wire, cx))?;
        }
        wire.poll_frame(cx)
    }

    fn poll_leave(&self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut left = self.leave.get();
        let written = poll_write_all(wire, cx, &mut left);
        self.leave.set(left);
        written
    }

    /// Tells a client between two requests that no other one is wanted, before the connection is closed: HTTP/1 alone
    /// cannot say so, and a request on its way to a closing connection is lost. For clients of which it is known that
    /// they do not reuse a connection that is not quiet, as [`Connection`](crate::Connection) does not.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn say_farewell(&self) -> io::Result<()> {
        let mut left = FAREWELL;
        poll_fn(|cx| poll_write_all(&mut self.wire.borrow_mut(), cx, &mut left)).await
    }

    /// Whether all of the body was read.
    pub fn is_end_stream(&self) -> bool {
        self.wire.borrow().is_over()
    }

    /// Bytes of the body to go, if that is known.
    pub fn remaining(&self) -> Option<u64> {
        self.wire.borrow().remaining()
    }

    /// Sends an answer on. The wire is free while the body of the answer is asked.
    pub fn poll_send<B>(&self, answer: &mut Outgoing<B>, cx: &mut Context<'_>) -> Poll<Result<(), Fault>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        answer.poll(&self.wire, cx)
    }

    /// Whether the head that `reader` is at has begun: empty lines before it do not count.
    pub fn has_begun(&self, reader: Option<&RequestReader>) -> bool {
        reader.is_some_and(|reader| !reader.is_untouched(self.wire.borrow().input()))
    }

    /// Ends the direction to the client.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.borrow_mut().poll_shutdown(cx)
    }

    /// The raw connection; here it is over.
    pub fn take_raw(&self) -> Prefixed<Box<dyn RawIo>> {
        self.wire.borrow_mut().take_raw()
    }

    /// Ready when the client went away. Bytes of its next request are kept; behind them nothing is seen.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut wire = self.wire.borrow_mut();
        if !wire.is_over() || !wire.input().is_empty() {
            return Poll::Pending;
        }
        match ready!(wire.poll_more(cx)) {
            Ok(0) | Err(_) => Poll::Ready(()),
            Ok(_) => Poll::Pending,
        }
    }

    /// Passes over a body that nobody reads any more, as far as it is there. Whether it is over.
    pub fn skip(&self, cx: &mut Context<'_>) -> bool {
        if self.waits_for_leave() {
            return false;
        }
        let mut wire = self.wire.borrow_mut();
        let mut skipped = 0;
        while !wire.is_over() && skipped <= MOST_SKIPPED {
            match wire.poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => skipped += frame.data_ref().map_or(0, Bytes::len),
                Poll::Ready(None) => {}
                Poll::Ready(Some(Err(_))) | Poll::Pending => return false,
            }
        }
        wire.is_over()
    }
}

fn poll_write_all(wire: &mut Wire, cx: &mut Context<'_>, left: &mut &'static [u8]) -> Poll<io::Result<()>> {
    while !left.is_empty() {
        let count = ready!(wire.poll_write(cx, &[io::IoSlice::new(left)]))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        *left = &left[count..];
    }
    wire.poll_flush(cx)
}
