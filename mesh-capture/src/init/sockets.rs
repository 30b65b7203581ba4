//! The sockets that the broker makes in the workload's network namespace.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use mesh_rt::passing::DESCRIPTORS_LIMIT;
use socket2::{Domain, Protocol, Socket, Type};

use crate::nft::Rules;
use crate::wire::Order;

/// A listener for captured connections; several share the port.
pub(super) fn listener(port: u16, ipv6: bool) -> io::Result<OwnedFd> {
    let address = if ipv6 {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
    } else {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
    };
    Ok(mesh_rt::net::listen_tcp(address, true)?.into())
}

/// Makes sockets, and keeps the rules that belong to some of them.
pub(super) struct Maker {
    rules: Rules,
}

impl Maker {
    /// `rules` are those in force.
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules }
    }

    /// Makes what the order asks for.
    pub(super) fn make(&mut self, order: &Order) -> io::Result<Vec<OwnedFd>> {
        match order {
            Order::Bind { address, datagrams: false } => {
                Ok(vec![mesh_rt::net::listen_tcp(*address, true)?.into()])
            }
            Order::Bind { address, datagrams: true } => {
                Ok(vec![mesh_rt::net::bind_udp(*address, true)?.into()])
            }
            Order::Capture { service } => self.capture(*service),
            Order::Open { .. } => {
                Err(io::Error::new(io::ErrorKind::AlreadyExists, "the namespaces exist already"))
            }
            Order::Release { service } => {
                let mut rules = self.rules.clone();
                rules.datagrams.remove(service);
                self.change(rules).map(|()| Vec::new())
            }
            Order::Sockets { count, ipv6 } => {
                (0..(*count).min(DESCRIPTORS_LIMIT)).map(|_| connecting(*ipv6)).collect()
            }
        }
    }

    /// A socket for the datagrams to a service. It is bound to another port than the service's, which the
    /// application may want for itself; a second one for the same service shares the port with the first.
    fn capture(&mut self, service: SocketAddr) -> io::Result<Vec<OwnedFd>> {
        let loopback =
            if service.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        let port = self.rules.datagrams.get(&service).copied().unwrap_or(0);
        let socket = mesh_rt::net::bind_udp(SocketAddr::new(loopback, port), true)?;
        if port == 0 {
            let mut rules = self.rules.clone();
            rules.datagrams.insert(service, socket.local_addr()?.port());
            self.change(rules)?;
        }
        Ok(vec![socket.into()])
    }

    fn change(&mut self, rules: Rules) -> io::Result<()> {
        if rules != self.rules {
            rules.apply()?;
            self.rules = rules;
        }
        Ok(())
    }
}

fn connecting(ipv6: bool) -> io::Result<OwnedFd> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}
