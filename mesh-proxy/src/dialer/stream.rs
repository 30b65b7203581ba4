//! A connection of either security as one type. No IO of its own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::tcp::Abort;
use crate::tls::Trusted;

/// An upstream connection.
#[derive(Debug)]
pub struct UpstreamStream(Kind);

#[derive(Debug)]
enum Kind {
    Mesh(Box<Trusted<TlsStream<TcpStream>>>),
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Runs the same expression on whichever stream it is.
macro_rules! either {
    ($self:ident, $stream:ident => $body:expr) => {
        match &mut $self.get_mut().0 {
            Kind::Plain($stream) => $body,
            Kind::Mesh(tls) => {
                let $stream = tls.as_mut();
                $body
            }
            Kind::Tls(tls) => {
                let $stream = tls.as_mut();
                $body
            }
        }
    };
}

impl UpstreamStream {
    pub(super) fn mesh(stream: Trusted<TlsStream<TcpStream>>) -> Self {
        Self(Kind::Mesh(Box::new(stream)))
    }

    pub(super) fn plain(stream: TcpStream) -> Self {
        Self(Kind::Plain(stream))
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self(Kind::Tls(Box::new(stream)))
    }

    /// The socket, when nothing is encrypted on it.
    pub fn socket(&self) -> Option<&TcpStream> {
        match &self.0 {
            Kind::Plain(stream) => Some(stream),
            Kind::Mesh(_) | Kind::Tls(_) => None,
        }
    }
}

impl Abort for UpstreamStream {
    fn abort(&self) {
        match &self.0 {
            Kind::Mesh(stream) => stream.abort(),
            Kind::Plain(stream) => stream.abort(),
            Kind::Tls(stream) => stream.abort(),
        }
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Kind::Mesh(stream) => stream.is_write_vectored(),
            Kind::Plain(stream) => stream.is_write_vectored(),
            Kind::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
