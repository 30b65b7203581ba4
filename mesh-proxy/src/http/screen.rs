//! The client's side of an HTTP/1 connection, screened on its way to the codec: ambiguous framing is made
//! into something that the codec refuses, heads have a deadline, and bytes behind a wish for another protocol
//! wait until the wish is answered.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::raw::Prefixed;

mod scanner;

use scanner::{Scanner, Seen};

/// Bytes that may wait behind a wish for another protocol.
const MOST_HELD: usize = 16 * 1024;

/// What stands in a head or a chunk's line in place of an ambiguous line end: nobody accepts it there.
const REFUSED: u8 = 0;

/// Whether bytes behind a wish for another protocol wait. Shared with those who answer the wish.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    holding: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Hold {
    /// The wish was answered, and not granted: what follows is HTTP.
    pub(crate) fn release(&self) {
        let waker = if self.holding.replace(false) { self.waker.borrow_mut().take() } else { None };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A screened connection.
#[derive(Debug)]
pub(crate) struct Screen<I> {
    io: Prefixed<I>,
    scanner: Scanner,
    hold: Rc<Hold>,
    held: BytesMut,
    /// A fault was passed on; nothing after it is read as HTTP.
    refused: bool,
    head: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<I> Screen<I> {
    /// Screens a connection whose heads must be complete within `head` of their first byte.
    pub(crate) fn new(io: Prefixed<I>, head: Duration) -> Self {
        Self {
            io,
            scanner: Scanner::new(),
            hold: Rc::default(),
            held: BytesMut::new(),
            refused: false,
            head,
            deadline: None,
        }
    }

    /// The way to tell that a wish for another protocol was answered.
    pub(crate) fn hold(&self) -> Rc<Hold> {
        Rc::clone(&self.hold)
    }

    /// Whether a fault ended the connection.
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    /// The raw connection. `ahead` is what the codec had read; what waited here follows it.
    pub(crate) fn into_raw(self, ahead: &Bytes) -> Prefixed<Prefixed<I>> {
        let mut all = BytesMut::from(&ahead[..]);
        all.extend_from_slice(&self.held);
        Prefixed::new(all.freeze(), self.io)
    }

    /// Scans what was just put into `out` behind `before`, and shortens it where something must not pass.
    fn screen(&mut self, out: &mut ReadBuf<'_>, before: usize) {
        match self.scanner.scan(&out.filled()[before..]) {
            Seen::All => {}
            Seen::Fault(at) => {
                out.filled_mut()[before + at] = REFUSED;
                out.set_filled(before + at + 1);
                self.refused = true;
            }
            Seen::Upgrade(end) => {
                let mut behind = BytesMut::from(&out.filled()[before + end..]);
                behind.extend_from_slice(&self.held);
                self.held = behind;
                out.set_filled(before + end);
                self.hold.holding.set(true);
            }
        }
    }
}

impl<I: AsyncRead + Unpin> Screen<I> {
    /// While a wish is open: bytes are put aside, only the end of the connection is passed on.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        *self.hold.waker.borrow_mut() = Some(cx.waker().clone());
        while self.held.len() < MOST_HELD {
            let mut space = [0; 2048];
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.held.extend_from_slice(read.filled());
        }
        Poll::Pending
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let head = self.head;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(head)));
        deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Screen<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.refused {
            return Poll::Ready(Ok(()));
        }
        if self.hold.holding.get() {
            return self.poll_held(cx);
        }
        let before = out.filled().len();
        if self.held.is_empty() {
            let read = Pin::new(&mut self.io).poll_read(cx, out);
            if read.is_pending() && self.scanner.within_head() {
                return self.poll_deadline(cx);
            }
            ready!(read)?;
        } else {
            let count = self.held.len().min(out.remaining());
            out.put_slice(&self.held.split_to(count));
        }
        self.screen(out, before);
        if !self.scanner.within_head() {
            self.deadline = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Screen<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
