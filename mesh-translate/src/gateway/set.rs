//! Which listener sets a gateway admits, and in which order their listeners follow its own (GEP-1713).

use mesh_model::{FieldPath, ObjectName, Reason};

use super::super::entry::Entry;
use super::super::feature::Feature;
use super::super::node::{Index, Parent};
use super::super::output::Report;
use super::super::reader::Reader;
use super::Findings;
use super::listener::{Draft, Problem};
use crate::objects::listener::ListenerFrom;
use crate::objects::{Gateway, ListenerSet, group};

/// Appends the listeners of admitted sets. Returns every set that names the gateway, with why it is not
/// admitted.
pub(super) fn admitted<'a>(
    reader: &Reader<'a>,
    gateway: &Gateway,
    entry: &Entry,
    drafts: &mut Vec<Draft<'a>>,
    findings: &mut Findings,
) -> Vec<(ObjectName, Option<Problem>)> {
    let mut sets = reader.members::<ListenerSet>(Index::Sets(entry.name()));
    sets.retain(|(set, _)| {
        set.spec.parent_ref.group == group::GATEWAY && set.spec.parent_ref.kind == "Gateway"
    });
    sets.sort_by_key(|(_, entry)| entry.seniority());
    let mut judged = Vec::new();
    for (set, set_entry) in sets {
        if !allowed(reader, gateway, entry.namespace(), set_entry.namespace()) {
            let message = format!("gateway {} does not allow listener sets of this namespace", entry.name());
            let mut report = Report::on(&set_entry.source);
            let right = "set spec.allowedListeners.namespaces.from on the gateway";
            report.error(Reason::NotAllowed, &FieldPath::from("spec.parentRef"), message.clone(), right);
            findings.take(report);
            judged.push((set_entry.name(), Some((Reason::NotAllowed, message))));
            continue;
        }
        for (n, listener) in set.spec.listeners.iter().enumerate() {
            let owner = Parent::ListenerSet(set_entry.name());
            let path = FieldPath::from("spec.listeners").index(n);
            drafts.push(Draft::read(reader, listener, (owner, set_entry), path));
        }
        judged.push((set_entry.name(), None));
    }
    judged
}

fn allowed(reader: &Reader<'_>, gateway: &Gateway, own: &str, other: &str) -> bool {
    let Some(allowed) = &gateway.spec.allowed_listeners else { return false };
    if !reader.settings().has(Feature::ListenerSet) {
        return false;
    }
    match allowed.namespaces.from {
        ListenerFrom::All => true,
        ListenerFrom::None => false,
        ListenerFrom::Same => own == other,
        ListenerFrom::Selector => {
            let selector = allowed.namespaces.selector.as_ref();
            selector.is_some_and(|selector| selector.matches(&reader.namespace_labels(other)))
        }
    }
}
