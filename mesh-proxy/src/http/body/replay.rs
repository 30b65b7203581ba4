//! A request's body that can be sent again, as long as it is small.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::{BodyError, Received};

/// Most bytes of a body that are kept for another try.
pub(crate) const MAX_KEPT: usize = 64 * 1024;

/// A body of which every try gets its own reader.
#[derive(Debug, Clone)]
pub(crate) struct Replay(Rc<RefCell<Kept>>);

#[derive(Debug)]
struct Kept {
    rest: Received,
    ended: bool,
    chunks: Vec<Bytes>,
    size: usize,
    trailers: Option<HeaderMap>,
    overflown: bool,
    readers: u64,
}

impl Replay {
    pub(crate) fn new(rest: Received) -> Self {
        let kept = Kept {
            rest,
            ended: false,
            chunks: Vec::new(),
            size: 0,
            trailers: None,
            overflown: false,
            readers: 0,
        };
        Self(Rc::new(RefCell::new(kept)))
    }

    /// Whether another reader would see the whole body.
    pub(crate) fn is_whole(&self) -> bool {
        !self.0.borrow().overflown
    }

    /// A reader from the start. Earlier readers end.
    pub(crate) fn reader(&self) -> Reader {
        let mut kept = self.0.borrow_mut();
        kept.readers += 1;
        Reader { kept: Rc::clone(&self.0), turn: kept.readers, at: 0, trailers_sent: false }
    }
}

/// One try's view of a body.
#[derive(Debug)]
pub(crate) struct Reader {
    kept: Rc<RefCell<Kept>>,
    turn: u64,
    at: usize,
    trailers_sent: bool,
}

impl Reader {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut kept = self.kept.borrow_mut();
        if kept.readers != self.turn || (kept.overflown && self.at == 0 && kept.ended) {
            return Poll::Ready(Some(Err(BodyError::Spent)));
        }
        if let Some(chunk) = kept.chunks.get(self.at) {
            let chunk = chunk.clone();
            self.at += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if kept.ended {
            let trailers = if self.trailers_sent { None } else { kept.trailers.clone() };
            self.trailers_sent = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = match ready!(kept.rest.poll(cx)) {
            None => {
                kept.ended = true;
                return Poll::Ready(None);
            }
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            Some(Ok(frame)) => frame,
        };
        if let Some(data) = frame.data_ref() {
            kept.keep(data);
            if !kept.overflown {
                self.at += 1;
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            kept.trailers = Some(trailers.clone());
            kept.ended = true;
            self.trailers_sent = true;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let kept = self.kept.borrow();
        let read = self.at >= kept.chunks.len();
        read && (kept.rest.is_end_stream() || kept.ended) && (kept.trailers.is_none() || self.trailers_sent)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let kept = self.kept.borrow();
        let ahead: usize = kept.chunks.iter().skip(self.at).map(Bytes::len).sum();
        match kept.rest.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(rest + ahead as u64),
            None => SizeHint::default(),
        }
    }
}

impl Kept {
    fn keep(&mut self, data: &Bytes) {
        if self.overflown || self.size + data.len() > MAX_KEPT {
            // The current reader has already passed what was kept.
            self.overflown = true;
            self.chunks.clear();
            return;
        }
        self.size += data.len();
        self.chunks.push(data.clone());
    }
}
