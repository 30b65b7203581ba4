//! Streams: socket options, bytes read ahead and given back, and ending a stream so that the peer notices.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How long sent bytes may stay unacknowledged, and a silent peer unanswered, before the connection ends.
const DEAD_AFTER: Duration = Duration::from_secs(20);

/// Sets what every connection of the proxy has: no delay for small writes, and the end of connections whose
/// peer vanished (RFC 5482; 20 s).
///
/// # Errors
/// The error of the socket call, when the peer is gone already.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(2);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(DEAD_AFTER))
}

/// Ends a connection so that the peer sees a break, not an end: bytes that are missing stay noticeable.
pub trait Abort {
    /// Makes the coming close a reset. The stream is dropped next.
    fn abort(&self);
}

impl Abort for TcpStream {
    fn abort(&self) {
        // Fails only when the connection is broken already.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

impl Abort for tokio::io::DuplexStream {
    fn abort(&self) {}
}

impl<S: Abort> Abort for Rewound<S> {
    fn abort(&self) {
        self.stream.abort();
    }
}

impl<S: Abort> Abort for tokio_rustls::client::TlsStream<S> {
    fn abort(&self) {
        self.running().abort();
    }
}

impl<S: Abort> Abort for tokio_rustls::server::TlsStream<S> {
    fn abort(&self) {
        self.running().abort();
    }
}

/// Access to what runs below a TLS stream.
trait Running<S> {
    fn running(&self) -> &S;
}

impl<S> Running<S> for tokio_rustls::client::TlsStream<S> {
    fn running(&self) -> &S {
        self.get_ref().0
    }
}

impl<S> Running<S> for tokio_rustls::server::TlsStream<S> {
    fn running(&self) -> &S {
        self.get_ref().0
    }
}

/// A stream whose first bytes were read already and are read again.
#[derive(Debug)]
pub struct Rewound<S> {
    ahead: Bytes,
    stream: S,
}

impl<S> Rewound<S> {
    /// The stream as if `ahead` had not been read.
    pub fn new(ahead: impl Into<Bytes>, stream: S) -> Self {
        Self { ahead: ahead.into(), stream }
    }

    /// The stream below, while nothing is left to read again.
    pub fn stream(&self) -> Option<&S> {
        self.ahead.is_empty().then_some(&self.stream)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let some = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..some]);
        self.ahead.advance(some);
        if self.ahead.is_empty() {
            self.ahead = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn bytes_read_ahead_come_first_and_once() {
        let (mut far, near) = tokio::io::duplex(64);
        let mut stream = Rewound::new(Bytes::from_static(b"abc"), near);
        assert!(stream.stream().is_none());
        tokio::io::AsyncWriteExt::write_all(&mut far, b"def").await.expect("there is room");
        drop(far);
        let mut first = [0; 2];
        stream.read_exact(&mut first).await.expect("two bytes");
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.expect("the rest");
        assert_eq!((&first, rest.as_str()), (b"ab", "cdef"));
    }
}
