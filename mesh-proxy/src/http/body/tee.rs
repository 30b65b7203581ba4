//! Copies of a request's body for mirrors: bounded, dropped when slow, never in the way of the original.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::mpsc;

use super::{Body, BodyError};

/// Frames that a copy may lie behind.
const BEHIND: usize = 16;

/// A body whose frames are also given to copies.
#[derive(Debug)]
pub(crate) struct Tee {
    inner: Body,
    copies: Vec<Option<Line>>,
}

/// The way to one copy. The flag says that everything was sent; a line that is cut leaves it unset.
#[derive(Debug)]
struct Line {
    frames: mpsc::Sender<Frame<Bytes>>,
    complete: Rc<Cell<bool>>,
}

/// Splits a body: the original, and this many copies.
pub(crate) fn tee(inner: Body, count: usize) -> (Tee, Vec<Copy>) {
    let size = inner.size_hint();
    let (senders, copies) = (0..count)
        .map(|_| {
            let (frames, receiver) = mpsc::channel(BEHIND);
            let complete = Rc::new(Cell::new(inner.is_end_stream()));
            let copy = Copy { receiver, size, complete: Rc::clone(&complete), ended: false };
            (Some(Line { frames, complete }), copy)
        })
        .unzip();
    (Tee { inner, copies: senders }, copies)
}

impl Tee {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            None => self.finish(),
            Some(Err(_)) => self.copies.clear(),
            Some(Ok(frame)) => {
                self.give(frame);
                if self.inner.is_end_stream() {
                    self.finish();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn finish(&mut self) {
        self.copies.drain(..).flatten().for_each(|line| line.complete.set(true));
    }

    fn give(&mut self, frame: &Frame<Bytes>) {
        for copy in &mut self.copies {
            let Some(line) = copy else { continue };
            let again = match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => Frame::data(data.clone()),
                (None, Some(trailers)) => Frame::trailers(trailers.clone()),
                (None, None) => continue,
            };
            if line.frames.try_send(again).is_err() {
                *copy = None;
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// One copy of a body.
#[derive(Debug)]
pub(crate) struct Copy {
    receiver: mpsc::Receiver<Frame<Bytes>>,
    size: SizeHint,
    complete: Rc<Cell<bool>>,
    ended: bool,
}

impl Copy {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(self.receiver.poll_recv(cx));
        self.ended = frame.is_none();
        match frame {
            // The original went on without us: the copy must not look complete.
            None if !self.complete.get() => Poll::Ready(Some(Err(BodyError::CopyTooSlow))),
            other => Poll::Ready(other.map(Ok)),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.size
    }
}
