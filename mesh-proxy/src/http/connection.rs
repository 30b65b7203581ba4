//! One client connection: which HTTP it speaks, its limits, its end. Requests are answered by the roles.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::Either;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_http1_tokio::{Prefixed, RawIo, Wire};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::{Answered, Body, Tail};
use super::call::{Agreed, Reply, is_grpc};
use super::downstream::Downstream;
use super::error::Error;
use super::head::{MAX_HEAD, strip_connection};
use super::incoming::Incoming;
use super::local::Local;
use super::record::{Record, Seen};
use super::sniff::is_http2;
use super::stack::Stack;
use super::tunnel::Tunnel;
use super::{answer, http1, roles};
use crate::scope::Scope;
use crate::upstream::Connect;

/// Bytes that wait to be written to one HTTP/2 stream.
const SEND_BUFFER: usize = 128 * 1024;
/// A client that was let in before the listener closed is about to ask; for its first byte it has so long.
const ABOUT_TO_ASK: Duration = Duration::from_secs(1);
/// Streams that a peer may have reset before they were looked at (Rapid Reset).
const PENDING_RESETS: usize = 64;
/// Streams that this side may reset because of what the peer did (MadeYouReset).
const LOCAL_RESETS: usize = 1024;

/// One client connection.
#[derive(Debug)]
pub(crate) struct Line<C> {
    pub(crate) stack: Rc<Stack<C>>,
    pub(crate) downstream: Arc<Downstream>,
    seen: Rc<Seen>,
    /// The backend's end of a changed protocol, until the client's end is free.
    tunnel: RefCell<Option<Tunnel>>,
    /// Requests so far.
    requests: Cell<u64>,
    /// The client's address as a gateway tells it to backends.
    pub(crate) client: Option<HeaderValue>,
}

/// Serves HTTP on a client's connection until either side ends it. When `leaving` completes, answers of HTTP/1
/// close their connection, so that few are left to be closed while a request may be on its way. When `drain`
/// completes, the connection takes no new requests, finishes those that run, and ends; the caller sets the
/// deadline by dropping the future. Must run inside a `LocalSet`.
pub async fn serve<I, C>(
    io: I,
    downstream: Downstream,
    stack: Rc<Stack<C>>,
    (leaving, drain): (impl Future<Output = ()>, impl Future<Output = ()>),
) where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    C: Connect,
{
    let first_byte = stack.limits.first_byte;
    let downstream = Arc::new(downstream);
    let seen = Rc::new(Seen::new(&stack.observer, &downstream));
    let (tunnel, requests) = (RefCell::default(), Cell::default());
    let client = HeaderValue::try_from(downstream.facts.source.to_canonical().to_string()).ok();
    let line = Rc::new(Line { stack, downstream, seen, tunnel, requests, client });
    let mut drain = pin!(drain);
    let mut wire = Wire::new(Box::new(io), b"");
    let mut is_drained = false;
    let http2 = tokio::select! {
        biased;
        http2 = tokio::time::timeout(first_byte, is_http2(&mut wire)) => http2,
        () = async {
            drain.as_mut().await;
            is_drained = true;
            Box::pin(tokio::time::sleep(ABOUT_TO_ASK)).await;
        } => return,
    };
    let drain = pin!(async {
        if !is_drained {
            drain.await;
        }
    });
    let http2 = match (http2, line.downstream.agreed) {
        // Not what TLS agreed on; a farewell may be left out (RFC 9113, section 3.4).
        (Ok(Ok(false)), Some(Version::HTTP_2)) => return,
        (Ok(Ok(_)), Some(Version::HTTP_11)) => false,
        (Ok(Ok(http2)), _) => http2,
        // Nothing was asked, so nothing is answered.
        (Ok(Err(_)) | Err(_), _) => return,
    };
    if http2 {
        // Large, which connections of HTTP/1 need not be.
        Box::pin(serve_http2(wire.take_raw(), line, drain)).await;
    } else {
        http1::serve(wire, line, (pin!(leaving), drain)).await;
    }
}

async fn serve_http2<C: Connect>(
    io: Prefixed<Box<dyn RawIo>>,
    line: Rc<Line<C>>,
    mut drain: Pin<&mut impl Future<Output = ()>>,
) {
    let limits = line.stack.limits;
    let mesh_hop = line.downstream.mesh_hop;
    let rest = Rc::clone(&line);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let answered = handle(Rc::clone(&line), request.map(Incoming::from));
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut builder = http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(if mesh_hop { limits.streams * 10 } else { limits.streams })
        .initial_stream_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(limits.ping)
        .keep_alive_timeout(limits.ping)
        .enable_connect_protocol();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let closing = async {
        drain.as_mut().await;
        if rest.requests.get() == 0 {
            Box::pin(tokio::time::sleep(ABOUT_TO_ASK)).await;
        }
    };
    tokio::select! {
        _ = connection.as_mut() => return,
        () = closing => {}
        () = resting(&rest, limits.idle) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Ends when a connection that may carry many requests has not begun one for so long. Requests that still
/// run keep their streams.
async fn resting<C>(line: &Line<C>, idle: Duration) {
    loop {
        let before = line.requests.get();
        tokio::time::sleep(idle).await;
        if line.requests.get() == before {
            return;
        }
    }
}

/// Answers one request. What needs no waiting is done at once: a future that takes it along stores it twice.
pub(super) fn handle<C: Connect>(
    line: Rc<Line<C>>,
    request: Request<Incoming>,
) -> impl Future<Output = Response<Body>> {
    line.requests.set(line.requests.get().wrapping_add(1));
    let mut record = line.seen.begin(request.method(), request.uri());
    let (mut parts, incoming) = request.into_parts();
    let http2 = parts.version == Version::HTTP_2;
    let kind = Kind {
        grpc: is_grpc(&parts.headers),
        extended: http2 && parts.method == Method::CONNECT,
        on_upgrade: parts.extensions.remove::<OnUpgrade>().filter(|_| http2),
    };
    let mesh = line.stack.mesh.current();
    match roles::admit(&line, &mesh, parts, incoming, &mut record) {
        Ok(mut call) => Either::Left(async move {
            let outcome = match &line.downstream.scope {
                Scope::Gateway { .. } => roles::gateway(&line, mesh, &mut call, &mut record).await,
                Scope::Inbound { .. } => roles::inbound(&line, mesh, &mut call, &mut record).await,
                Scope::Outbound { .. } => roles::outbound(&line, mesh, &mut call, &mut record).await,
            };
            line.reply(outcome, record, kind)
        }),
        Err(error) => Either::Right(ready(line.reply(Err(error), record, kind))),
    }
}

/// What of a request decides how its answer is told.
struct Kind {
    grpc: bool,
    /// An extended CONNECT (RFC 8441).
    extended: bool,
    /// The client's end after a change of protocol, when it is a stream of HTTP/2.
    on_upgrade: Option<OnUpgrade>,
}

/// Removes what only proxies of the mesh may say.
fn drop_ours(headers: &mut HeaderMap) {
    let ours = headers.keys().filter(|name| super::names::is_ours(name.as_str()));
    let ours: Vec<_> = ours.cloned().collect();
    ours.into_iter().for_each(|name| drop(headers.remove(name)));
}

impl<C> Line<C> {
    /// Whether the connection goes on in another protocol once the answer is sent.
    pub(super) fn is_changing(&self) -> bool {
        self.tunnel.borrow().is_some()
    }

    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.take()
    }
}

impl<C: Connect> Line<C> {
    /// The answer to a client.
    fn reply(&self, outcome: Result<Reply, Error>, record: Record, kind: Kind) -> Response<Body> {
        match outcome {
            Ok(Reply::Backend(answered)) if !kind.extended => self.backend(answered, record),
            Ok(Reply::Backend(answered))
                if !self.downstream.mesh_hop && answered.response.status().is_success() =>
            {
                self.error(Error::UpgradeRefused, record, kind.grpc)
            }
            Ok(Reply::Backend(answered)) => self.not_changed(answered, record),
            Ok(Reply::Own(response)) => self.own(*response, record),
            Ok(Reply::Tunnel(agreed)) => self.change(*agreed, kind.on_upgrade, record),
            Err(error) => self.error(error, record, kind.grpc),
        }
    }

    fn error(&self, error: Error, mut record: Record, grpc: bool) -> Response<Body> {
        let error = record.blame(error);
        record.failed(&error);
        let response = answer::error(&error, record.decision(), grpc);
        self.own(response, record)
    }

    /// Passes on a backend's answer, without what belongs to its connection.
    fn backend(&self, mut answered: Box<Answered>, mut record: Record) -> Response<Body> {
        let status = answered.response.status();
        record.answered(status);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        std::mem::swap(headers, answered.response.headers_mut());
        // A backend that names a reserved header is only cleaned, not refused: it is not the one to gain.
        let _ = strip_connection(headers);
        // An error of a proxy further on keeps its decision: it is the one that says why.
        let explained = (answered.tail.from_mesh && status.as_u16() >= 400)
            .then(|| headers.get(&super::names::DECISION).cloned())
            .flatten();
        drop_ours(headers);
        match (explained, record.decision()) {
            (Some(explained), _) => {
                response.headers_mut().insert(&super::names::DECISION, explained);
            }
            (None, Some(decision)) if self.downstream.mesh_hop => answer::mark(&mut response, decision),
            (None, _) => {}
        }
        answered.tail.record = Some(record);
        if http_body::Body::is_end_stream(answered.response.body()) {
            answered.tail.end();
        } else {
            *response.body_mut() = Body::answered(answered);
        }
        response
    }

    /// Passes on the answer of a backend that did not change the protocol. Success would mean on this stream that
    /// it did (RFC 8441, section 5), so that a proxy of the mesh is told the status beside another one.
    fn not_changed(&self, answered: Box<Answered>, record: Record) -> Response<Body> {
        let status = answered.response.status();
        let mut response = self.backend(answered, record);
        if status.is_success() {
            *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
            response.headers_mut().insert(&super::names::STATUS, HeaderValue::from(status.as_u16()));
        }
        response
    }

    /// Passes on an answer made here.
    fn own(&self, mut response: Response<Body>, mut record: Record) -> Response<Body> {
        record.answered(response.status());
        record.answered_bytes(response.body().made_here().unwrap_or(0));
        if let Some(decision) = record.decision() {
            answer::mark(&mut response, decision);
        }
        response
    }

    /// Agrees to a change of protocol and joins both ends as soon as the client's is free.
    /// `client` is its end when that is a stream of HTTP/2.
    fn change(&self, agreed: Agreed, client: Option<OnUpgrade>, mut record: Record) -> Response<Body> {
        let Agreed { response, raw, tail } = agreed;
        let mut response = response.map(|()| Body::empty());
        *response.version_mut() = Version::HTTP_11;
        let protocol = response.headers().get(http::header::UPGRADE).cloned();
        let _ = strip_connection(response.headers_mut());
        drop_ours(response.headers_mut());
        record.answered(StatusCode::SWITCHING_PROTOCOLS);
        let Tail { in_flight, watch, .. } = tail;
        let tunnel = Tunnel { upstream: raw, record, in_flight, watch };
        match client {
            Some(on_upgrade) => {
                *response.status_mut() = StatusCode::OK;
                if self.downstream.mesh_hop {
                    let status = HeaderValue::from(StatusCode::SWITCHING_PROTOCOLS.as_u16());
                    response.headers_mut().insert(&super::names::STATUS, status);
                }
                tokio::task::spawn_local(async move {
                    if let Ok(upgraded) = on_upgrade.await {
                        tunnel.run(TokioIo::new(upgraded)).await;
                    }
                });
            }
            None => {
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                let protocol = protocol.unwrap_or_else(|| HeaderValue::from_static("websocket"));
                let headers = response.headers_mut();
                headers.insert(http::header::CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(http::header::UPGRADE, protocol);
                *self.tunnel.borrow_mut() = Some(tunnel);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::{Downstream, Stack, handle, serve};
    use crate::upstream::{Connect, ConnectError, Upstream};

    #[derive(Clone)]
    struct Nowhere;

    impl Connect for Nowhere {
        type Io = tokio::io::DuplexStream;
        async fn connect(&self, upstream: &Upstream) -> Result<Self::Io, ConnectError> {
            Err(ConnectError::TimedOut(upstream.address))
        }
    }

    /// How large the future is that a function returns.
    fn size<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        std::mem::size_of::<F>()
    }

    #[test]
    fn the_future_of_a_connection_that_waits_stays_small() {
        type Never = std::future::Pending<()>;
        fn size<F>(
            _: impl Fn(tokio::io::DuplexStream, Downstream, Rc<Stack<Nowhere>>, (Never, Never)) -> F,
        ) -> usize {
            std::mem::size_of::<F>()
        }
        let bytes = size(serve);
        assert!(bytes <= 2 * 1024, "{bytes} bytes");
    }

    #[test]
    fn the_future_of_a_request_stays_small() {
        let bytes = size(handle::<Nowhere>);
        assert!(bytes <= 4 * 1024, "{bytes} bytes");
    }
}
