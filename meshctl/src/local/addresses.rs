//! Addresses of workloads on this machine: one of 127.0.0.0/8 for each replica, kept while it lives.
//!
//! Every mesh that runs takes a block 127.B.0.0/16 of its own; a socket in the abstract namespace holds it, which
//! the kernel gives back when the process ends, however it ends.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// The blocks that meshes take; 127.0.0.0/16 is everybody's.
const BLOCKS: std::ops::RangeInclusive<u8> = 16..=250;

/// The addresses of one running mesh.
#[derive(Debug)]
pub(crate) struct Addresses {
    block: u8,
    taken: BTreeMap<String, u16>,
    /// Holds the block.
    _lock: UnixListener,
}

impl Addresses {
    /// Takes a free block.
    pub(crate) fn claim() -> io::Result<Self> {
        for block in BLOCKS {
            let name = SocketAddr::from_abstract_name(format!("service-mesh/127.{block}.0.0"))?;
            match UnixListener::bind_addr(&name) {
                Ok(lock) => return Ok(Self { block, taken: BTreeMap::new(), _lock: lock }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "too many meshes run on this machine"))
    }

    /// The address of a replica: the same each time, until it is given back.
    pub(crate) fn of(&mut self, replica: &str) -> Option<Ipv4Addr> {
        if !self.taken.contains_key(replica) {
            let free = (1..u16::MAX).find(|n| !self.taken.values().any(|taken| taken == n))?;
            self.taken.insert(replica.to_owned(), free);
        }
        let [high, low] = self.taken.get(replica)?.to_be_bytes();
        Some(Ipv4Addr::new(127, self.block, high, low))
    }

    /// Gives an address back.
    pub(crate) fn release(&mut self, replica: &str) {
        self.taken.remove(replica);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meshes_and_replicas_never_share_an_address() {
        let (mut one, mut other) =
            (Addresses::claim().expect("a block"), Addresses::claim().expect("a block"));
        let first = one.of("a-0");
        assert_eq!(first, one.of("a-0"));
        assert!(first != one.of("a-1") && first != other.of("a-0"));
        one.release("a-0");
        assert_eq!(one.of("b-0"), first, "a free address is used again");
    }
}
