//! Workloads on Kubernetes: pods that have a sidecar, with their labels, identity and addresses. A pod without one is
//! no workload of the mesh.

use std::sync::Arc;

use mesh_model::{Kind, ObjectName, Origin, Resource, ResourceKey, SourceRef, SpiffeId, Workload};

use super::output::Output;
use super::plaintext;
use super::reader::Reader;
use super::workload::labels;
use crate::pods::Pod;

pub(super) fn pod(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let pod = reader.pod(name)?;
    let Some(identity) = identity(reader, pod) else { return Some(Output::default()) };
    let workload = Workload {
        key: ResourceKey::local(Kind::Workload, name.clone()),
        source: SourceRef::new("Pod", name.clone(), Origin::Api { generation: 0 }),
        name: name.clone(),
        labels: labels(&pod.labels),
        identity,
        addresses: pod.addresses.clone(),
        plaintext: plaintext::of_workload(reader, &name.namespace, &pod.labels),
    };
    Some(Output { resources: vec![Resource::Workload(Arc::new(workload))], ..Output::default() })
}

/// The identity that a pod's sidecar proves; `None` for a pod without sidecar.
pub(super) fn identity(reader: &Reader<'_>, pod: &Pod) -> Option<SpiffeId> {
    let domain = &reader.settings().trust_domain;
    // An API server admits only names that an identity can hold.
    let identity = SpiffeId::for_service_account(domain, &pod.name.namespace, &pod.account).ok();
    identity.filter(|_| pod.meshed)
}
