//! Which pod is served in which network namespace: what is wanted against what is there. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_capture::NamespaceId;
use mesh_model::backend::Endpoint;
use mesh_model::{Mesh, ObjectName, Resource, Workload};

/// Pods that are wanted, by name.
pub type Wanted = BTreeMap<ObjectName, Arc<Workload>>;
/// Namespaces that are there, with the addresses in each.
pub type Found = BTreeMap<NamespaceId, BTreeSet<IpAddr>>;

/// A pod that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Where.
    pub namespace: NamespaceId,
    /// The pod as it was when it began.
    pub workload: Arc<Workload>,
}

/// Why a pod is served no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// Its namespace is gone, or is that of another pod now.
    Gone,
    /// It runs on, outside of the mesh or under another account.
    Released,
}

/// Why a pod cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// Two pods say that they have the address.
    #[error("pod {0} claims the same network namespace")]
    Claimed(ObjectName),
    /// An address in several namespaces says nothing about whose it is.
    #[error("{0} network namespaces have an address of it")]
    Several(usize),
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Pods to serve from now on.
    pub enter: BTreeMap<ObjectName, NamespaceId>,
    /// Pods to serve no more.
    pub leave: BTreeMap<ObjectName, Leaving>,
    /// Pods whose namespace is not there.
    pub missing: BTreeSet<ObjectName>,
    /// Pods that are not served because it is not clear which namespace is theirs.
    pub unclear: BTreeMap<ObjectName, Unclear>,
}

/// The pods of a node that its proxy is to serve. One without address cannot be found yet.
pub fn wanted(mesh: &Mesh, node: &str) -> Wanted {
    let here = |w: &&Arc<Workload>| w.on_node.as_ref().is_some_and(|on_node| *on_node.node == *node);
    let found = mesh.all_workloads().filter(here).filter(|w| !w.addresses.is_empty());
    found.map(|workload| (workload.name.clone(), Arc::clone(workload))).collect()
}

/// Decides what is to be done.
pub fn plan(wanted: &Wanted, served: &BTreeMap<ObjectName, Seat>, found: &Found) -> Plan {
    let mut plan = Plan::default();
    for (name, seat) in served {
        let is_there = found.get(&seat.namespace).is_some_and(|there| has_any(there, &seat.workload));
        match wanted.get(name) {
            _ if !is_there => plan.leave.insert(name.clone(), Leaving::Gone),
            Some(workload) if is_same(workload, &seat.workload) => None,
            _ => plan.leave.insert(name.clone(), Leaving::Released),
        };
    }
    let stays = |name: &ObjectName| served.contains_key(name) && !plan.leave.contains_key(name);
    let mut claims: BTreeMap<NamespaceId, Vec<ObjectName>> = BTreeMap::new();
    for (name, seat) in served.iter().filter(|(name, _)| stays(name)) {
        claims.entry(seat.namespace).or_default().push(name.clone());
    }
    let newcomers: Vec<_> = wanted.iter().filter(|(name, _)| !stays(name)).collect();
    for (name, workload) in newcomers {
        let places: Vec<_> =
            found.iter().filter(|(_, there)| has_any(there, workload)).map(|(id, _)| *id).collect();
        match places.as_slice() {
            [] => drop(plan.missing.insert(name.clone())),
            [place] => claims.entry(*place).or_default().push(name.clone()),
            several => drop(plan.unclear.insert(name.clone(), Unclear::Several(several.len()))),
        }
    }
    for (place, names) in claims {
        let new = names.iter().filter(|name| !served.contains_key(name) || plan.leave.contains_key(name));
        for name in new.cloned().collect::<Vec<_>>() {
            match names.iter().find(|other| **other != name) {
                Some(other) => drop(plan.unclear.insert(name, Unclear::Claimed(other.clone()))),
                // What is left is entered once nothing of it is left.
                None if plan.leave.contains_key(&name) => drop(plan.missing.insert(name)),
                None => drop(plan.enter.insert(name, place)),
            }
        }
    }
    plan
}

/// Whether a service leads to a pod, so that clients may have begun to reach it before they knew how it is met. Who learns
/// of it later learns both at once.
pub fn is_reached(mesh: &Mesh, workload: &Workload) -> bool {
    let leads = |endpoint: &Endpoint| {
        endpoint.ready && workload.addresses.contains(&endpoint.address.ip().to_canonical())
    };
    mesh.resources().any(
        |resource| matches!(resource, Resource::EndpointChunk(chunk) if chunk.endpoints.iter().any(leads)),
    )
}

fn has_any(there: &BTreeSet<IpAddr>, workload: &Workload) -> bool {
    workload.addresses.iter().any(|address| there.contains(address))
}

/// Whether it is the same pod as far as what was set up for it goes. Labels and policies are looked at per connection.
fn is_same(now: &Workload, then: &Workload) -> bool {
    let probes = |workload: &Workload| workload.on_node.as_ref().map(|on_node| on_node.probes.clone());
    now.identity == then.identity && now.addresses == then.addresses && probes(now) == probes(then)
}

#[cfg(test)]
mod tests;
