//! The local mesh's part of translation: running replicas of processes, and virtual addresses for services
//! that name none. Pure; nothing is started or bound here.

mod addresses;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use addresses::{AddressClaim, allocate};

/// One running replica of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Its number, from 0.
    pub ordinal: u32,
    /// Where others reach it.
    pub address: IpAddr,
    /// Ports of `address` that stand for ports of the process, where the two differ because it has no network
    /// namespace of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<u16, u16>,
    /// Whether new requests may go there.
    pub ready: bool,
}

impl Replica {
    /// A replica that is reached at its own ports.
    pub fn new(ordinal: u32, address: IpAddr, ready: bool) -> Self {
        Self { ordinal, address, ports: BTreeMap::new(), ready }
    }

    /// The port of [`Self::address`] that leads to a port of the process.
    pub fn port(&self, port: u16) -> u16 {
        self.ports.get(&port).copied().unwrap_or(port)
    }
}
