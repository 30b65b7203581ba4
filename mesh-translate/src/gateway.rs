//! Listeners of a gateway and of the listener sets that attach to it, decided together.

mod conflict;
mod filters;
mod frontend;
mod listener;
mod set;
mod status;
mod tls;

use std::sync::Arc;

use mesh_model::{FieldPath, Finding, Kind, Listener, ObjectName, Reason, Resource, ResourceKey};

use super::class::{self, Owner};
use super::entry::Entry;
use super::fact::{Fact, Setup};
use super::feature::{Feature, off};
use super::node::{Index, Node, Parent, Topic};
use super::output::{Output, Report, kind_name};
use super::reader::Reader;
use super::suggest::did_you_mean;
use super::telemetry;
use super::{GatewayAddresses, Settings};
use crate::objects::listener::GatewayAddress;
use crate::objects::{Gateway, ObjectKind};
use crate::provision::{asks_for_scopes, describe, is_satisfiable};
use crate::status::Condition;

use listener::Draft;

pub(super) use status::{gateway_status, set_status};
pub(super) use tls::{From, certificate_secret};

/// Findings about a gateway and its sets, kept apart by object.
struct Findings {
    all: Vec<Finding>,
}

impl Findings {
    fn take(&mut self, report: Report) {
        self.all.extend(report.findings);
    }
}

pub(super) fn listeners(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let (object, entry) = reader.object::<Gateway>(name)?;
    let mut output = Output::default();
    let mut report = Report::on(&entry.source);
    if !is_ours(reader, object, &mut report) {
        output.findings = report.findings;
        return Some(output);
    }
    let mut findings = Findings { all: Vec::new() };
    let refused = switched_off(reader.settings(), object, &mut report);
    let refused = refused.or(check_gateway(reader, object, &mut report));
    let mut drafts = Vec::new();
    for (n, listener) in object.spec.listeners.iter().enumerate() {
        let path = FieldPath::from("spec.listeners").index(n);
        let owner = Parent::Gateway(name.clone());
        drafts.push(Draft::read(reader, listener, (owner, entry), path));
    }
    let sets = set::admitted(reader, object, entry, &mut drafts, &mut findings);
    conflict::decide(reader.settings(), &mut drafts);
    let frontend = frontend::apply(reader, object, entry, &mut drafts, &mut report);
    let (resolved, shown) = backend_certificate(reader, object, entry, &mut report);
    let mut conditions = vec![resolved];
    let tracing = telemetry::tracing(reader, name);
    for draft in &mut drafts {
        draft.backend_certificate.clone_from(&shown);
        draft.tracing.clone_from(&tracing);
    }
    conditions.extend(frontend);
    findings.take(report);
    for draft in &mut drafts {
        findings.all.append(&mut draft.report.findings);
    }
    output.findings = findings.all;
    let usable = refused.is_none() && !is_nowhere(reader.settings(), object);
    publish(name, &drafts, usable, &mut output);
    for (set, _) in &sets {
        output.facts.insert(Topic::SetupOfSet(set.clone()), Fact::SetupOfSet(name.clone()));
    }
    let listeners = drafts.iter().map(|draft| draft.report_for_status(entry.generation())).collect();
    let setup = Setup { gateway: conditions, refused, listeners, sets };
    output.facts.insert(Topic::Setup(name.clone()), Fact::Setup(Arc::new(setup)));
    Some(output)
}

/// What routes see, and the resources of usable listeners with the certificates they show.
fn publish(gateway: &ObjectName, drafts: &[Draft<'_>], usable: bool, output: &mut Output) {
    output.facts.insert(Topic::Listeners(Parent::Gateway(gateway.clone())), Fact::Listeners(Vec::new()));
    for draft in drafts {
        let topic = Topic::Listeners(draft.owner.clone());
        let slot = output.facts.entry(topic).or_insert_with(|| Fact::Listeners(Vec::new()));
        if let Fact::Listeners(views) = slot {
            views.push(draft.view(gateway));
        }
        let Some(listener) = draft.resource(gateway).filter(|_| usable) else { continue };
        for service in filters::services(draft) {
            output.facts.insert(Topic::Users(service), Fact::Users(vec![gateway.clone()]));
        }
        for secret in certificates(&listener) {
            output.facts.insert(Topic::Wanted(secret), Fact::Wanted);
        }
        output.resources.push(Resource::Listener(Arc::new(listener)));
    }
}

fn certificates(listener: &Listener) -> Vec<ObjectName> {
    let served = match &listener.tls {
        Some(mesh_model::ListenerTls::Terminate { certificates, .. }) => certificates.as_slice(),
        _ => &[],
    };
    served.iter().chain(&listener.backend_certificate).map(|key| key.object.clone()).collect()
}

fn is_ours(reader: &Reader<'_>, object: &Gateway, report: &mut Report) -> bool {
    let class = &object.spec.gateway_class_name;
    let owner = class::owner(reader, class);
    if owner == Owner::Nobody {
        let builtin = reader.settings().builtin_classes.iter().map(String::as_str);
        let message = format!("there is no GatewayClass {class:?}, so nobody serves the gateway");
        let path = FieldPath::from("spec.gatewayClassName");
        report.warning(Reason::Pending, &path, message, did_you_mean(class, builtin));
    }
    owner == Owner::Ours
}

/// What the gateway asks for that needs a feature that is off.
fn switched_off(settings: &Settings, object: &Gateway, report: &mut Report) -> Option<(Reason, String)> {
    let spec = &object.spec;
    let address = |given: bool| spec.addresses.iter().any(|address| address.value.is_some() == given);
    let needed = [
        (Feature::Gateway, true, "spec", Reason::UnsupportedValue),
        (Feature::GatewayAddressEmpty, address(false), "spec.addresses", Reason::UnsupportedAddress),
        (Feature::StaticAddresses, address(true), "spec.addresses", Reason::UnsupportedAddress),
        (
            Feature::Infrastructure,
            spec.infrastructure.is_some(),
            "spec.infrastructure",
            Reason::InvalidParameters,
        ),
    ];
    let mut missing = needed.into_iter().filter(|(feature, needed, ..)| *needed && !settings.has(*feature));
    let (feature, _, path, reason) = missing.next()?;
    report.error(reason, &FieldPath::from(path), off(feature), "remove it");
    Some((reason, off(feature)))
}

/// Problems of the gateway as a whole: then none of its listeners is in force.
fn check_gateway(reader: &Reader<'_>, object: &Gateway, report: &mut Report) -> Option<(Reason, String)> {
    let mut refused = check_parameters(reader, object, report);
    for (n, address) in object.spec.addresses.iter().enumerate() {
        let path = FieldPath::from("spec.addresses").index(n);
        if reader.settings().gateway_addresses.refuses(&address.kind) {
            let message = format!("address type {:?} is not supported", address.kind);
            report.error(Reason::UnsupportedAddress, &path.field("type"), message.clone(), "use IPAddress");
            refused = refused.or(Some((Reason::UnsupportedAddress, message)));
        }
        if asks_for_scopes(object) && !has_address(reader.settings(), address) {
            let message = format!("{} cannot be had here", describe(n, address));
            report.error(Reason::AddressNotUsable, &path.field("routability"), message, "leave it out");
            continue;
        }
        if let Some(value) = address.value.as_ref().filter(|v| reader.settings().gateway_addresses.lacks(v)) {
            let message = format!("address {value:?} cannot be assigned to this gateway");
            report.error(Reason::AddressNotUsable, &path.field("value"), message, "leave the value out");
        }
    }
    refused
}

/// Whether an entry for an address may be satisfied, as far as is known here.
fn has_address(settings: &Settings, address: &GatewayAddress) -> bool {
    match &settings.gateway_addresses {
        GatewayAddresses::OfService => is_satisfiable(address),
        // Nothing here belongs to a cluster.
        GatewayAddresses::Listed(listed) => {
            address.routability.as_ref().is_none_or(String::is_empty)
                && address.value.as_ref().is_none_or(|value| listed.contains(value))
        }
    }
}

/// Entries for addresses that cannot be satisfied, of a gateway that asks from where it is reached (GEP-5093).
fn missing_addresses(settings: &Settings, object: &Gateway) -> Option<Vec<String>> {
    let entries = object.spec.addresses.iter().enumerate();
    let missing = entries.filter(|(_, entry)| !has_address(settings, entry)).map(|(n, e)| describe(n, e));
    asks_for_scopes(object).then(|| missing.collect())
}

/// Whether no address can be had that the gateway asks for: then it is not served at any.
fn is_nowhere(settings: &Settings, object: &Gateway) -> bool {
    missing_addresses(settings, object).is_some_and(|missing| missing.len() == object.spec.addresses.len())
}

/// Settings must be there before anything is made of them.
fn check_parameters(reader: &Reader<'_>, object: &Gateway, report: &mut Report) -> Option<(Reason, String)> {
    let infrastructure = object.spec.infrastructure.as_ref();
    let reference = infrastructure.and_then(|i| i.parameters_ref.as_ref())?;
    let kind = ObjectKind::GatewayParameters;
    let (message, right) =
        if (reference.group.as_str(), reference.kind.as_str()) != (kind.group(), kind.as_str()) {
            let found = kind_name(&reference.group, &reference.kind);
            (format!("{found} holds no parameters of gateways"), "name a gateway.mesh.io/GatewayParameters")
        } else {
            let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
            let name = ObjectName::new(namespace, reference.name.as_str());
            if reader.entry(kind, &name).is_some() {
                return None;
            }
            (format!("there is no GatewayParameters {name}"), "create it, or remove the reference")
        };
    let path = FieldPath::from("spec.infrastructure.parametersRef");
    report.error(Reason::InvalidParameters, &path, message.clone(), right);
    Some((Reason::InvalidParameters, message))
}

/// The certificate that the gateway shows to backends, and whether the reference to it leads somewhere
/// (GEP-3155). Without a usable one none is shown: backends that ask for one refuse.
fn backend_certificate(
    reader: &Reader<'_>,
    object: &Gateway,
    entry: &Entry,
    report: &mut Report,
) -> (Condition, Option<ResourceKey>) {
    let backend = object.spec.tls.as_ref().and_then(|tls| tls.backend.as_ref());
    let Some(reference) = backend.and_then(|b| b.client_certificate_ref.as_ref()) else {
        return (Condition::holds("ResolvedRefs", "ResolvedRefs", entry.generation()), None);
    };
    let path = FieldPath::from("spec.tls.backend.clientCertificateRef");
    if !reader.settings().has(Feature::BackendClientCertificate) {
        let problem = (Reason::InvalidClientCertificateRef, off(Feature::BackendClientCertificate));
        report.error(problem.0, &path, problem.1.clone(), "remove the reference");
        return (Condition::unless("ResolvedRefs", Some(&problem), entry.generation()), None);
    }
    let from = tls::From { kind: ObjectKind::Gateway, entry };
    let (problem, shown) = match tls::certificate_secret(reader, reference, &from) {
        Ok(secret) => (None, Some(ResourceKey::local(Kind::Certificate, secret))),
        Err((Reason::RefNotPermitted, message)) => {
            report.error(Reason::RefNotPermitted, &path, message.clone(), "add a ReferenceGrant there");
            (Some((Reason::RefNotPermitted, message)), None)
        }
        Err((_, message)) => {
            let reason = Reason::InvalidClientCertificateRef;
            report.error(reason, &path, message.clone(), "name a Secret with tls.crt and tls.key in PEM");
            (Some((reason, message)), None)
        }
    };
    (Condition::unless("ResolvedRefs", problem.as_ref(), entry.generation()), shown)
}

/// Gateways of a namespace, for suggestions.
pub(super) fn names_in<'a>(reader: &Reader<'a>, namespace: &str) -> Vec<&'a str> {
    let gateways = reader.members::<Gateway>(Index::Gateways(namespace.to_owned()));
    gateways.iter().filter_map(|(gateway, _)| gateway.metadata.name.as_deref()).collect()
}

/// Whether an object with listeners exists at all.
pub(super) fn exists(reader: &Reader<'_>, parent: &Parent) -> bool {
    match parent {
        Parent::Gateway(name) => reader.entry(ObjectKind::Gateway, name).is_some(),
        Parent::ListenerSet(name) => reader.entry(ObjectKind::ListenerSet, name).is_some(),
    }
}

/// The setup that the listeners of a gateway published.
fn setup<'a>(reader: &Reader<'a>, gateway: &ObjectName) -> Option<&'a Setup> {
    let node = Node::Listeners(gateway.clone());
    reader.facts(Topic::Setup(gateway.clone())).find_map(|(by, fact)| match fact {
        Fact::Setup(setup) if *by == node => Some(&**setup),
        _ => None,
    })
}
