//! The one body type: received, replayable, teed or made here. Frames pass through without being copied.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

mod ahead;
mod replay;
mod tail;
mod tee;

use super::incoming::{Broken, Incoming};

pub(crate) use ahead::Unread;
pub(crate) use replay::{Reader, Replay};
pub(crate) use tail::{Answered, Tail};
pub(crate) use tee::{Copy, tee};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The sender broke it off, or it breaks the protocol.
    #[error("the body was broken off: {0}")]
    Broken(#[from] Broken),
    /// The copy could not keep up with the original.
    #[error("the copy was too slow")]
    CopyTooSlow,
    /// Nothing came for too long.
    #[error("nothing came for too long")]
    Idle,
    /// A policy that came into force while the exchange ran.
    #[error("access was withdrawn")]
    Revoked,
    /// The body is gone: it was too large to be kept for another try.
    #[error("the body cannot be sent again")]
    Spent,
}

/// A body of a request or an answer.
#[derive(Debug)]
pub struct Body(Source);

#[derive(Debug)]
enum Source {
    Answered(Box<Answered>),
    Copied(Copy),
    Empty,
    Full(Bytes),
    Received(Received),
    Replayed(Reader),
    Teed(Box<tee::Tee>),
}

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self(Source::Empty)
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::empty() } else { Self(Source::Full(bytes)) }
    }

    /// A request's body, counted, with a limit on pauses.
    pub(crate) fn received(received: Received) -> Self {
        Self(Source::Received(received))
    }

    pub(crate) fn replayed(reader: Reader) -> Self {
        Self(Source::Replayed(reader))
    }

    /// The body of a backend's answer, with what must happen when it ends.
    pub(crate) fn answered(answered: Box<Answered>) -> Self {
        Self(Source::Answered(answered))
    }

    pub(crate) fn copied(copy: Copy) -> Self {
        Self(Source::Copied(copy))
    }

    pub(crate) fn teed(tee: tee::Tee) -> Self {
        Self(Source::Teed(Box::new(tee)))
    }

    /// How many bytes the body has, when it was made here.
    pub(crate) fn made_here(&self) -> Option<u64> {
        match &self.0 {
            Source::Empty => Some(0),
            Source::Full(bytes) => Some(bytes.len() as u64),
            _ => None,
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match &mut self.0 {
            Source::Answered(answered) => answered.poll(cx),
            Source::Copied(copy) => copy.poll(cx),
            Source::Empty => return Poll::Ready(None),
            Source::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Source::Empty;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Source::Received(received) => received.poll(cx),
            Source::Replayed(reader) => reader.poll(cx),
            Source::Teed(tee) => tee.poll(cx),
        };
        frame.map(|frame| frame.map(|frame| frame.map(without_forbidden)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Answered(answered) => answered.response.body().is_end_stream(),
            Source::Copied(_) | Source::Full(_) => false,
            Source::Empty => true,
            Source::Received(received) => received.is_end_stream(),
            Source::Replayed(reader) => reader.is_end_stream(),
            Source::Teed(tee) => tee.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Answered(answered) => answered.response.body().size_hint(),
            Source::Copied(copy) => copy.size_hint(),
            Source::Empty => SizeHint::with_exact(0),
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Received(received) => received.size_hint(),
            Source::Replayed(reader) => reader.size_hint(),
            Source::Teed(tee) => tee.size_hint(),
        }
    }
}

/// A request's body as it comes from the client.
#[derive(Debug)]
pub(crate) struct Received {
    incoming: Incoming,
    pause: Pause,
    course: Rc<Course>,
    /// The body, once somebody wanted to see all of it before it is sent.
    ahead: Option<Box<ahead::Ahead>>,
}

/// How a request's body fared.
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// Bytes that came.
    pub(crate) bytes: Cell<u64>,
    /// Why no more will come, when it is the client's doing.
    pub(crate) failure: Cell<Option<Failure>>,
}

/// What a client did wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It broke off or broke the protocol.
    Broken,
    /// It paused for too long.
    Slow,
}

impl Received {
    /// A body whose course can be followed; without `pause` it may rest for ever.
    pub(crate) fn new(incoming: Incoming, pause: Option<Duration>, course: Rc<Course>) -> Self {
        Self { incoming, pause: Pause::new(pause), course, ahead: None }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let ended = || http_body::Body::is_end_stream(&self.incoming);
        self.ahead.as_ref().map_or_else(ended, |ahead| ahead.is_over())
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let hint = || http_body::Body::size_hint(&self.incoming);
        self.ahead.as_ref().map_or_else(hint, |ahead| ahead.size_hint())
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.ahead {
            Some(ahead) => Poll::Ready(ahead.next().map(Ok)),
            None => self.poll_incoming(cx),
        }
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = http_body::Body::poll_frame(Pin::new(&mut self.incoming), cx);
        let frame = ready!(self.pause.poll(cx, frame)).inspect_err(|_| {
            self.course.failure.set(Some(Failure::Slow));
        })?;
        match &frame {
            Some(Ok(frame)) => {
                let count = frame.data_ref().map_or(0, Bytes::len);
                self.course.bytes.set(self.course.bytes.get() + count as u64);
            }
            Some(Err(_)) => self.course.failure.set(Some(Failure::Broken)),
            None => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }
}

/// A limit on the pauses of a body. The timer exists only while a pause lasts.
#[derive(Debug)]
struct Pause {
    limit: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pause {
    fn new(limit: Option<Duration>) -> Self {
        Self { limit, timer: None }
    }

    fn poll<T>(&mut self, cx: &mut Context<'_>, inner: Poll<T>) -> Poll<Result<T, BodyError>> {
        let Some(limit) = self.limit else { return inner.map(Ok) };
        if let Poll::Ready(value) = inner {
            self.timer = None;
            return Poll::Ready(Ok(value));
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        timer.as_mut().poll(cx).map(|()| Err(BodyError::Idle))
    }
}

/// Trailers may not change how the message was framed or routed (RFC 9110, section 6.5.1), nor say who sent it.
fn without_forbidden(frame: Frame<Bytes>) -> Frame<Bytes> {
    const FORBIDDEN: [&str; 12] = [
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "keep-alive",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
    ];
    if !frame.is_trailers() {
        return frame;
    }
    let reserved = |name: &str| super::names::is_ours(name) || super::names::is_forwarded(name);
    let allowed = |name: &str| !FORBIDDEN.contains(&name) && !reserved(name);
    match frame.into_trailers() {
        Ok(trailers) => {
            let kept = trailers.iter().filter(|(name, _)| allowed(name.as_str()));
            Frame::trailers(kept.map(|(n, v)| (n.clone(), v.clone())).collect::<HeaderMap>())
        }
        Err(frame) => frame,
    }
}
