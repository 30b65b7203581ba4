//! Workloads: processes of the local mesh with their labels, identity and running replicas.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::{FieldPath, Kind, ObjectName, Outside, Reason, Resource, ResourceKey, SpiffeId, Workload};

use super::output::{Output, Report};
use super::plaintext;
use super::reader::Reader;
use crate::objects::Process;
use crate::objects::meta::TextMap;

pub(super) fn workload(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let (process, entry) = reader.object::<Process>(name)?;
    let mut report = Report::on(&entry.source);
    let identity = match identity(reader, name, process) {
        Ok(identity) => identity,
        Err(problem) => {
            let path = FieldPath::from("spec.serviceAccountName");
            report.error(Reason::InvalidValue, &path, problem, "use letters, digits, '-', '_' and '.'");
            return Some(Output { findings: report.findings, ..Output::default() });
        }
    };
    let mut addresses: Vec<_> = reader.replicas(name).iter().map(|replica| replica.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let workload = Workload {
        key: ResourceKey::local(Kind::Workload, name.clone()),
        source: entry.source.clone(),
        name: name.clone(),
        labels: labels(&process.metadata.labels),
        identity,
        addresses,
        plaintext: plaintext::of_workload(reader, &name.namespace, &process.metadata.labels),
        on_node: None,
        outside: outside(reader, &name.namespace, &process.metadata.labels, &mut report),
    };
    let resources = vec![Resource::Workload(Arc::new(workload))];
    Some(Output { resources, findings: report.findings, ..Output::default() })
}

/// The label that says whether a workload, or those of a namespace, reach what the mesh does not know.
const OUTBOUND: &str = "mesh.io/outbound";

/// Whether a workload with these labels reaches what the mesh does not know: its own label before its namespace's. What
/// cannot be read denies.
pub(super) fn outside(reader: &Reader<'_>, namespace: &str, own: &TextMap, report: &mut Report) -> Outside {
    let around = reader.namespace_labels(namespace);
    match own.get(OUTBOUND).or_else(|| around.get(OUTBOUND)).map(String::as_str) {
        None | Some("allow") => Outside::Allowed,
        Some("deny") => Outside::Denied,
        Some(other) => {
            let message = format!("{OUTBOUND} is {other:?}; until it is known what that means, it denies");
            let path = FieldPath::from("metadata.labels");
            report.error(Reason::InvalidValue, &path, message, "write allow or deny");
            Outside::Denied
        }
    }
}

/// The identity of a process.
pub(super) fn identity(
    reader: &Reader<'_>,
    name: &ObjectName,
    process: &Process,
) -> Result<SpiffeId, String> {
    let domain = &reader.settings().trust_domain;
    let account = &process.spec.service_account_name;
    SpiffeId::for_service_account(domain, &name.namespace, account).map_err(|error| error.to_string())
}

pub(super) fn labels(labels: &TextMap) -> BTreeMap<Arc<str>, Arc<str>> {
    labels.iter().map(|(key, value)| (Arc::from(key.as_str()), Arc::from(value.as_str()))).collect()
}
