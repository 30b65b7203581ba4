//! Selectors of a local mesh that select nothing: all workloads are known there, so this is a slip.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::{FieldPath, Reason};

use super::super::node::Index;
use super::super::output::Report;
use super::super::reader::Reader;
use super::super::suggest::did_you_mean;
use crate::names::bounded;
use crate::objects::meta::TextMap;
use crate::objects::{Gateway, Process};
use crate::provision::GATEWAY_NAME;

/// Warns when the namespace has processes or gateways and none of them has the labels.
pub(super) fn check(
    reader: &Reader<'_>,
    namespace: &str,
    selector: &BTreeMap<Arc<str>, Arc<str>>,
    report: &mut Report,
) {
    let Some((key, value)) = selector.iter().next() else { return };
    let processes = reader.members::<Process>(Index::Processes(namespace.to_owned()));
    let mut labels: Vec<TextMap> =
        processes.iter().map(|(process, _)| process.metadata.labels.clone()).collect();
    for (gateway, entry) in reader.members::<Gateway>(Index::Gateways(namespace.to_owned())) {
        let mut own = gateway.metadata.labels.clone();
        own.insert(GATEWAY_NAME.to_owned(), bounded(&entry.source.object.name));
        labels.push(own);
    }
    let selected =
        |labels: &TextMap| selector.iter().all(|(k, v)| labels.get(&**k).is_some_and(|l| **l == **v));
    if labels.is_empty() || labels.iter().any(selected) {
        return;
    }
    let path = FieldPath::from("spec.selector.matchLabels").field(key);
    let known: Vec<&str> =
        labels.iter().filter_map(|labels| labels.get(&**key)).map(String::as_str).collect();
    let message =
        format!("no workload of namespace {namespace} has these labels, so the policy acts on nothing");
    report.warning(Reason::InvalidValue, &path, message, did_you_mean(value, known));
}
