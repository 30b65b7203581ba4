//! Workloads: what runs behind an endpoint, under which account, with which labels.

use std::collections::{BTreeMap, BTreeSet};
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
    /// The node whose proxy serves it, for one without a proxy of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_node: Option<OnNode>,
    /// Whether it reaches what the mesh does not know.
    #[serde(default, skip_serializing_if = "Outside::is_allowed")]
    pub outside: Outside,
}

impl Workload {
    /// Whether clients reach it with mutual TLS: its proxy is known to be in place.
    pub fn is_met_with_tls(&self) -> bool {
        self.on_node.as_ref().is_none_or(|on_node| on_node.confirmed)
    }
}

/// Whether a workload may open connections to addresses that nothing in the mesh has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Outside {
    /// It may, as without a mesh.
    #[default]
    Allowed,
    /// Its proxy refuses them.
    Denied,
}

impl Outside {
    /// Whether such connections go where they want.
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed)
    }
}

/// How the proxy of a node serves a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnNode {
    /// The node's name.
    pub node: Arc<str>,
    /// Whether the proxy said that it serves the workload. Until then clients are let in, and send, in plain text.
    #[serde(default)]
    pub confirmed: bool,
    /// Ports at which the node itself asks how the application is.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub probes: BTreeSet<u16>,
    /// Whether its questions for names are left alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_names: bool,
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
