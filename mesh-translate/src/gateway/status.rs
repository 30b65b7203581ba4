//! Statuses of gateways and listener sets, with the routes that attached; and the gateway's own workload.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::{FieldPath, Kind, ObjectName, Reason, Resource, ResourceKey, SpiffeId, Workload};

use super::super::GatewayAddresses;
use super::super::entry::Entry;
use super::super::fact::{Fact, ListenerReport, Setup};
use super::super::node::{Parent, Topic};
use super::super::output::{Output, Report, kind_name};
use super::super::reader::Reader;
use super::super::workload::labels;
use super::{is_nowhere, missing_addresses, setup};
use crate::names::bounded;
use crate::objects::route::DefaultScope;
use crate::objects::{Gateway, ListenerSet, ObjectKind, group};
use crate::provision::{GATEWAY_NAME, account, addresses_assigned};
use crate::status::{Condition, ListenerStatus, ObjectStatus, StatusBody};

pub(in super::super) fn gateway_status(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let (object, entry) = reader.object::<Gateway>(name)?;
    let mut output = Output::default();
    let Some(setup) = setup(reader, name) else { return Some(output) };
    let attached = attached(reader, name);
    let own = |l: &&ListenerReport| matches!(l.owner, Parent::Gateway(_));
    let listeners = setup.listeners.iter().filter(own).map(|l| listener_status(l, &attached)).collect();
    let sets = setup.sets.iter().filter(|(set, refused)| refused.is_none() && set_has_usable(setup, set));
    let mut conditions =
        overall(setup.refused.as_ref(), setup.listeners.iter().filter(own), entry.generation());
    if let Some((reason, message)) = unusable_address(reader, object).filter(|_| setup.refused.is_none()) {
        conditions[1] = Condition::fails("Programmed", reason.as_str(), message, entry.generation());
    }
    let mut listeners: Vec<ListenerStatus> = listeners;
    if setup.refused.is_none() && is_nowhere(reader.settings(), object) {
        let of_listeners = listeners.iter_mut().flat_map(|listener| listener.conditions.iter_mut());
        let all = conditions.iter_mut().chain(of_listeners);
        for condition in all.filter(|condition| condition.kind == "Programmed" && condition.status) {
            let message = "none of the addresses that are asked for can be had";
            *condition = Condition::fails("Programmed", "AddressNotAssigned", message, entry.generation());
        }
    }
    conditions.extend(setup.gateway.iter().cloned());
    // Where there are services, what they have decides.
    if let (GatewayAddresses::Listed(_), Some(missing)) =
        (&reader.settings().gateway_addresses, missing_addresses(reader.settings(), object))
    {
        let some = missing.len() < object.spec.addresses.len();
        conditions.push(addresses_assigned(some, &missing, entry.generation()));
    }
    if object.spec.default_scope == Some(DefaultScope::All) {
        let condition = Condition::holds("DefaultGateway", "DefaultGateway", entry.generation());
        conditions.push(condition.saying("Gateway has default scope All"));
    }
    let attached_listener_sets = u32::try_from(sets.count()).unwrap_or(u32::MAX);
    let body = StatusBody::Gateway { conditions, listeners, attached_listener_sets, addresses: Vec::new() };
    output.statuses.push(ObjectStatus { kind: ObjectKind::Gateway, name: name.clone(), body });
    match workload(reader, object, entry) {
        Ok(workload) => output.resources.push(Resource::Workload(Arc::new(workload))),
        Err(problem) => {
            let mut report = Report::on(&entry.source);
            report.error(Reason::InvalidValue, &FieldPath::from("metadata.name"), problem, "");
            output.findings = report.findings;
        }
    }
    Some(output)
}

/// The workload of a gateway's proxies: account `<gateway>-mesh`, found by the gateway's name.
fn workload(reader: &Reader<'_>, object: &Gateway, entry: &Entry) -> Result<Workload, String> {
    let gateway = entry.name();
    let account = account(&gateway.name);
    let domain = &reader.settings().trust_domain;
    let identity = SpiffeId::for_service_account(domain, &gateway.namespace, &account);
    let mut labels = labels(&object.metadata.labels);
    labels.insert(Arc::from(GATEWAY_NAME), Arc::from(bounded(&gateway.name)));
    let name = ObjectName::new(gateway.namespace, account);
    Ok(Workload {
        key: ResourceKey::local(Kind::Workload, name.clone()),
        source: entry.source.clone(),
        name,
        labels,
        identity: identity.map_err(|error| error.to_string())?,
        addresses: Vec::new(),
        plaintext: mesh_model::Plaintext::default(),
        on_node: None,
        outside: mesh_model::Outside::Allowed,
    })
}

fn unusable_address(reader: &Reader<'_>, object: &Gateway) -> Option<(Reason, String)> {
    let mut values = object.spec.addresses.iter().filter_map(|address| address.value.as_ref());
    let value = values.find(|value| reader.settings().gateway_addresses.lacks(value))?;
    Some((Reason::AddressNotUsable, format!("address {value:?} cannot be assigned to this gateway")))
}

pub(in super::super) fn set_status(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let (object, entry) = reader.object::<ListenerSet>(name)?;
    let mut output = Output::default();
    let parent = &object.spec.parent_ref;
    let gateway =
        ObjectName::new(parent.namespace.as_deref().unwrap_or(&name.namespace), parent.name.as_str());
    let judged = reader.facts(Topic::SetupOfSet(name.clone())).count() > 0;
    let Some(setup) = setup(reader, &gateway).filter(|_| judged) else {
        output.findings = orphan(reader, entry, (&parent.group, &parent.kind), &gateway);
        return Some(output);
    };
    let refused = setup.sets.iter().find(|(set, _)| set == name).and_then(|(_, refused)| refused.as_ref());
    let attached = attached(reader, &gateway);
    let own = |l: &&ListenerReport| matches!(&l.owner, Parent::ListenerSet(set) if set == name);
    let listeners: Vec<_> =
        setup.listeners.iter().filter(own).map(|l| listener_status(l, &attached)).collect();
    let refused = refused.or(setup.refused.as_ref());
    let mut conditions = overall(refused, setup.listeners.iter().filter(own), entry.generation());
    if refused.is_none() && !set_has_usable(setup, name) {
        let message = "no listener of the set can be served";
        let reason = Reason::ListenersNotValid.as_str();
        conditions[1] = Condition::fails("Programmed", reason, message, entry.generation());
        conditions[0] = Condition::fails("Accepted", reason, message, entry.generation());
    }
    let body = StatusBody::ListenerSet { conditions, listeners };
    output.statuses.push(ObjectStatus { kind: ObjectKind::ListenerSet, name: name.clone(), body });
    Some(output)
}

fn orphan(
    reader: &Reader<'_>,
    entry: &Entry,
    (parent_group, kind): (&str, &str),
    gateway: &ObjectName,
) -> Vec<mesh_model::Finding> {
    let mut report = Report::on(&entry.source);
    let path = FieldPath::from("spec.parentRef");
    if parent_group != group::GATEWAY || kind != "Gateway" {
        report.error(
            Reason::InvalidKind,
            &path,
            format!("a {} takes no listener sets", kind_name(parent_group, kind)),
            "name a Gateway",
        );
    } else if reader.entry(ObjectKind::Gateway, gateway).is_none() {
        let names = super::names_in(reader, &gateway.namespace);
        let right = super::did_you_mean(&gateway.name, names);
        report.warning(Reason::NoMatchingParent, &path, format!("there is no Gateway {gateway}"), right);
    }
    report.findings
}

fn set_has_usable(setup: &Setup, set: &ObjectName) -> bool {
    let own = |l: &&ListenerReport| matches!(&l.owner, Parent::ListenerSet(owner) if owner == set);
    setup.listeners.iter().filter(own).any(|listener| listener.programmed)
}

/// Accepted and Programmed of an object with listeners, in this order.
fn overall<'l>(
    refused: Option<&(Reason, String)>,
    listeners: impl Iterator<Item = &'l ListenerReport>,
    generation: Option<i64>,
) -> Vec<Condition> {
    if let Some((reason, message)) = refused {
        let fails = |kind| Condition::fails(kind, reason.as_str(), message.as_str(), generation);
        let programmed = if *reason == Reason::NotAllowed {
            fails("Programmed")
        } else {
            Condition::fails("Programmed", "Invalid", message.as_str(), generation)
        };
        return vec![fails("Accepted"), programmed];
    }
    let all: Vec<_> = listeners.collect();
    let accepted = all.iter().filter(|listener| listener.accepted).count();
    let programmed = all.iter().any(|listener| listener.programmed);
    let not_valid = Reason::ListenersNotValid.as_str();
    let nothing = "no listener is valid";
    let accepted_condition = match accepted {
        n if n == all.len() => Condition::holds("Accepted", "Accepted", generation),
        0 => Condition::fails("Accepted", not_valid, nothing, generation),
        _ => Condition::holds("Accepted", not_valid, generation).saying("some listeners are not valid"),
    };
    let programmed_condition = match (programmed, accepted > 0 || all.is_empty()) {
        (true, _) => Condition::holds("Programmed", "Programmed", generation),
        (false, true) if all.is_empty() => Condition::holds("Programmed", "Programmed", generation),
        (false, _) => Condition::fails("Programmed", "Invalid", "no listener can be served", generation),
    };
    vec![accepted_condition, programmed_condition]
}

/// How many routes each listener of a gateway or its sets accepted.
fn attached(reader: &Reader<'_>, gateway: &ObjectName) -> BTreeMap<ResourceKey, u32> {
    let mut counts = BTreeMap::new();
    for (_, fact) in reader.facts(Topic::Attached(gateway.clone())) {
        let Fact::Attached(keys) = fact else { continue };
        keys.iter().for_each(|key| *counts.entry(key.clone()).or_default() += 1);
    }
    counts
}

fn listener_status(listener: &ListenerReport, attached: &BTreeMap<ResourceKey, u32>) -> ListenerStatus {
    ListenerStatus {
        name: listener.name.clone(),
        attached_routes: attached.get(&listener.key).copied().unwrap_or_default(),
        supported_kinds: listener.supported.clone(),
        conditions: listener.conditions.clone(),
    }
}
