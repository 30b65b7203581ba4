//! gRPC over mesh TLS: accepted connections that carry their verified peer, and dialled ones. Which services
//! run over them is not known here.

mod strangers;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use mesh_model::{Caller, SpiffeId};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use self::strangers::{Over, Stay, Strangers};
use crate::tls::{PeerError, peer_identity, peer_name};

/// The protocol of gRPC in ALPN.
pub const ALPN: &[u8] = b"h2";
/// Handshakes under way and clients without a certificate at a time; one more, and the oldest has to go.
const STRANGERS: usize = 512;
/// How long a client without a certificate may stay: it has come to ask for its first one.
const STAY: Duration = Duration::from_secs(60);
/// How long a handshake, and a connection attempt, may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long one attempt to reach an address waits. A Service's address leads each connection to one of its endpoints for
/// good: where that one has gone without a word, only another connection comes to its successor.
const REACH: Duration = Duration::from_secs(1);
/// The pause after an accept that failed, as it does when file descriptors run out.
const PAUSE: Duration = Duration::from_millis(100);

/// An accepted connection whose handshake has verified the peer, if it presented a certificate. tonic puts
/// the peer into the extensions of each request, as a [`Caller`].
#[derive(Debug)]
pub struct Accepted {
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    peer: Option<SpiffeId>,
    /// The place of a client without identity.
    stay: Option<Stay>,
    /// Why that client had to go.
    over: Option<Over>,
}

impl Accepted {
    /// Who is at the other end.
    pub fn peer(&self) -> Option<&SpiffeId> {
        self.peer.as_ref()
    }

    /// Ends when a client without identity has to go.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        if let Some(over) = self.over {
            return Poll::Ready(over);
        }
        let Some(stay) = &mut self.stay else { return Poll::Pending };
        let over = std::task::ready!(Pin::new(stay).poll(cx));
        // Its place is free at once, also when the rest of the connection takes its time.
        self.stay = None;
        self.over = Some(over);
        let address = self.stream.get_ref().0.peer_addr().ok();
        tracing::warn!(?address, reason = %over, "a client was sent away");
        Poll::Ready(over)
    }
}

/// Accepts connections and does their handshakes, many at a time; those that fail are logged and dropped. Clients
/// that prove no identity stay for a minute at most, and none of them keeps others out.
/// Ends when the stream is dropped. Must be called within a tokio runtime.
pub fn incoming(
    listener: TcpListener,
    config: Arc<ServerConfig>,
) -> impl futures_util::Stream<Item = io::Result<Accepted>> {
    let (accepted, stream) = mpsc::channel(16);
    tokio::spawn(accept(listener, TlsAcceptor::from(config), accepted));
    ReceiverStream::new(stream)
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, accepted: mpsc::Sender<io::Result<Accepted>>) {
    let strangers = Strangers::new(STRANGERS);
    loop {
        let (stream, address) = tokio::select! {
            () = accepted.closed() => return,
            result = listener.accept() => match result {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let (acceptor, accepted, stay) = (acceptor.clone(), accepted.clone(), strangers.admit(HANDSHAKE));
        tokio::spawn(async move {
            if let Some(connection) = handshake(acceptor, stream, (address, stay)).await {
                // Nobody waits for it when the server has just stopped.
                drop(accepted.send(Ok(connection)).await);
            }
        });
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    (address, mut stay): (SocketAddr, Stay),
) -> Option<Accepted> {
    stream.set_nodelay(true).ok()?;
    let reason = tokio::select! {
        over = &mut stay => over.to_string(),
        accepted = acceptor.accept(stream) => match accepted {
            Ok(stream) => {
                let peer = peer_identity(stream.get_ref().1);
                stay.extend(STAY);
                let stay = peer.is_none().then_some(stay);
                return Some(Accepted { stream, peer, stay, over: None });
            }
            Err(error) => PeerError::of(&error).map_or_else(|| error.to_string(), ToString::to_string),
        },
    };
    tracing::warn!(%address, reason, "a peer was refused");
    None
}

/// Opens a connection and verifies the peer. The error says why a peer was refused.
///
/// # Errors
/// As the system or the handshake says, or `TimedOut` after 10 s.
pub async fn dial(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let open = async {
        let stream = reached(|| TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(config).connect(peer_name(), stream).await
    };
    match timeout(HANDSHAKE, open).await {
        Ok(Err(error)) => match PeerError::of(&error) {
            Some(reason) => Err(io::Error::new(error.kind(), reason.clone())),
            None => Err(error),
        },
        Ok(opened) => opened,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// What the first attempt brings that is answered in its time.
async fn reached<T, F: Future<Output = io::Result<T>>>(attempt: impl Fn() -> F) -> io::Result<T> {
    loop {
        if let Ok(answered) = timeout(REACH, attempt()).await {
            return answered;
        }
    }
}

impl Connected for Accepted {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Self::ConnectInfo {
        let address = self.stream.get_ref().0.peer_addr().ok();
        Caller { identity: self.peer.clone(), address: address.map(|address| address.ip().to_canonical()) }
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(over) = self.poll_over(cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, over)));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_is_gone_without_a_word_is_not_waited_for() {
        let (start, attempts) = (tokio::time::Instant::now(), Cell::new(0));
        let attempt = || {
            attempts.set(attempts.get() + 1);
            let answered = attempts.get() == 3;
            async move { if answered { Ok(()) } else { std::future::pending().await } }
        };
        reached(attempt).await.unwrap();
        assert_eq!((attempts.get(), start.elapsed().as_secs()), (3, 2));
        let refused = || std::future::ready(Err::<(), _>(io::ErrorKind::ConnectionRefused.into()));
        assert_eq!(reached(refused).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
