//! Workloads: what runs behind an endpoint, under which account, with which labels.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identity::SpiffeId;
use crate::name::{ObjectName, ResourceKey};
use crate::source::SourceRef;

/// One workload: a pod, or a process of a local mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// The resource's key.
    pub key: ResourceKey,
    /// The object it was made from.
    pub source: SourceRef,
    /// Namespace and name.
    pub name: ObjectName,
    /// Its labels, which policies select by.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// The identity it must have.
    pub identity: SpiffeId,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Where it lets clients in without mesh TLS.
    #[serde(default, skip_serializing_if = "Plaintext::is_nowhere")]
    pub plaintext: Plaintext,
}

/// Where a workload lets clients in that prove no identity. Nowhere unless said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plaintext {
    /// At ports that are not listed.
    pub elsewhere: bool,
    /// At ports of the workload.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<u16, bool>,
}

impl Plaintext {
    /// Whether clients without identity may enter at a port.
    pub fn at(&self, port: u16) -> bool {
        self.ports.get(&port).copied().unwrap_or(self.elsewhere)
    }

    /// Whether every client must prove who it is.
    pub fn is_nowhere(&self) -> bool {
        !self.elsewhere && !self.ports.values().any(|plain| *plain)
    }
}
