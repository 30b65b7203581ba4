//! The loop that serves a client of HTTP/1: a head, its answer, the next head. One task for all of it; nothing is
//! kept between two requests but the connection.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use mesh_http1_tokio::{
    Client, Error, Fault, Framing, Outgoing, RequestReader, Started, Version, Way, Wire, response_head,
};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::patience::Patience;
use crate::http::body::Body;
use crate::http::connection::{Line, handle};
use crate::http::incoming::Incoming;
use crate::upstream::Connect;

/// A client that may not have read its answer is listened to for this long, and for so many bytes.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 256 * 1024;

/// A peer of the mesh that was told that the connection ends may have asked a moment before; it is heard for so long.
const PARTING: Duration = Duration::from_secs(1);

/// Why no head comes.
enum Silence {
    /// What came is none.
    Broken(Error),
    /// The connection ended, or a head took too long.
    Gone,
    /// Nothing was asked, and nothing more is waited for.
    Enough,
}

/// How a connection ends.
enum End {
    /// Everything was read and said.
    Close,
    /// The client may still be sending.
    Linger,
    /// It goes on in another protocol.
    Tunnel,
}

/// What ends a connection from outside, each until it happened.
struct Endings<'d, L, D> {
    /// Answers close their connection.
    leaving: Option<Pin<&'d mut L>>,
    /// It is closed as soon as it rests.
    drain: Option<Pin<&'d mut D>>,
}

impl<L: Future<Output = ()>, D: Future<Output = ()>> Endings<'_, L, D> {
    fn look(&mut self, cx: &mut Context<'_>) {
        if self.leaving.as_mut().is_some_and(|leaving| leaving.as_mut().poll(cx).is_ready()) {
            self.leaving = None;
        }
        if self.drain.as_mut().is_some_and(|drain| drain.as_mut().poll(cx).is_ready()) {
            self.drain = None;
        }
    }

    fn is_leaving(&self) -> bool {
        self.leaving.is_none() || self.drain.is_none()
    }
}

struct Serving<'d, C, L, D> {
    line: Rc<Line<C>>,
    client: Rc<Client>,
    patience: Patience,
    endings: Endings<'d, L, D>,
    /// The client was told that the connection ends.
    parting: bool,
}

/// Serves a client until either side ends the connection.
pub(in crate::http) async fn serve<C: Connect>(
    wire: Wire,
    line: Rc<Line<C>>,
    (leaving, drain): (Pin<&mut impl Future<Output = ()>>, Pin<&mut impl Future<Output = ()>>),
) {
    let client = Client::new(wire);
    let patience = Patience::new(line.stack.limits.idle, line.stack.limits.head);
    let endings = Endings { leaving: Some(leaving), drain: Some(drain) };
    let mut serving = Serving { line, client, patience, endings, parting: false };
    let end = loop {
        let exchanged = match serving.head().await {
            Ok(Some(started)) => serving.exchange(started).await,
            Ok(None) => break End::Close,
            Err(error) => serving.refuse(error).await,
        };
        if let Some(end) = exchanged {
            break end;
        }
    };
    // Large, and only once.
    Box::pin(serving.end(end)).await;
}

impl<C: Connect, L: Future<Output = ()>, D: Future<Output = ()>> Serving<'_, C, L, D> {
    /// Waits for the next head; `None` when there is none. A peer of the mesh is told before its connection is closed,
    /// so that no request of it is on its way then.
    async fn head(&mut self) -> Result<Option<Started>, Error> {
        loop {
            match self.next().await {
                Ok(started) => return Ok(Some(started)),
                Err(Silence::Broken(error)) => return Err(error),
                Err(Silence::Enough) if self.line.downstream.mesh_hop && !self.parting => {
                    self.parting = true;
                    // Large, and only once.
                    let said = Box::pin(tokio::time::timeout(PARTING, self.client.say_farewell())).await;
                    if !matches!(said, Ok(Ok(()))) {
                        return Ok(None);
                    }
                    self.patience.shorten(PARTING);
                }
                Err(Silence::Enough | Silence::Gone) => return Ok(None),
            }
        }
    }

    async fn next(&mut self) -> Result<Started, Silence> {
        self.patience.renew();
        let mut partial: Option<Box<RequestReader>> = None;
        poll_fn(|cx| {
            self.endings.look(cx);
            if let Poll::Ready(head) = self.client.poll_head(cx, &mut partial) {
                return Poll::Ready(head.map_err(Silence::Broken).and_then(|head| head.ok_or(Silence::Gone)));
            }
            let begun = self.client.has_begun(partial.as_deref());
            if self.endings.drain.is_none() && !begun && !self.parting {
                return Poll::Ready(Err(Silence::Enough));
            }
            let silence = if begun { Silence::Gone } else { Silence::Enough };
            self.patience.poll(cx, begun).map(|()| Err(silence))
        })
        .await
    }

    /// Answers one request. `None`: the next may come.
    async fn exchange(&mut self, started: Started) -> Option<End> {
        let Started { request, framing, expects_continue, mut way } = started;
        self.client.begin(framing, expects_continue);
        let incoming = match framing {
            Framing::Length(0) => Incoming::default(),
            _ => Incoming::client(Rc::clone(&self.client)),
        };
        let response = self.answer(request.map(|()| incoming)).await?;
        way.persists &= !self.endings.is_leaving() && !self.parting;
        // A body that nobody reads is over, or the connection is.
        if !self.client.is_end_stream() && Rc::strong_count(&self.client) == 1 {
            way.persists &= self.is_skipped().await;
        }
        match self.send(response, way).await {
            Some(true) if self.line.is_changing() => Some(End::Tunnel),
            Some(true) if self.is_skipped().await => None,
            Some(_) => Some(End::Linger),
            None => Some(End::Close),
        }
    }

    /// Waits for the answer; `None` when the client went away, which ends the request.
    async fn answer(&mut self, request: Request<Incoming>) -> Option<Response<Body>> {
        let mut answer = Box::pin(handle(Rc::clone(&self.line), request));
        poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(response) => {
                self.endings.look(cx);
                Poll::Ready(Some(response))
            }
            Poll::Pending => self.client.poll_gone(cx).map(|()| None),
        })
        .await
    }

    /// Sends an answer. Whether the connection persists; `None` when it broke, or the answer did.
    async fn send(&mut self, response: Response<Body>, way: Way) -> Option<bool> {
        let (parts, body) = response.into_parts();
        let mut persists = false;
        let observer = &self.line.stack.observer;
        let mut outgoing = Outgoing::new(body, |out, body| {
            out.extend_from_slice(self.client.rest_of_leave());
            let (framing, persisting) = response_head(out, (&parts, body), way, || observer.wall());
            persists = persisting || parts.status == StatusCode::SWITCHING_PROTOCOLS;
            framing
        });
        drop(parts);
        let sent = poll_fn(|cx| match self.client.poll_send(&mut outgoing, cx) {
            Poll::Ready(sent) => Poll::Ready(sent),
            Poll::Pending => self.client.poll_gone(cx).map(|()| Err(Fault::Io)),
        });
        sent.await.ok().map(|()| persists)
    }

    /// Whether the request's body is over, or its rest was there to be passed over.
    async fn is_skipped(&self) -> bool {
        self.client.is_end_stream() || poll_fn(|cx| Poll::Ready(self.client.skip(cx))).await
    }

    /// Answers what is not a request.
    async fn refuse(&mut self, error: Error) -> Option<End> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = match error {
            Error::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Error::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            _ => StatusCode::BAD_REQUEST,
        };
        let way = Way { version: Version::Http11, persists: false, head_only: false };
        let sent = self.send(response, way).await;
        Some(if sent.is_some() { End::Linger } else { End::Close })
    }

    async fn end(self, end: End) {
        let tunnel = self.line.take_tunnel();
        if let (End::Tunnel, Some(tunnel)) = (&end, tunnel) {
            return tunnel.run(self.client.take_raw()).await;
        }
        let _ = poll_fn(|cx| self.client.poll_shutdown(cx)).await;
        if matches!(end, End::Linger) {
            linger(self.client.take_raw()).await;
        }
    }
}

/// Reads what a client still sends, for a while: closing over unread bytes would reset the connection, and the
/// client might not see its answer (RFC 9112, section 9.6).
async fn linger(mut io: impl AsyncRead + Unpin) {
    let drained = async {
        let mut left = LINGER_BYTES;
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = io.read(&mut buffer).await {
            left = left.saturating_sub(count);
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drained).await;
}
