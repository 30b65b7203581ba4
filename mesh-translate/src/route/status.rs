//! Status of a route: one entry per parent reference that is ours.

use mesh_model::{Attachment, Reason};

use super::super::entry::Entry;
use super::super::fact::{Loss, ParentVerdict, Place};
use super::super::node::RouteName;
use super::super::output::Report;
use super::super::reader::Reader;
use super::rules::Outcome;
use super::{field, parent_reference};
use crate::status::{Condition, ObjectStatus, ParentStatus, StatusBody};

pub(super) fn of_route(
    reader: &Reader<'_>,
    (name, entry): (&RouteName, &Entry),
    (verdicts, losses, attached): (&[ParentVerdict], &[Loss], &[Attachment]),
    outcome: &Outcome,
) -> Vec<ObjectStatus> {
    if verdicts.is_empty() {
        return Vec::new();
    }
    let settings = reader.settings();
    let parent = |verdict: &ParentVerdict| {
        let controller =
            if verdict.mesh { &settings.mesh_controller_name } else { &settings.controller_name };
        ParentStatus {
            parent_ref: parent_reference(entry, &verdict.named),
            controller_name: controller.clone(),
            conditions: conditions(entry, verdict, (losses, attached), outcome),
        }
    };
    let body = StatusBody::Parents { parents: verdicts.iter().map(parent).collect() };
    vec![ObjectStatus { kind: name.object_kind(), name: name.name.clone(), body }]
}

fn conditions(
    entry: &Entry,
    verdict: &ParentVerdict,
    (losses, attached): (&[Loss], &[Attachment]),
    outcome: &Outcome,
) -> Vec<Condition> {
    let generation = entry.generation();
    let all_bad = outcome.rules > 0 && outcome.bad_rules == outcome.rules;
    let invalid = outcome.invalid.as_ref();
    let refused = match &verdict.places {
        Err(refusal) => Some(refusal.clone()),
        Ok(_) if outcome.rejected.is_some() => outcome.rejected.clone(),
        Ok(places) => lost(places, losses, attached).or_else(|| {
            invalid.filter(|_| all_bad).map(|(_, message)| (Reason::UnsupportedValue, message.clone()))
        }),
    };
    let mut conditions = vec![
        Condition::unless("Accepted", refused.as_ref(), generation),
        Condition::unless("ResolvedRefs", outcome.unresolved.as_ref(), generation),
    ];
    if let Some((_, message)) = invalid.filter(|_| !all_bad) {
        let reason = Reason::UnsupportedValue.as_str();
        conditions.push(Condition::holds("PartiallyInvalid", reason, generation).saying(message.as_str()));
    }
    conditions
}

/// Says which places others hold: an error when nothing is left of a parent, else a warning.
pub(super) fn report_losses(
    verdicts: &[ParentVerdict],
    (losses, attached): (&[Loss], &[Attachment]),
    report: &mut Report,
) {
    for verdict in verdicts {
        let places = verdict.places.as_deref().unwrap_or_default();
        let path = field(&verdict.named);
        if let Some((reason, message)) = lost(places, losses, attached) {
            report.error(reason, &path, message, "remove one of the two routes from this parent");
            continue;
        }
        for loss in losses.iter().filter(|loss| places.iter().any(|place| concerns(place, loss))) {
            report.warning(
                loss.reason,
                &path,
                loss.message.clone(),
                "the rest of the parent is governed by this route",
            );
        }
    }
}

fn concerns(place: &Place, loss: &Loss) -> bool {
    match (&place.attachment, &loss.attachment) {
        (Attachment::Service { service, .. }, Attachment::Service { service: other, .. }) => service == other,
        (one, other) => one == other,
    }
}

/// Why nothing is left of the places, when others took all of them.
fn lost(places: &[Place], losses: &[Loss], attached: &[Attachment]) -> Option<(Reason, String)> {
    let kept = |place: &Place| {
        attached.iter().any(|attachment| match (&place.attachment, attachment) {
            (Attachment::Service { service, port: None }, Attachment::Service { service: other, .. }) => {
                service == other
            }
            (one, other) => one == other,
        })
    };
    if places.iter().any(kept) {
        return None;
    }
    let related = |loss: &&Loss| places.iter().any(|place| concerns(place, loss));
    losses.iter().find(related).map(|loss| (loss.reason, loss.message.clone()))
}
