//! Sockets: listening with the options a proxy needs, and the original destination of redirected connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// `EAFNOSUPPORT`: the kernel was built or started without this family of addresses.
const NO_SUCH_FAMILY: i32 = 97;

/// Opens a non-blocking TCP listener with `SO_REUSEADDR`, so that a restarted process can bind at once, and
/// `SO_REUSEPORT` when several workers share the port. A listener on `[::]` also takes IPv4, and takes only that
/// where the system has no IPv6.
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
    let any = address.is_ipv6() && address.ip().is_unspecified();
    let (socket, address) = match Socket::new(Domain::for_address(address), kind, Some(protocol)) {
        Err(error) if any && error.raw_os_error() == Some(NO_SUCH_FAMILY) => {
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            (Socket::new(Domain::IPV4, kind, Some(protocol))?, address)
        }
        made => (made?, address),
    };
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

/// An address as its own family writes it: a socket of both families gives addresses of IPv4 mapped into IPv6.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Gives all packets of a socket a firewall mark. Needs NET_ADMIN.
///
/// # Errors
/// The privilege is missing.
pub fn mark(socket: &impl std::os::fd::AsFd, mark: u32) -> io::Result<()> {
    socket2::SockRef::from(socket).set_mark(mark)
}

/// Where the client of a redirected connection wanted to go (`SO_ORIGINAL_DST`), IPv4 first.
/// `None` when the connection was not redirected.
pub fn original_destination(stream: &impl std::os::fd::AsFd) -> Option<SocketAddr> {
    let socket = socket2::SockRef::from(stream);
    let found = socket.original_dst_v4().or_else(|_| socket.original_dst_v6()).ok()?;
    found.as_socket()
}
