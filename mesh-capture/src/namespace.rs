//! Network namespaces of others, found as files: entering one, and what it looks like from inside. A thread that enters
//! one stays there, so each look is a thread of its own that ends.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use nix::ifaddrs::getifaddrs;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

/// `NSFS_MAGIC` of `linux/magic.h`: the file system that namespaces are files of.
const NSFS: u64 = 0x6e73_6673;
/// Listening, in the column of states (`TCP_LISTEN` of `net/tcp_states.h`).
const LISTENS: &str = "0A";
/// The file of a connection that no process has open: over, or not accepted yet.
const NOBODYS: &str = "0";

/// A network namespace that is held open, and with it alive. Copies share it.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<File>);

/// What tells a namespace from every other one that is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamespaceId(u64, u64);

impl Namespace {
    /// The namespace that a file stands for; `None` when the file is none, such as one at which a namespace is still to be
    /// mounted.
    ///
    /// # Errors
    /// The file cannot be opened, or this process may not enter the namespace.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        if u64::try_from(rustix::fs::fstatfs(&file)?.f_type).ok() != Some(NSFS) {
            return Ok(None);
        }
        // The file at hand would keep the mount busy that its owner wants to take away one day; this one does not.
        let inside = Self(Arc::new(file)).run(|| File::open("/proc/thread-self/ns/net"))??;
        Ok(Some(Self(Arc::new(inside))))
    }

    /// The identity of the namespace that a file stands for, without opening it.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub fn id_at(path: &Path) -> io::Result<NamespaceId> {
        std::fs::metadata(path).map(|found| NamespaceId(found.dev(), found.ino()))
    }

    /// Its identity.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn id(&self) -> io::Result<NamespaceId> {
        self.0.metadata().map(|found| NamespaceId(found.dev(), found.ino()))
    }

    /// Moves the calling thread into it, for the rest of the thread's life.
    ///
    /// # Errors
    /// This process may not: it needs SYS_ADMIN.
    pub fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Does something in it, on a thread that ends afterwards. Sockets that are made stay in the namespace.
    ///
    /// # Errors
    /// As [`Self::enter`], or no thread can be started.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("namespace".to_owned());
            let thread = thread.spawn_scoped(scope, || self.enter().map(|()| work()))?;
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the work in the namespace failed")))
        })
    }

    /// The addresses of its interfaces by which others reach it.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn addresses(&self) -> io::Result<BTreeSet<IpAddr>> {
        self.run(|| {
            let found = getifaddrs()?.filter_map(|interface| interface.address);
            let ip = |address: nix::sys::socket::SockaddrStorage| match (
                address.as_sockaddr_in(),
                address.as_sockaddr_in6(),
            ) {
                (Some(v4), _) => Some(IpAddr::V4(v4.ip())),
                (None, v6) => v6.map(|v6| IpAddr::V6(v6.ip())),
            };
            Ok(found.filter_map(ip).filter(is_reachable).collect())
        })?
    }

    /// The next hops of its default routes: where each pod has a link of its own, the node's address there.
    ///
    /// # Errors
    /// As [`Self::run`], or the kernel does not show its routes.
    pub fn gateways(&self) -> io::Result<BTreeSet<IpAddr>> {
        self.run(|| {
            let v4 = std::fs::read_to_string("/proc/thread-self/net/route")?;
            // Where there is no IPv6 there is no such file.
            let v6 = std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap_or_default();
            Ok(gateways_v4(&v4).chain(gateways_v6(&v6)).collect())
        })?
    }

    /// How many sockets listen for TCP connections at a port of it.
    ///
    /// # Errors
    /// As [`Self::run`], or the kernel does not show them.
    pub fn listeners(&self, port: u16) -> io::Result<usize> {
        self.count(port, |socket| socket.state == LISTENS)
    }

    /// How many connections of a port of it are open in some process.
    ///
    /// # Errors
    /// As [`Self::listeners`].
    pub fn connections(&self, port: u16) -> io::Result<usize> {
        self.count(port, |socket| socket.state != LISTENS && socket.node != NOBODYS)
    }

    /// Whether a socket, wherever it comes from, is one that listens for TCP connections at a port of it.
    ///
    /// # Errors
    /// As [`Self::listeners`].
    pub fn owns(&self, socket: BorrowedFd<'_>, port: u16) -> io::Result<bool> {
        let node = rustix::fs::fstat(socket)?.st_ino.to_string();
        self.count(port, |socket| socket.state == LISTENS && socket.node == node).map(|found| found > 0)
    }

    fn count(&self, port: u16, is_meant: impl Fn(&Socket<'_>) -> bool + Sync) -> io::Result<usize> {
        self.run(|| {
            let v4 = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
            let v6 = std::fs::read_to_string("/proc/thread-self/net/tcp6").unwrap_or_default();
            Ok(sockets(&v4, port).chain(sockets(&v6, port)).filter(|socket| is_meant(socket)).count())
        })?
    }
}

fn is_reachable(address: &IpAddr) -> bool {
    let local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_loopback() && !local
}

/// Lines of interface, destination, gateway, … in hexadecimal digits, addresses as numbers in the machine's order.
fn gateways_v4(table: &str) -> impl Iterator<Item = IpAddr> {
    table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (destination, gateway, mask) = (columns.get(1)?, columns.get(2)?, columns.get(7)?);
        let is_default = *destination == "00000000" && *mask == "00000000" && *gateway != "00000000";
        let number = u32::from_str_radix(gateway, 16).ok().filter(|_| is_default)?;
        Some(IpAddr::V4(Ipv4Addr::from(number.to_ne_bytes())))
    })
}

/// Lines of destination, its length, source, its length, next hop, … in hexadecimal digits.
fn gateways_v6(table: &str) -> impl Iterator<Item = IpAddr> {
    table.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (length, hop) = (columns.get(1)?, columns.get(4)?);
        let number = u128::from_str_radix(hop, 16).ok().filter(|number| *length == "00" && *number != 0)?;
        Some(IpAddr::V6(Ipv6Addr::from(number)))
    })
}

/// A TCP socket, as the kernel shows it.
struct Socket<'t> {
    state: &'t str,
    /// The number of its file.
    node: &'t str,
}

/// The sockets of a port, from lines of number, local address and port, remote ones, state, queues, timer, retransmits,
/// user, timeout, file, …
fn sockets(table: &str, port: u16) -> impl Iterator<Item = Socket<'_>> {
    table.lines().skip(1).filter_map(move |line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, digits) = columns.get(1)?.rsplit_once(':')?;
        let is_here = u16::from_str_radix(digits, 16).is_ok_and(|found| found == port);
        Some(Socket { state: columns.get(3).copied()?, node: columns.get(9).copied()? }).filter(|_| is_here)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn default_routes_are_read_as_the_kernel_writes_them() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0100F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0000F40A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        assert_eq!(gateways_v4(v4).collect::<Vec<_>>(), [IpAddr::from([10, 244, 0, 1])]);
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n"
        );
        assert_eq!(gateways_v6(&v6).collect::<Vec<_>>(), ["fd00::1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn sockets_that_listen_are_counted_and_no_others() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 00000000:3A9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0 100 0 0 10 0\n   \
            1: 0100007F:3A9E 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 78 1 0 20 4 0 10 -1\n   \
            2: 00000000:3A99 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 79 1 0 100 0 0 10 0\n";
        let found = |port| sockets(table, port).map(|s| (s.state, s.node)).collect::<Vec<_>>();
        assert_eq!(found(15_006), [("0A", "77"), ("01", "78")]);
        assert_eq!(found(15_001), [("0A", "79")]);
        assert!(found(80).is_empty());
    }

    #[test]
    fn a_file_that_is_no_namespace_is_none() {
        let file = std::env::temp_dir().join(format!("no-namespace-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        assert!(Namespace::open(&file).unwrap().is_none());
        std::fs::remove_file(&file).unwrap();
        assert_eq!(Namespace::open(&file).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
