//! Connections whose peer was verified, so that trust which is withdrawn ends them, in either direction. One index
//! per worker. What a peer must prove is mesh-ca's.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};

use mesh_ca::TrustSource;
use mesh_ca::tls::{PeerTls, Proof};
use mesh_rt::SharedClock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{client, server};

use crate::http::revoke::{Streams, Watch};
use crate::tcp::Abort;

/// The peer of a connection is no longer trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("trust in the peer was withdrawn")]
pub struct Distrusted;

impl Distrusted {
    /// Whether a stream broke because of this.
    pub fn is_cause_of(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

/// The verified peers of a worker's connections.
#[derive(Clone)]
pub struct Peers {
    trust: Arc<TrustSource>,
    clock: SharedClock,
    running: Rc<Streams<Proof>>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peers").field(&self.running).finish()
    }
}

impl Peers {
    /// Starts the index of this worker on the current `LocalSet`.
    pub fn start(peer: &PeerTls) -> Self {
        let running = Rc::default();
        let (trust, clock) = (Arc::clone(&peer.trust), Arc::clone(peer.source.clock()));
        tokio::task::spawn_local(follow((Arc::clone(&trust), clock.clone()), Rc::downgrade(&running)));
        Self { trust, clock, running }
    }

    /// The trust of this moment. To be taken before a handshake, so that a change during it is noticed.
    pub fn version(&self) -> u64 {
        self.trust.version()
    }

    /// A client's connection that lasts as long as the trust in it.
    ///
    /// # Errors
    /// Trust was withdrawn during the handshake.
    pub fn client<I>(
        &self,
        stream: server::TlsStream<I>,
        before: u64,
    ) -> io::Result<Trusted<server::TlsStream<I>>> {
        let proof = Proof::of_client(stream.get_ref().1, self.clock.wall());
        self.keep(stream, proof, before)
    }

    /// A connection to a server that lasts as long as the trust in it.
    ///
    /// # Errors
    /// As [`Peers::client`].
    pub fn server<I>(
        &self,
        stream: client::TlsStream<I>,
        before: u64,
    ) -> io::Result<Trusted<client::TlsStream<I>>> {
        let proof = Proof::of_server(stream.get_ref().1, self.clock.wall());
        self.keep(stream, proof, before)
    }

    fn keep<S>(&self, stream: S, proof: Option<Proof>, before: u64) -> io::Result<Trusted<S>> {
        let proof = proof.ok_or_else(distrusted)?;
        if self.trust.version() != before && !proof.holds(&self.trust.current(), self.clock.wall()) {
            return Err(distrusted());
        }
        Ok(Trusted { stream, watch: self.running.watch(&Rc::new(proof)) })
    }
}

fn distrusted() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, Distrusted)
}

/// Ends what a change of trust forbids, as long as the index lives.
async fn follow((trust, clock): (Arc<TrustSource>, SharedClock), running: Weak<Streams<Proof>>) {
    let mut changes = trust.subscribe();
    while changes.changed().await.is_ok() {
        let Some(running) = running.upgrade() else { return };
        let (bundles, now) = (trust.current(), clock.wall());
        running.recheck(|proof| proof.holds(&bundles, now));
    }
}

/// A stream that breaks when the trust in its peer is withdrawn.
#[derive(Debug)]
pub struct Trusted<S> {
    stream: S,
    watch: Watch<Proof>,
}

impl<S> Trusted<S> {
    fn check(&self) -> io::Result<()> {
        if self.watch.is_revoked() { Err(distrusted()) } else { Ok(()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Trusted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.watch.poll(cx).is_ready() {
            return Poll::Ready(Err(distrusted()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Trusted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
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
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl<S: Abort> Abort for Trusted<S> {
    fn abort(&self) {
        self.stream.abort();
    }
}
