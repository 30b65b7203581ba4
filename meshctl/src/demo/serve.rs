//! From an accepted socket to HTTP requests: TLS, telling HTTP/2 from HTTP/1.1 by its first bytes, shutdown.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::http::{App, Security};

/// What an HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a client may take for a TLS handshake or a request head.
const PATIENCE: Duration = Duration::from_secs(30);

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) app: Arc<App>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// After a failed accept, which may mean that no file descriptor is left.
pub(super) async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// Accepts until told to stop.
pub(super) async fn plain(listener: TcpListener, served: Served) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = served.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                served.tasks.spawn(connection(stream, served.clone(), None));
            }
            Err(_) => pause().await,
        }
    }
}

/// Accepts and ends TLS until told to stop.
pub(super) async fn secure(listener: TcpListener, acceptor: TlsAcceptor, served: Served) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = served.stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            pause().await;
            continue;
        };
        let (acceptor, inner) = (acceptor.clone(), served.clone());
        served.tasks.spawn(async move {
            let handshake = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await;
            let Ok(Ok(stream)) = handshake else { return };
            let security = Security::of(stream.get_ref().1);
            connection(stream, inner, Some(Arc::new(security))).await;
        });
    }
}

async fn connection<S>(stream: S, served: Served, security: Option<Arc<Security>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(Ok((stream, http2))) = tokio::time::timeout(PATIENCE, sniff(stream)).await else { return };
    let app = served.app.clone();
    let service = service_fn(move |request| app.clone().answer(request, security.clone()));
    // What goes wrong with a connection is told to its peer by hyper; nobody else asks.
    if http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let connection = builder.timer(TokioTimer::new()).serve_connection(stream, service);
        let mut connection = pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            () = served.stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    } else {
        let mut builder = http1::Builder::new();
        let builder = builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
        let mut connection = pin!(builder.serve_connection(stream, service).with_upgrades());
        tokio::select! {
            _ = connection.as_mut() => return,
            () = served.stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}

/// Reads until the first bytes tell whether this is HTTP/2, and puts them back.
async fn sniff<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(TokioIo<Replayed<S>>, bool)> {
    let mut first = Vec::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        let left = (PREFACE.len() - first.len()) as u64;
        if (&mut stream).take(left).read_buf(&mut first).await? == 0 {
            break;
        }
    }
    let http2 = first == PREFACE;
    Ok((TokioIo::new(Replayed { first: Bytes::from(first), stream }), http2))
}

/// A stream whose first bytes were read already.
struct Replayed<S> {
    first: Bytes,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Replayed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let length = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replayed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
