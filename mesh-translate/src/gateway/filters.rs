//! Filters of a listener, which requests pass before a route is chosen (GEP-5224). One that cannot be applied as written
//! refuses the listener: a request must never pass as if the filter were not there.

use mesh_model::backend::Target;
use mesh_model::{FieldPath, ListenerProtocol, ObjectName, Reason};

use super::super::feature::{Feature, off};
use super::super::reader::Reader;
use super::super::route::{Asked, before_routes};
use super::listener::Draft;
use crate::objects::listener::{ListenerFilter, ListenerFilterType};

/// Reads the filters into the draft.
pub(super) fn read(reader: &Reader<'_>, draft: &mut Draft<'_>) {
    let Some(filters) = &draft.object.filters else { return };
    let is_http = matches!(draft.protocol, Some(ListenerProtocol::Http | ListenerProtocol::Https));
    if !is_http {
        let message = format!("requests on a {} listener are not seen", draft.object.protocol);
        draft.refuse(Reason::UnsupportedValue, "filters", message, "remove the filters");
        return;
    }
    if !filters.requests.is_empty() && !reader.settings().has(Feature::ListenerFilters) {
        draft.refuse(
            Reason::UnsupportedValue,
            "filters",
            off(Feature::ListenerFilters),
            "remove the filters",
        );
        return;
    }
    let list = draft.path.field("filters").field("requests");
    for (n, filter) in filters.requests.iter().enumerate() {
        one(reader, draft, filter, &list.index(n));
    }
}

fn one(reader: &Reader<'_>, draft: &mut Draft<'_>, filter: &ListenerFilter, path: &FieldPath) {
    let auth = match (filter.kind, &filter.external_auth) {
        (ListenerFilterType::ExternalAuth, Some(auth)) => auth,
        _ => {
            let message = "a filter of another kind is not supported before route choice".to_owned();
            draft.report.error(Reason::UnsupportedValue, path, message.clone(), "use ExternalAuth");
            draft.refused.get_or_insert((Reason::UnsupportedValue, message));
            return;
        }
    };
    let Asked { filter, findings, unresolved, invalid } =
        before_routes(reader, draft.entry, auth, &path.field("externalAuth"));
    draft.report.findings.extend(findings);
    if let Some(problem) = unresolved {
        draft.unresolved.get_or_insert(problem);
    }
    if let Some(problem) = invalid {
        draft.refused.get_or_insert(problem);
    }
    draft.filters.extend(filter);
}

/// The services that a listener itself uses: those that its filters ask, and the one that receives its spans.
pub(super) fn services(draft: &Draft<'_>) -> impl Iterator<Item = ObjectName> {
    let recording = draft.tracing.as_ref().and_then(|tracing| tracing.recording.as_ref());
    let receiver = recording.map(|recording| &recording.receiver);
    draft.filters.iter().map(|auth| &auth.target).chain(receiver).filter_map(|target| match target {
        Target::Service { service, .. } => Some(service.clone()),
        Target::Invalid { .. } => None,
    })
}
