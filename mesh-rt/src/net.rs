//! Sockets: listening with the options a proxy needs, and the original destination of redirected connections.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// Opens a non-blocking TCP listener with `SO_REUSEADDR`, so that a restarted process can bind at once, and
/// `SO_REUSEPORT` when several workers share the port. A listener on `[::]` also takes IPv4.
///
/// # Errors
/// The error of the socket call that failed, such as `AddrInUse`.
pub fn listen_tcp(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = bound(address, Type::STREAM, Protocol::TCP, shared)?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// Opens a non-blocking UDP socket; `shared` as in [`listen_tcp`].
///
/// # Errors
/// The error of the socket call that failed.
pub fn bind_udp(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    Ok(bound(address, Type::DGRAM, Protocol::UDP, shared)?.into())
}

fn bound(address: SocketAddr, kind: Type, protocol: Protocol, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Where the client of a redirected connection wanted to go (`SO_ORIGINAL_DST`), IPv4 first.
/// `None` when the connection was not redirected.
pub fn original_destination(stream: &impl std::os::fd::AsFd) -> Option<SocketAddr> {
    let socket = socket2::SockRef::from(stream);
    let found = socket.original_dst_v4().or_else(|_| socket.original_dst_v6()).ok()?;
    found.as_socket()
}
