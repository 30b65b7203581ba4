//! TCP and UDP echo of the sample service. Knows nothing of HTTP.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The largest datagram that UDP can carry.
const DATAGRAM: usize = 65_535;

/// Says the greeting first, if there is one, then sends back what it reads.
pub(super) async fn tcp(
    listener: TcpListener,
    greeting: Option<Arc<str>>,
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
        let (greeting, stop) = (greeting.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                // The peer's reset is the peer's business.
                _ = connection(stream, greeting) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn connection(mut stream: TcpStream, greeting: Option<Arc<str>>) -> std::io::Result<()> {
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
