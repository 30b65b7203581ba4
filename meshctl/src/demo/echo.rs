//! TCP and UDP echo of the sample service, and its relay. Knows nothing of HTTP.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config;

/// The largest datagram that UDP can carry.
const DATAGRAM: usize = 65_535;

/// What is done with a TCP connection.
#[derive(Debug, Clone)]
pub(super) enum Behaviour {
    /// Says the greeting first, if there is one, then sends back what it reads.
    Echo(Option<Arc<str>>),
    /// Copies bytes to another service and back.
    Relay(Arc<Relay>),
}

/// A relay: where it listens and where the bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relay {
    pub(crate) listen: SocketAddr,
    host: String,
    port: u16,
}

impl FromStr for Relay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (listen, to) = text.split_once('=').ok_or("expected ADDRESS=HOST:PORT")?;
        let listen = listen.parse().map_err(|error| format!("{listen:?}: {error}"))?;
        let (host, port) = to.rsplit_once(':').ok_or_else(|| format!("{to:?} has no port"))?;
        let port = port.parse().map_err(|error| format!("port {port:?}: {error}"))?;
        Ok(Self { listen, host: host.to_owned(), port })
    }
}

/// Accepts until told to stop.
pub(super) async fn tcp(
    listener: TcpListener,
    behaviour: Behaviour,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            super::serve::pause().await;
            continue;
        };
        let (behaviour, stop) = (behaviour.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                // The peer's reset is the peer's business.
                _ = connection(stream, behaviour) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn connection(mut stream: TcpStream, behaviour: Behaviour) -> std::io::Result<()> {
    let greeting = match behaviour {
        Behaviour::Echo(greeting) => greeting,
        Behaviour::Relay(relay) => return relayed(stream, &relay).await,
    };
    if let Some(greeting) = greeting {
        stream.write_all(format!("{greeting}\n").as_bytes()).await?;
    }
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..length]).await?;
    }
}

async fn relayed(mut stream: TcpStream, relay: &Relay) -> std::io::Result<()> {
    let named = (relay.host.clone(), relay.port);
    let (host, port) = config::service_address(&relay.host, relay.port).unwrap_or(named);
    let mut onward = TcpStream::connect((host.as_str(), port)).await?;
    onward.set_nodelay(true)?;
    stream.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut stream, &mut onward).await?;
    Ok(())
}

/// Answers each datagram with itself, behind the greeting and a blank if there is one.
pub(super) async fn udp(socket: UdpSocket, greeting: Option<Arc<str>>, stop: CancellationToken) {
    let mut buffer = vec![0; DATAGRAM];
    let prefix = greeting.map(|greeting| format!("{greeting} ")).unwrap_or_default();
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = stop.cancelled() => return,
        };
        // An error here is that of an earlier answer that could not be delivered.
        let Ok((length, peer)) = received else { continue };
        let mut answer = prefix.clone().into_bytes();
        answer.extend_from_slice(&buffer[..length]);
        let _ = socket.send_to(&answer, peer).await;
    }
}
