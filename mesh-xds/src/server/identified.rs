//! A connection that carries the verified identity of its peer to the service. Verification lives elsewhere.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use mesh_model::{Caller, SpiffeId};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// A connection with the identity that its TLS handshake verified, if any. Services find it in the extensions
/// of every request as a [`Caller`].
#[derive(Debug)]
pub struct Identified<IO> {
    io: IO,
    peer: Option<SpiffeId>,
}

impl<IO> Identified<IO> {
    /// A connection and what is known of its peer.
    pub fn new(io: IO, peer: Option<SpiffeId>) -> Self {
        Self { io, peer }
    }
}

impl<IO> Connected for Identified<IO> {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Self::ConnectInfo {
        Caller { identity: self.peer.clone(), address: None }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Identified<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Identified<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
