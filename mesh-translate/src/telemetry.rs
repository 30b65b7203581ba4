//! Policies for telemetry of gateways (`XTelemetryPolicy`). They are refused in status: gateways trace as their proxies
//! are started.

use mesh_model::{FieldPath, ObjectName, Reason};

use super::output::{Output, Report};
use super::reader::Reader;
use super::target::ancestor;
use crate::objects::{Gateway, ObjectKind, XTelemetryPolicy, group};
use crate::status::{ObjectStatus, StatusBody};

/// The status of a policy: one entry per target.
pub(super) fn status(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let (policy, entry) = reader.object::<XTelemetryPolicy>(name)?;
    let mut report = Report::on(&entry.source);
    let message = "tracing by a policy is not supported; gateways trace as their proxies are started";
    report.error(Reason::UnsupportedValue, &FieldPath::from("spec.tracing"), message, "remove it");
    let unsupported = (Reason::UnsupportedValue, message.to_owned());
    let mut ancestors = Vec::new();
    for target in &policy.spec.target_refs {
        let gateway = ObjectName::new(name.namespace.clone(), target.name.as_str());
        let is_gateway = target.group == group::GATEWAY && target.kind == "Gateway";
        let missing = !is_gateway || reader.object::<Gateway>(&gateway).is_none();
        let problem = match missing {
            true => (Reason::TargetNotFound, format!("there is no {} {gateway}", target.kind)),
            false => unsupported.clone(),
        };
        ancestors.push(ancestor(reader, entry, target, Some(&problem)));
    }
    let body = StatusBody::Ancestors { ancestors };
    let statuses = vec![ObjectStatus { kind: ObjectKind::XTelemetryPolicy, name: name.clone(), body }];
    Some(Output { findings: report.findings, statuses, ..Output::default() })
}
