//! A message on its way out: head and body as bytes, with the framing that the head promised.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::Body;
use mesh_http1::{Framing, write};

use crate::scratch;
use crate::wire::Wire;

/// Data up to this size is copied behind the head, so that both are one piece.
const COPIED: usize = 4 * 1024;
/// Bytes that are gathered before they are written.
const GATHERED: usize = 16 * 1024;

/// Why a message could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its body broke off or is not as long as was promised.
    Body,
    /// The connection broke.
    Io,
}

/// A message on its way out.
#[derive(Debug)]
pub struct Outgoing<B> {
    /// Head, framing and small data.
    bytes: Vec<u8>,
    sent: usize,
    /// Data of the body that follows them.
    data: Bytes,
    /// What ends its chunk.
    after: &'static [u8],
    body: Option<B>,
    framing: Framing,
    ended: bool,
    /// Something was written.
    pub(crate) begun: bool,
    /// Something of the body was taken.
    opened: bool,
}

impl<B> Drop for Outgoing<B> {
    fn drop(&mut self) {
        scratch::give(std::mem::take(&mut self.bytes));
    }
}

impl<B: Body<Data = Bytes> + Unpin> Outgoing<B> {
    /// A message of this body. `head` writes its head and returns the framing that it promised.
    pub fn new(body: B, head: impl FnOnce(&mut Vec<u8>, &B) -> Framing) -> Self {
        let mut bytes = scratch::take();
        let framing = head(&mut bytes, &body);
        let ended = framing == Framing::Length(0);
        let (data, after) = (Bytes::new(), &b""[..]);
        let body = Some(body);
        Self { bytes, sent: 0, data, after, body, framing, ended, begun: false, opened: false }
    }

    /// The body, when nothing of it was taken.
    pub fn into_body(mut self) -> Option<B> {
        if self.opened { None } else { self.body.take() }
    }

    /// Sends on. Ready when all is written. No borrow of the wire is held while the body is asked, for it may
    /// come from the same connection.
    pub(crate) fn poll(&mut self, wire: &RefCell<Wire>, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            let gathered = self.gather(cx);
            while !self.is_written() {
                ready!(self.poll_write(&mut wire.borrow_mut(), cx)).map_err(|_| Fault::Io)?;
            }
            ready!(wire.borrow_mut().poll_flush(cx)).map_err(|_| Fault::Io)?;
            ready!(gathered)?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn is_written(&self) -> bool {
        self.sent == self.bytes.len() && self.data.is_empty() && self.after.is_empty()
    }

    /// Takes from the body what can be written together.
    fn gather(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        while !self.ended && self.data.is_empty() && self.after.is_empty() && self.bytes.len() < GATHERED {
            self.opened = true;
            let Some(body) = &mut self.body else { return Poll::Ready(Err(Fault::Body)) };
            match ready!(Pin::new(body).poll_frame(cx)) {
                None => self.end(None)?,
                Some(Err(_)) => return Poll::Ready(Err(Fault::Body)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.put(data)?,
                    Err(frame) => self.end(frame.into_trailers().ok().as_ref())?,
                },
            }
        }
        Poll::Ready(Ok(()))
    }

    fn put(&mut self, data: Bytes) -> Result<(), Fault> {
        if data.is_empty() {
            return Ok(());
        }
        let chunked = self.framing == Framing::Chunked;
        match &mut self.framing {
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Fault::Body)?;
                self.ended = *left == 0;
            }
            Framing::Chunked => write::chunk_size(&mut self.bytes, data.len()),
            Framing::UntilClose => {}
        }
        if data.len() > COPIED {
            self.data = data;
            self.after = if chunked { write::CHUNK_END } else { b"" };
            return Ok(());
        }
        self.bytes.extend_from_slice(&data);
        if chunked {
            self.bytes.extend_from_slice(write::CHUNK_END);
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&http::HeaderMap>) -> Result<(), Fault> {
        self.ended = true;
        match self.framing {
            Framing::Length(0) | Framing::UntilClose => {}
            Framing::Length(_) => return Err(Fault::Body),
            Framing::Chunked => {
                self.bytes.extend_from_slice(write::LAST_CHUNK);
                for (name, value) in trailers.into_iter().flatten() {
                    write::field(&mut self.bytes, name.as_str().as_bytes(), value.as_bytes());
                }
                write::end_of_head(&mut self.bytes);
            }
        }
        Ok(())
    }

    /// Writes once.
    fn poll_write(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let all = [&self.bytes[self.sent..], &self.data[..], self.after];
        let mut count = if self.data.is_empty() && self.after.is_empty() {
            ready!(wire.poll_write(cx, &[IoSlice::new(all[0])]))?
        } else {
            ready!(wire.poll_write(cx, &all.map(IoSlice::new)))?
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.begun = true;
        let of_bytes = count.min(self.bytes.len() - self.sent);
        self.sent += of_bytes;
        count -= of_bytes;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
        let of_data = count.min(self.data.len());
        self.data.advance(of_data);
        if self.data.is_empty() {
            self.data = Bytes::new();
        }
        self.after = &self.after[count - of_data..];
        Poll::Ready(Ok(()))
    }
}
