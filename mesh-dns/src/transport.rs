//! How messages travel to a server: a socket for one question, and the frames of a connection. What they say is not looked at.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// A socket for one question to a server, at a port of the system's choice: whoever guesses answers must guess it too. Its
/// packets carry the firewall mark, if there is one.
pub(crate) async fn socket_to(server: SocketAddr, mark: Option<u32>) -> io::Result<UdpSocket> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::from_std(mesh_rt::net::bind_udp(SocketAddr::new(any, 0), false)?)?;
    if let Some(mark) = mark {
        mesh_rt::net::mark(&socket, mark)?;
    }
    socket.connect(server).await?;
    Ok(socket)
}

/// One message of a connection, with its length before it (RFC 7766, section 8).
pub(crate) async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Sends one, likewise.
pub(crate) async fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], message].concat()).await
}
