//! The sockets that the broker makes in the workload's network namespace.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use mesh_rt::passing::DESCRIPTORS_LIMIT;
use socket2::{Domain, Protocol, Socket, Type};

use crate::capture::wire::Order;

/// A listener for captured connections; several share the port.
pub(super) fn listener(port: u16, ipv6: bool) -> io::Result<OwnedFd> {
    let address = if ipv6 {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
    } else {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
    };
    Ok(mesh_rt::net::listen_tcp(address, true)?.into())
}

/// Makes what the order asks for.
pub(super) fn make(order: &Order) -> io::Result<Vec<OwnedFd>> {
    match order {
        Order::Bind { address, datagrams: false } => {
            Ok(vec![mesh_rt::net::listen_tcp(*address, true)?.into()])
        }
        Order::Bind { address, datagrams: true } => Ok(vec![mesh_rt::net::bind_udp(*address, true)?.into()]),
        Order::Open { .. } => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "the namespaces exist already"))
        }
        Order::Sockets { count, ipv6 } => {
            (0..(*count).min(DESCRIPTORS_LIMIT)).map(|_| connecting(*ipv6)).collect()
        }
    }
}

fn connecting(ipv6: bool) -> io::Result<OwnedFd> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}
