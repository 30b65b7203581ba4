//! What a policy says of one of its targets.

use mesh_model::Reason;

use super::entry::Entry;
use super::reader::Reader;
use crate::objects::ParentReference;
use crate::objects::route::LocalObjectReference;
use crate::status::{Condition, ParentStatus};

/// Whether the policy of this entry is in force for a target in its own namespace.
pub(super) fn ancestor(
    reader: &Reader<'_>,
    entry: &Entry,
    target: &LocalObjectReference,
    problem: Option<&(Reason, String)>,
) -> ParentStatus {
    ParentStatus {
        parent_ref: ParentReference {
            group: target.group.clone(),
            kind: target.kind.clone(),
            name: target.name.clone(),
            namespace: Some(entry.namespace().to_owned()),
            port: None,
            section_name: None,
        },
        controller_name: reader.settings().controller_name.clone(),
        conditions: vec![Condition::unless("Accepted", problem, entry.generation())],
    }
}
