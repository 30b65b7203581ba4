//! Policies for telemetry of gateways (`XTelemetryPolicy`, GEP-4768): which one governs a gateway, how its requests are then
//! traced, and the statuses.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use mesh_model::filter::{HeaderKey, HeaderLine};
use mesh_model::tracing::{Parents, Property, Recording, Share, SpanAttribute, SpanValue, Tracing};
use mesh_model::{FieldPath, Finding, ObjectName, Reason};

use super::entry::Entry;
use super::node::Index;
use super::output::{Output, Report, kind_name};
use super::reader::Reader;
use super::route::reference;
use super::target::ancestor;
use crate::objects::experimental::{
    AttributeSource, SpanAttribute as WrittenAttribute, TelemetryMode, Tracing as Written,
};
use crate::objects::route::Fraction;
use crate::objects::{Gateway, ObjectKind, XTelemetryPolicy, group};
use crate::status::{Condition, ObjectStatus, StatusBody};

/// The first word of the keys of request headers (GEP-5253).
const HEADER_KEY: &str = "http.request.header.";

/// The oldest policy of a gateway.
fn holder<'a>(reader: &Reader<'a>, gateway: &ObjectName) -> Option<(&'a XTelemetryPolicy, &'a Entry)> {
    let policies = reader.members::<XTelemetryPolicy>(Index::TelemetryPolicies(gateway.clone()));
    policies.into_iter().min_by_key(|(_, entry)| entry.seniority())
}

/// How requests at a gateway are traced; `None` where nothing is said, so that its proxies do as they were started.
pub(super) fn tracing(reader: &Reader<'_>, gateway: &ObjectName) -> Option<Arc<Tracing>> {
    let (policy, entry) = holder(reader, gateway)?;
    let written = policy.spec.tracing.as_ref()?;
    let recording = match written.mode {
        TelemetryMode::ImplementationDefault => return None,
        TelemetryMode::Disabled => None,
        TelemetryMode::Enabled => read(reader, entry, written).recording(gateway),
    };
    Some(Arc::new(Tracing { source: entry.source.clone(), recording }))
}

/// What a policy asks for, and what is wrong with it.
struct Read {
    /// Without the name of the service, which may be the gateway's.
    recording: Option<Recording>,
    service_name: Option<Arc<str>>,
    findings: Vec<Finding>,
    unresolved: Option<(Reason, String)>,
    invalid: Option<(Reason, String)>,
}

impl Read {
    fn recording(self, gateway: &ObjectName) -> Option<Recording> {
        let own = || Arc::from(format!("{}.{}", gateway.name, gateway.namespace));
        let service_name = self.service_name.unwrap_or_else(own);
        self.recording.map(|recording| Recording { service_name, ..recording })
    }
}

fn read(reader: &Reader<'_>, entry: &Entry, written: &Written) -> Read {
    let path = FieldPath::from("spec.tracing");
    let mut report = Report::on(&entry.source);
    let mut invalid = None;
    let mut found = Read {
        recording: None,
        service_name: written.service_name.as_deref().map(Arc::from),
        findings: Vec::new(),
        unresolved: None,
        invalid: None,
    };
    let Some(provider) = &written.provider else { return found };
    let at = path.field("provider");
    let (receiver, outcome) = reference(reader, entry, &provider.backend_ref, &at.field("backendRef"));
    report.findings.extend(outcome.0);
    found.unresolved = outcome.1;
    let mut headers = Vec::new();
    for (n, header) in provider.headers.iter().enumerate() {
        match (HeaderName::try_from(&header.name), HeaderValue::try_from(&header.value)) {
            (Ok(name), Ok(value)) => headers.push(HeaderLine { name, value }),
            _ => {
                let message = format!("{:?} is no header, or its value is none", header.name);
                let at = at.field("headers").index(n);
                report.error(Reason::InvalidValue, &at, message.clone(), "use printable ASCII");
                invalid.get_or_insert((Reason::UnsupportedValue, message));
            }
        }
    }
    let parents =
        match written.parent_based_sampling.as_ref().map(|parents| (parents.mode, &parents.sampling_rate)) {
            Some((TelemetryMode::Disabled, _)) => Parents::Ignored,
            Some((_, Some(rate))) => Parents::Respected(share(rate)),
            Some((_, None)) | None => Parents::Respected(Share::ALL),
        };
    let list = path.field("attributes");
    let attributes = written.attributes.iter().enumerate();
    let attributes = attributes.filter_map(|(n, written)| attribute(written, &list.index(n), &mut report));
    found.recording = Some(Recording {
        receiver,
        headers,
        sampling: written.sampling_rate.as_ref().map_or(Share::ALL, share),
        parents,
        service_name: Arc::from(""),
        span_name: written.span_name.as_deref().map(Arc::from),
        attributes: attributes.collect(),
    });
    found.findings = report.findings;
    found.invalid = invalid;
    found
}

fn share(written: &Fraction) -> Share {
    let denominator = written.denominator.max(1);
    Share { numerator: written.numerator.min(denominator), denominator }
}

/// One attribute. One that is not known here is left out, as the dictionary asks, and it is said.
fn attribute(written: &WrittenAttribute, path: &FieldPath, report: &mut Report) -> Option<SpanAttribute> {
    let header = |name: &str| HeaderName::try_from(name).ok().map(|name| SpanValue::Header(HeaderKey(name)));
    let (value, field) = match written.source_type {
        AttributeSource::Header => (header(written.header_name.as_deref()?), "headerName"),
        AttributeSource::Literal => {
            (written.literal_value.as_deref().map(|text| SpanValue::Literal(Arc::from(text))), "literalValue")
        }
        AttributeSource::Attribute => {
            let key = written.attribute_key.as_deref()?;
            let value = match (key, key.strip_prefix(HEADER_KEY)) {
                ("user_agent.original", _) => header("user-agent"),
                (_, Some(name)) => header(name),
                (key, None) => key.parse::<Property>().ok().map(SpanValue::Property),
            };
            (value, "attributeKey")
        }
    };
    if value.is_none() {
        let message = format!("the attribute {:?} has no value here, so spans are without it", written.name);
        report.warning(Reason::UnsupportedValue, &path.field(field), message, "use an attribute of requests");
    }
    value.map(|value| SpanAttribute { name: Arc::from(written.name.as_str()), value })
}

/// The status of a policy: one entry per target.
pub(super) fn status(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let (policy, entry) = reader.object::<XTelemetryPolicy>(name)?;
    let mut report = Report::on(&entry.source);
    let written = policy.spec.tracing.as_ref().filter(|written| written.mode == TelemetryMode::Enabled);
    let found = written.map(|written| read(reader, entry, written));
    let list = FieldPath::from("spec.targetRefs");
    let mut ancestors = Vec::new();
    for (n, target) in policy.spec.target_refs.iter().enumerate() {
        let gateway = ObjectName::new(name.namespace.clone(), target.name.as_str());
        let is_gateway = target.group == group::GATEWAY && target.kind == "Gateway";
        let holder = if is_gateway { holder(reader, &gateway) } else { None };
        let kind = kind_name(&target.group, &target.kind);
        let problem = if !is_gateway {
            Some((Reason::InvalidKind, format!("requests at a {kind} cannot be traced"), "name a Gateway"))
        } else if reader.object::<Gateway>(&gateway).is_none() {
            Some((Reason::TargetNotFound, format!("there is no Gateway {gateway}"), ""))
        } else if let Some((_, older)) = holder.filter(|(_, older)| older.name() != *name) {
            let message = format!("policy {} is older and has the same target", older.name());
            Some((Reason::Conflicted, message, "remove one of the two"))
        } else {
            None
        };
        let problem = problem.map(|(reason, message, right)| {
            report.error(reason, &list.index(n), message.clone(), right);
            (reason, message)
        });
        let accepted = problem.or_else(|| found.as_ref()?.invalid.clone());
        let mut ancestor = ancestor(reader, entry, target, accepted.as_ref());
        if let Some(found) = &found {
            let resolved = Condition::unless("ResolvedRefs", found.unresolved.as_ref(), entry.generation());
            ancestor.conditions.push(resolved);
        }
        ancestors.push(ancestor);
    }
    report.findings.extend(found.into_iter().flat_map(|found| found.findings));
    let body = StatusBody::Ancestors { ancestors };
    let statuses = vec![ObjectStatus { kind: ObjectKind::XTelemetryPolicy, name: name.clone(), body }];
    Some(Output { findings: report.findings, statuses, ..Output::default() })
}
