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
}
