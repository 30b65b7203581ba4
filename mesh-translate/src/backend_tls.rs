//! Policies for TLS towards backends: which one governs a service or one of its ports, and their statuses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_model::tls::{Roots, SubjectAltName};
use mesh_model::{BackendTls, FieldPath, Kind, ObjectName, Origin, Reason, Resource, ResourceKey, SourceRef};

use super::certificate::authorities;
use super::entry::Entry;
use super::fact::Fact;
use super::feature::{Feature, off};
use super::node::{Index, Node, Topic, gateway_reference};
use super::output::{Output, Report, kind_name};
use super::reader::Reader;
use super::suggest::did_you_mean;
use crate::objects::policy::{BackendTlsPolicySpec, BackendTlsValidation, SubjectAltNameType};
use crate::objects::{BackendTlsPolicy, ObjectKind, Service};
use crate::source::Aim;
use crate::status::{Condition, ObjectStatus, ParentStatus, StatusBody};

/// A problem with its words.
type Problem = (Reason, String);

/// Decides between the policies of a service: the older wins; one for a port stands beside one for the whole.
pub(super) fn of_service(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let mut policies = reader.members::<BackendTlsPolicy>(Index::TlsPolicies(name.clone()));
    let service = reader.service(name);
    // A service that is not there is not reached in any case.
    let refused = service.and_then(|_| reader.refused_tls_policy(name));
    if policies.is_empty() && refused.is_none() {
        // Nothing yet: what was read is remembered for the day on which a policy cannot be read.
        return service.map(|_| Output::default());
    }
    policies.sort_by_key(|(_, entry)| entry.seniority());
    let mut output = Output::default();
    let mut holders: BTreeMap<Option<&str>, ObjectName> = BTreeMap::new();
    for (policy, entry) in policies {
        let mut verdict = None;
        let list = FieldPath::from("spec.targetRefs");
        for (n, target) in policy.spec.target_refs.iter().enumerate() {
            if !(target.group.is_empty() && target.kind == "Service" && *target.name == *name.name) {
                continue;
            }
            let section = target.section_name.as_deref();
            let mut report = Report::on(&entry.source);
            let outcome = match holders.get(&section) {
                Some(holder) => Err((
                    Reason::Conflicted,
                    format!("policy {holder} is older and has the same target"),
                    String::new(),
                )),
                None => port_of(name, service, section),
            };
            match outcome {
                Ok(port) => {
                    holders.insert(section, entry.name());
                    let resource = resource(reader, (policy, entry), name, port);
                    output.resources.push(Resource::BackendTls(Arc::new(resource)));
                }
                Err((reason, message, right)) => {
                    report.error(reason, &list.index(n), message.clone(), right);
                    verdict = verdict.or(Some((reason, message)));
                }
            }
            output.findings.append(&mut report.findings);
        }
        // One node speaks once on a topic, so that policy and service are both part of it.
        output.facts.insert(Topic::TlsPolicy(entry.name()), Fact::TlsPolicy(verdict));
    }
    if let (Some(refused), false) = (refused, holders.contains_key(&None)) {
        refuse(name, refused, &mut output);
    }
    Some(output)
}

/// What stands for a policy that cannot be read: a service that it protects, or may protect, and that has no other
/// policy is not dialled.
fn refuse(service: &ObjectName, (policy, aim): (&ObjectName, &Aim), output: &mut Output) {
    let source = SourceRef::new("BackendTLSPolicy", policy.clone(), Origin::Builtin);
    let mut report = Report::on(&source);
    let closed = match aim {
        Some(_) => "no service that it names".to_owned(),
        None => format!("no service of namespace {}", policy.namespace),
    };
    let message = format!("the policy cannot be read, so {closed} is reached without another policy");
    report.error(Reason::PolicyPending, &FieldPath::root(), message, "correct or remove it");
    output.findings.append(&mut report.findings);
    output.resources.push(Resource::BackendTls(Arc::new(BackendTls {
        key: ResourceKey::local_part(Kind::BackendTls, policy.clone(), &*service.name),
        source,
        service: service.clone(),
        port: None,
        hostname: Arc::clone(&service.name),
        names: Vec::new(),
        roots: Roots::None,
        client: None,
    })));
}

type Refusal = (Reason, String, String);

fn port_of(
    name: &ObjectName,
    service: Option<&Service>,
    section: Option<&str>,
) -> Result<Option<u16>, Refusal> {
    let Some(service) = service else {
        return Err((Reason::BackendNotFound, format!("there is no Service {name}"), String::new()));
    };
    let Some(section) = section else { return Ok(None) };
    let named = |port: &&crate::objects::service::ServicePort| port.name.as_deref() == Some(section);
    let found = service.spec.ports.iter().find(named);
    found.map(|port| Some(port.port)).ok_or_else(|| {
        let names: Vec<&str> = service.spec.ports.iter().filter_map(|port| port.name.as_deref()).collect();
        let message = format!("Service {name} has no port named {section:?}");
        (Reason::BackendNotFound, message, did_you_mean(section, names))
    })
}

fn resource(
    reader: &Reader<'_>,
    (policy, entry): (&BackendTlsPolicy, &Entry),
    service: &ObjectName,
    port: Option<u16>,
) -> BackendTls {
    let validation = &policy.spec.validation;
    let part = port.map_or_else(|| service.name.to_string(), |port| format!("{}/{port}", service.name));
    let Trust { roots, .. } = trust(reader, &policy.spec, entry.namespace());
    BackendTls {
        key: ResourceKey::local_part(Kind::BackendTls, entry.name(), part),
        source: entry.source.clone(),
        service: service.clone(),
        port,
        hostname: Arc::from(validation.hostname.as_str()),
        names: names(validation),
        roots,
        client: None,
    }
}

/// The names of which one must be in the certificate.
pub(super) fn names(validation: &BackendTlsValidation) -> Vec<SubjectAltName> {
    let names = validation.subject_alt_names.iter().filter_map(|name| match name.kind {
        SubjectAltNameType::Hostname => name.hostname.as_deref().map(|h| SubjectAltName::Dns(Arc::from(h))),
        SubjectAltNameType::Uri => name.uri.as_deref().map(|uri| SubjectAltName::Uri(Arc::from(uri))),
    });
    names.collect()
}

/// The roots of a policy, with what is wrong about its references. No usable root means that every connection
/// fails.
pub(super) struct Trust {
    pub(super) roots: Roots,
    pub(super) problems: Vec<(FieldPath, Problem)>,
}

/// What is said of a policy without a usable root.
pub(super) fn no_root(roots: &Roots) -> Option<Problem> {
    let message = "no CA certificate can be used, so every connection fails";
    (*roots == Roots::None).then(|| (Reason::NoValidCACertificate, message.to_owned()))
}

fn trust(reader: &Reader<'_>, spec: &BackendTlsPolicySpec, namespace: &str) -> Trust {
    let path = FieldPath::from("spec.validation");
    let names = (!spec.validation.subject_alt_names.is_empty()).then_some(Feature::BackendTlsPolicySan);
    let mut needed = names.into_iter().chain([Feature::BackendTlsPolicy]);
    if let Some(feature) = needed.find(|feature| !reader.settings().has(*feature)) {
        let problems = vec![(path, (Reason::UnsupportedValue, off(feature)))];
        return Trust { roots: Roots::None, problems };
    }
    issuers(reader, &spec.validation, &path, namespace)
}

/// The roots that a validation at this field asks for.
pub(super) fn issuers(
    reader: &Reader<'_>,
    validation: &BackendTlsValidation,
    path: &FieldPath,
    namespace: &str,
) -> Trust {
    let mut problems = Vec::new();
    if let Some(known) = &validation.well_known_ca_certificates {
        if known == "System" {
            return Trust { roots: Roots::System, problems };
        }
        let message = format!("there is no known set of issuers {known:?}, only System");
        problems.push((path.field("wellKnownCACertificates"), (Reason::UnsupportedValue, message)));
        return Trust { roots: Roots::None, problems };
    }
    let mut bundle = Vec::new();
    for (n, reference) in validation.ca_certificate_refs.iter().enumerate() {
        let path = path.field("caCertificateRefs").index(n);
        let kind = (reference.group.as_str(), reference.kind.as_str());
        match authorities(reader, kind, (namespace, &reference.name)) {
            None => {
                let message =
                    format!("a {} holds no CA certificates, a ConfigMap does", kind_name(kind.0, kind.1));
                problems.push((path, (Reason::InvalidKind, message)));
            }
            Some(Ok(found)) => bundle.extend(found),
            Some(Err(problem)) => problems.push((path, (Reason::InvalidCACertificateRef, problem))),
        }
    }
    Trust { roots: if bundle.is_empty() { Roots::None } else { Roots::Bundle(bundle) }, problems }
}

/// The status of a policy: one entry per gateway that uses one of its services.
pub(super) fn policy_status(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let (policy, entry) = reader.object::<BackendTlsPolicy>(name)?;
    let mut report = Report::on(&entry.source);
    let Trust { roots, problems } = trust(reader, &policy.spec, entry.namespace());
    for (path, (reason, message)) in &problems {
        report.error(*reason, path, message.clone(), "name a ConfigMap of this namespace with ca.crt in PEM");
    }
    check_targets(policy, &mut report);
    let unresolved = problems.into_iter().next().map(|(_, problem)| problem);
    let conflict = reader.facts(Topic::TlsPolicy(name.clone())).find_map(|(_, fact)| match fact {
        Fact::TlsPolicy(verdict) => verdict.clone(),
        _ => None,
    });
    let accepted = no_root(&roots).or(conflict);
    let conditions = vec![
        Condition::unless("Accepted", accepted.as_ref(), entry.generation()),
        Condition::unless("ResolvedRefs", unresolved.as_ref(), entry.generation()),
    ];
    let ancestors: Vec<_> = users(reader, policy, entry)
        .into_iter()
        .map(|gateway| ParentStatus {
            parent_ref: gateway_reference(&gateway),
            controller_name: reader.settings().controller_name.clone(),
            conditions: conditions.clone(),
        })
        .collect();
    let mut output = Output { findings: report.findings, ..Output::default() };
    if !ancestors.is_empty() {
        let body = StatusBody::Ancestors { ancestors };
        output.statuses.push(ObjectStatus { kind: ObjectKind::BackendTlsPolicy, name: name.clone(), body });
    }
    Some(output)
}

fn check_targets(policy: &BackendTlsPolicy, report: &mut Report) {
    if !policy.spec.options.is_empty() {
        report.unsupported(&FieldPath::from("spec.options"), "an option");
    }
    let list = FieldPath::from("spec.targetRefs");
    for (n, target) in policy.spec.target_refs.iter().enumerate() {
        if !(target.group.is_empty() && target.kind == "Service") {
            let message =
                format!("TLS towards a {} cannot be governed", kind_name(&target.group, &target.kind));
            report.error(Reason::InvalidKind, &list.index(n).field("kind"), message, "name a Service");
        }
    }
}

/// Gateways that use a service of the policy.
fn users(reader: &Reader<'_>, policy: &BackendTlsPolicy, entry: &Entry) -> Vec<ObjectName> {
    let mut gateways = BTreeSet::new();
    for target in &policy.spec.target_refs {
        let service = ObjectName::new(entry.namespace(), target.name.as_str());
        gateways.extend(users_of(reader, service));
    }
    gateways.into_iter().collect()
}

/// Gateways that use one service or backend.
pub(super) fn users_of(reader: &Reader<'_>, service: ObjectName) -> BTreeSet<ObjectName> {
    let users = reader.facts(Topic::Users(service)).filter_map(|(node, fact)| match (node, fact) {
        (Node::Listeners(_) | Node::Route(_), Fact::Users(users)) => Some(users),
        _ => None,
    });
    users.flatten().cloned().collect()
}
