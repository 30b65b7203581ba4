//! The bytes of one connection: what was read and not used, where the body is, and reading more. What is written
//! to it is not known here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use http_body::Frame;
use mesh_http1::{Decoder, Framing, Piece};
use tokio::io::ReadBuf;

use crate::raw::{Prefixed, RawIo};
use crate::scratch;

/// Bytes of a body that are read at once, at first and at most.
const LEAST: usize = 8 * 1024;
const MOST: usize = 256 * 1024;

/// Why a body was broken off.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It is not HTTP/1, or its connection ended.
    #[error(transparent)]
    Http(#[from] mesh_http1::Error),
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The bytes of one connection.
#[derive(Debug)]
pub struct Wire {
    io: Box<dyn RawIo>,
    input: BytesMut,
    body: Decoder,
    /// Bytes of a body to read at once.
    room: usize,
}

impl Wire {
    /// A connection of which these bytes were read already.
    pub fn new(io: Box<dyn RawIo>, ahead: &[u8]) -> Self {
        Self { io, input: BytesMut::from(ahead), body: Decoder::new(Framing::Length(0)), room: LEAST }
    }

    /// What was read and not used.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Takes the first bytes of what was read.
    pub(crate) fn split(&mut self, count: usize) -> Bytes {
        let taken = self.input.split_to(count).freeze();
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        taken
    }

    /// From here on a body of this framing is read.
    pub(crate) fn begin(&mut self, framing: Framing) {
        (self.body, self.room) = (Decoder::new(framing), LEAST);
    }

    /// Whether all of the body was read.
    pub(crate) fn is_over(&self) -> bool {
        self.body.is_over()
    }

    /// Bytes of the body to go, if that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.body.remaining()
    }

    /// Reads more, of a head or of nothing that is expected. 0 is the end of the connection.
    pub fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        scratch::reading(|space| {
            let mut read = ReadBuf::new(space);
            ready!(Pin::new(&mut *self.io).poll_read(cx, &mut read))?;
            let filled = read.filled();
            if self.input.is_empty() {
                self.input = BytesMut::from(filled);
            } else {
                self.input.extend_from_slice(filled);
            }
            Poll::Ready(Ok(filled.len()))
        })
    }

    /// The next frame of the body.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if !self.input.is_empty() || self.body.is_over() {
                match self.body.next(&self.input)? {
                    Piece::Data { skip, length } => {
                        self.input.advance(skip);
                        return Poll::Ready(Some(Ok(Frame::data(self.split(length)))));
                    }
                    Piece::End { used } => {
                        self.input.advance(used);
                        return Poll::Ready(self.trailers().map(|trailers| Ok(Frame::trailers(trailers))));
                    }
                    Piece::More { .. } => self.input.clear(),
                }
            }
            if ready!(self.poll_body(cx))? == 0 {
                self.body.finish()?;
            }
        }
    }

    /// Reads more of a body, the more at once the faster it comes.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let left = self.body.remaining().and_then(|left| usize::try_from(left).ok()).unwrap_or(MOST);
        // A little more than is left: a read that fills its space says nothing about what follows.
        let room = self.room.min(left.saturating_add(64));
        self.input.reserve(room);
        let read = tokio_util::io::poll_read_buf(Pin::new(&mut *self.io), cx, &mut self.input);
        if read.is_pending() && self.input.is_empty() {
            self.input = BytesMut::new();
        }
        let count = ready!(read)?;
        if count >= room {
            self.room = MOST.min(self.room * 2);
        }
        Poll::Ready(Ok(count))
    }

    fn trailers(&mut self) -> Option<HeaderMap> {
        let body = std::mem::replace(&mut self.body, Decoder::new(Framing::Length(0)));
        let mut trailers = HeaderMap::new();
        for (name, value) in body.trailers() {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                trailers.append(name, value);
            }
        }
        (!trailers.is_empty()).then_some(trailers)
    }

    /// Writes some of these bytes, or what is buffered below them if there are none.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices {
            [one] => Pin::new(&mut *self.io).poll_write(cx, one),
            many => Pin::new(&mut *self.io).poll_write_vectored(cx, many),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    /// Ends the direction to the peer.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }

    /// The raw connection with what was read and not used; in its place stays one that has ended.
    pub fn take_raw(&mut self) -> Prefixed<Box<dyn RawIo>> {
        let io = std::mem::replace(&mut self.io, Box::new(tokio::io::empty()));
        Prefixed::new(std::mem::take(&mut self.input).freeze(), io)
    }
}
