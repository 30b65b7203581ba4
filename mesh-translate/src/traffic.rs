//! Policies for traffic to backends (`XBackendTrafficPolicy`): which one governs a service, and their statuses.

use std::sync::Arc;
use std::time::Duration;

use mesh_model::{FieldPath, ObjectName, Reason, RetryBudget, Session};

use super::entry::Entry;
use super::node::Index;
use super::output::{Output, Report, kind_name};
use super::reader::Reader;
use super::session::{self, Owner, Problem};
use super::target::ancestor;
use crate::objects::{ObjectKind, Service, XBackendTrafficPolicy};
use crate::status::{ObjectStatus, StatusBody};

/// What a rate without numbers is, as the definition's default for no rate at all.
const LEAST: (u32, Duration) = (10, Duration::from_secs(1));

/// The oldest policy of a service.
fn holder<'a>(reader: &Reader<'a>, service: &ObjectName) -> Option<(&'a XBackendTrafficPolicy, &'a Entry)> {
    let policies = reader.members::<XBackendTrafficPolicy>(Index::TrafficPolicies(service.clone()));
    policies.into_iter().min_by_key(|(_, entry)| entry.seniority())
}

/// The policy that governs a service: the oldest, unless what it wants excludes what the service is.
fn governing<'a>(
    reader: &Reader<'a>,
    service: &ObjectName,
) -> Option<(&'a XBackendTrafficPolicy, &'a Entry)> {
    holder(reader, service).filter(|(policy, _)| clash(reader, policy, service).is_none())
}

/// Why a policy and a service exclude each other.
fn clash(reader: &Reader<'_>, policy: &XBackendTrafficPolicy, service: &ObjectName) -> Option<String> {
    policy.spec.session_persistence.as_ref().and_then(|_| session::affine(reader, service))
}

/// What keeps requests of one client with an endpoint of a service.
pub(super) fn session(reader: &Reader<'_>, service: &ObjectName) -> Option<Arc<Session>> {
    let (policy, entry) = governing(reader, service)?;
    read_session(reader, (policy, entry), service)?.ok()
}

fn read_session(
    reader: &Reader<'_>,
    (policy, entry): (&XBackendTrafficPolicy, &Entry),
    service: &ObjectName,
) -> Option<Result<Arc<Session>, Problem>> {
    let written = policy.spec.session_persistence.as_ref()?;
    let keyed = format!("Service {service}");
    let owner = Owner { source: &entry.source, keyed: &keyed, named: &keyed };
    Some(session::session(reader, owner, written, &FieldPath::from("spec.sessionPersistence")))
}

/// The budget of retries of a service.
pub(super) fn retry_budget(reader: &Reader<'_>, service: &ObjectName) -> Option<RetryBudget> {
    let (policy, entry) = governing(reader, service)?;
    let constraint = policy.spec.retry_constraint.as_ref()?;
    let rate = &constraint.min_retry_rate;
    Some(RetryBudget {
        source: entry.source.clone(),
        percent: constraint.budget.percent.min(100),
        interval: constraint.budget.interval.value(),
        least: rate.count.unwrap_or(LEAST.0),
        least_interval: rate.interval.as_ref().map_or(LEAST.1, crate::objects::Duration::value),
    })
}

/// The status of a policy: one entry per target.
pub(super) fn status(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let (policy, entry) = reader.object::<XBackendTrafficPolicy>(name)?;
    let mut report = Report::on(&entry.source);
    let list = FieldPath::from("spec.targetRefs");
    let mut ancestors = Vec::new();
    for (n, target) in policy.spec.target_refs.iter().enumerate() {
        let path = list.index(n);
        let service = ObjectName::new(name.namespace.clone(), target.name.as_str());
        let is_service = target.group.is_empty() && target.kind == "Service";
        let holder = if is_service { holder(reader, &service) } else { None };
        let problem = if !is_service {
            let kind = kind_name(&target.group, &target.kind);
            Some((
                Reason::InvalidKind,
                path,
                format!("traffic to a {kind} cannot be governed"),
                "name a Service",
            ))
        } else if reader.object::<Service>(&service).is_none() {
            Some((Reason::TargetNotFound, path, format!("there is no Service {service}"), ""))
        } else if let Some((_, older)) = holder.filter(|(_, older)| older.name() != *name) {
            let message = format!("policy {} is older and has the same target", older.name());
            Some((Reason::Conflicted, path, message, "remove one of the two"))
        } else if let Some(message) = clash(reader, policy, &service) {
            let path = FieldPath::from("spec.sessionPersistence");
            Some((Reason::Conflicted, path, message, "remove one of the two"))
        } else if let Some(Err((path, message, right))) = read_session(reader, (policy, entry), &service) {
            Some((Reason::UnsupportedValue, path, message, right))
        } else {
            None
        };
        let accepted = problem.map(|(reason, path, message, right)| {
            report.error(reason, &path, message.clone(), right);
            (reason, message)
        });
        ancestors.push(ancestor(reader, entry, target, accepted.as_ref()));
    }
    report.findings.dedup();
    let body = StatusBody::Ancestors { ancestors };
    let statuses = vec![ObjectStatus { kind: ObjectKind::XBackendTrafficPolicy, name: name.clone(), body }];
    Some(Output { findings: report.findings, statuses, ..Output::default() })
}
