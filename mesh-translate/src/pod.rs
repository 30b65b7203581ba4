//! Workloads on Kubernetes: pods that have a sidecar or that their node's proxy serves, with their labels, identity and
//! addresses. Another pod is no workload of the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_model::{Kind, ObjectName, OnNode, Origin, Resource, ResourceKey, SourceRef, SpiffeId, Workload};

use super::output::{Output, Report};
use super::plaintext;
use super::reader::Reader;
use super::workload::{labels, outside};
use crate::inject::HEALTH_PORT;
use crate::names::bounded;
use crate::objects::ConfigMap;
use crate::pods::Pod;

pub(super) fn pod(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let pod = reader.pod(name)?;
    let on_node = on_node(reader, pod);
    if !pod.meshed && on_node.is_none() {
        return Some(Output::default());
    }
    let Some(identity) = account(reader, pod) else { return Some(Output::default()) };
    let source = SourceRef::new("Pod", name.clone(), Origin::Api { generation: 0 });
    let mut report = Report::on(&source);
    let outside = outside(reader, &name.namespace, &pod.labels, &mut report);
    let workload = Workload {
        key: ResourceKey::local(Kind::Workload, name.clone()),
        source: source.clone(),
        name: name.clone(),
        labels: labels(&pod.labels),
        identity,
        addresses: pod.addresses.clone(),
        plaintext: plaintext::of_workload(reader, &name.namespace, &pod.labels),
        on_node,
        outside,
    };
    let resources = vec![Resource::Workload(Arc::new(workload))];
    Some(Output { resources, findings: report.findings, ..Output::default() })
}

/// The identity that clients must find at a port of a pod; `None` where plain text is spoken: a pod that no proxy serves,
/// or whose proxy is not known to be in place, and the health port of a sidecar.
pub(super) fn identity_at(reader: &Reader<'_>, pod: &Pod, port: u16) -> Option<SpiffeId> {
    let captured = match pod.meshed {
        true => port != HEALTH_PORT,
        false => on_node(reader, pod).is_some_and(|on_node| on_node.confirmed),
    };
    account(reader, pod).filter(|_| captured)
}

fn account(reader: &Reader<'_>, pod: &Pod) -> Option<SpiffeId> {
    let domain = &reader.settings().trust_domain;
    // An API server admits only names that an identity can hold.
    SpiffeId::for_service_account(domain, &pod.name.namespace, &pod.account).ok()
}

/// How the node's proxy serves a pod, where it is to. The control plane's own pods it never serves: it needs them
/// before it can serve anybody.
fn on_node(reader: &Reader<'_>, pod: &Pod) -> Option<OnNode> {
    let root = reader.settings().root_namespace.as_deref();
    if root == Some(&*pod.name.namespace) || !pod.is_for_node(&reader.namespace_labels(&pod.name.namespace)) {
        return None;
    }
    let confirmed = is_served(reader, root.unwrap_or_default(), pod);
    let (node, probes) = (Arc::from(pod.node.as_str()), pod.probes.clone());
    Some(OnNode { node, confirmed, probes, keeps_names: pod.keeps_names })
}

/// The entry of the ConfigMap of a node: a JSON object from `NAMESPACE/NAME` of each pod that is served to its addresses.
pub const SERVED_ENTRY: &str = "pods";

/// The name of the ConfigMap that says which pods the proxy of a node serves.
pub fn served_map(node: &str) -> String {
    bounded(&format!("mesh-node.{node}"))
}

/// Whether the node's proxy said that it serves this very pod: an earlier one of the name had other addresses.
fn is_served(reader: &Reader<'_>, root: &str, pod: &Pod) -> bool {
    let map = reader.object::<ConfigMap>(&ObjectName::new(root, served_map(&pod.node)));
    let text = map.and_then(|(map, _)| map.data.get(SERVED_ENTRY));
    let served = text.and_then(|text| serde_json::from_str::<BTreeMap<String, BTreeSet<IpAddr>>>(text).ok());
    let addresses = served.and_then(|mut served| served.remove(&pod.name.to_string()));
    addresses.is_some_and(|addresses| pod.addresses.iter().any(|address| addresses.contains(address)))
}
