//! Routes of all kinds: where they attach, what they lose to others, and their rules.

mod auth;
mod backend;
mod filter;
mod kinds;
mod matching;
mod parent;
mod rules;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_model::backend::Target;
use mesh_model::filter::Filter;
use mesh_model::{
    Attachment, FieldPath, HostPattern, Kind, ObjectName, Reason, Resource, ResourceKey, Route, RouteKind,
    Rule, Transport,
};

use super::entry::Entry;
use super::fact::{Fact, Loss, Named, ParentVerdict};
use super::feature::Feature;
use super::node::{RouteName, Topic, gateway_reference};
use super::output::{Output, Report};
use super::reader::Reader;
use super::service::transport;
use super::xbackend;
use crate::objects::{Object, ParentReference, Service};

use backend::Side;
use parent::explicit;
use rules::Rules;

pub(super) use auth::{Asked, before_routes};
pub(super) use backend::reference;
pub(super) use kinds::{gateway_kinds, service_kinds};
pub(super) use parent::parents;

/// The reference by which a route names a parent, written out.
fn parent_reference(entry: &Entry, named: &Named) -> ParentReference {
    match named {
        Named::ByDefault(gateway) => gateway_reference(gateway),
        Named::InPlace(index) => explicit(&parent_refs(&entry.object)[*index], entry.namespace()),
    }
}

/// The field that names a parent.
fn field(named: &Named) -> FieldPath {
    match named {
        Named::ByDefault(_) => FieldPath::from("spec.useDefaultGateways"),
        Named::InPlace(index) => FieldPath::from("spec.parentRefs").index(*index),
    }
}

/// Parent references of a route of any kind.
fn parent_refs(object: &Object) -> &[ParentReference] {
    match object {
        Object::GrpcRoute(route) => &route.spec.parent_refs,
        Object::HttpRoute(route) => &route.spec.parent_refs,
        Object::TcpRoute(route) => &route.spec.parent_refs,
        Object::TlsRoute(route) => &route.spec.parent_refs,
        Object::UdpRoute(route) => &route.spec.parent_refs,
        _ => &[],
    }
}

/// Hostnames of a route as written.
fn hostnames(object: &Object) -> &[String] {
    match object {
        Object::GrpcRoute(route) => &route.spec.hostnames,
        Object::HttpRoute(route) => &route.spec.hostnames,
        Object::TlsRoute(route) => &route.spec.hostnames,
        _ => &[],
    }
}

/// The hostnames that decide precedence: the route's own, or what listeners leave of them.
fn in_force(reader: &Reader<'_>, entry: &Entry, verdicts: &[ParentVerdict]) -> Vec<HostPattern> {
    if reader.settings().has(Feature::OwnHostnamePrecedence) {
        return hosts(&entry.object);
    }
    let places = verdicts.iter().filter_map(|verdict| verdict.places.as_ref().ok()).flatten();
    let shared: BTreeSet<HostPattern> = places.flat_map(|place| place.hosts.iter().cloned()).collect();
    shared.into_iter().collect()
}

/// Hostnames that can be read.
fn hosts(object: &Object) -> Vec<HostPattern> {
    hostnames(object).iter().filter_map(|text| text.parse().ok()).collect()
}

pub(super) fn route(reader: &Reader<'_>, name: &RouteName) -> Option<Output> {
    let entry = reader.entry(name.object_kind(), &name.name)?;
    let mut output = Output::default();
    let mut report = Report::on(&entry.source);
    let verdicts = verdicts(reader, name);
    let losses = losses(reader, name);
    let attached = attachments(reader, (name, entry), verdicts, &losses);
    check_hostnames(entry, &mut report);
    let mut groups = Groups::default();
    let mut outcome = rules::Outcome::default();
    for item in &attached {
        let side = Side::of(item);
        let rules = groups.rules_for(side, |side| {
            let mut parsed = Rules::new(reader, entry, side);
            let rules = parsed.read();
            outcome.merge(parsed.outcome);
            rules
        });
        groups.put(item.clone(), rules);
    }
    if attached.is_empty() {
        let mut parsed = Rules::new(reader, entry, &Side::Gateway);
        parsed.read();
        outcome.merge(parsed.outcome);
    }
    for finding in std::mem::take(&mut outcome.findings) {
        if !report.findings.contains(&finding) {
            report.findings.push(finding);
        }
    }
    status::report_losses(verdicts, (&losses, &attached), &mut report);
    if outcome.rejected.is_none() {
        let services = groups.services().into_iter().chain(outcome.mentioned.clone()).collect();
        publish(name, verdicts, (&attached, services), &mut output);
    }
    output.statuses = status::of_route(reader, (name, entry), (verdicts, &losses, &attached), &outcome);
    let hostnames = in_force(reader, entry, verdicts);
    if outcome.rejected.is_none() {
        output.resources = groups.into_resources(name, entry, &hostnames);
    }
    output.findings = report.findings;
    Some(output)
}

fn verdicts<'a>(reader: &Reader<'a>, name: &RouteName) -> &'a [ParentVerdict] {
    let found = reader.facts(Topic::Parents(name.clone())).find_map(|(_, fact)| match fact {
        Fact::Parents(verdicts) => Some(verdicts.as_slice()),
        _ => None,
    });
    found.unwrap_or_default()
}

fn losses(reader: &Reader<'_>, name: &RouteName) -> Vec<Loss> {
    let facts = reader.facts(Topic::Lost(name.clone()));
    let lost = facts.filter_map(|(_, fact)| if let Fact::Lost(losses) = fact { Some(losses) } else { None });
    lost.flatten().cloned().collect()
}

fn attachments(
    reader: &Reader<'_>,
    (name, entry): (&RouteName, &Entry),
    verdicts: &[ParentVerdict],
    losses: &[Loss],
) -> Vec<Attachment> {
    let udp = name.kind == RouteKind::Udp;
    let per_port = rules::lacks_backends(&entry.object);
    let ports = |service: &ObjectName| {
        reader.service(service).map(|service| service_ports(service, udp)).unwrap_or_default()
    };
    let mut attached = Vec::new();
    for verdict in verdicts {
        let places = verdict.places.as_deref().unwrap_or_default();
        for attachment in
            places.iter().flat_map(|place| remaining(&place.attachment, losses, per_port, ports))
        {
            if !attached.contains(&attachment) {
                attached.push(attachment);
            }
        }
    }
    attached
}

/// What is left of an attachment. One to all ports of a service becomes one per port when some are lost, or
/// when what a rule does depends on the port.
fn remaining(
    attachment: &Attachment,
    losses: &[Loss],
    per_port: bool,
    ports: impl Fn(&ObjectName) -> Vec<u16>,
) -> Vec<Attachment> {
    if losses.iter().any(|loss| loss.attachment == *attachment) {
        return Vec::new();
    }
    let Attachment::Service { service, port: None } = attachment else { return vec![attachment.clone()] };
    let of_service = |loss: &Loss| match &loss.attachment {
        Attachment::Service { service: lost, port: Some(port) } if lost == service => Some(*port),
        _ => None,
    };
    let lost: BTreeSet<u16> = losses.iter().filter_map(of_service).collect();
    if lost.is_empty() && !per_port {
        return vec![attachment.clone()];
    }
    let kept = ports(service).into_iter().filter(|port| !lost.contains(port));
    kept.map(|port| Attachment::Service { service: service.clone(), port: Some(port) }).collect()
}

/// The ports of a service that a route can act on.
fn service_ports(service: &Service, udp: bool) -> Vec<u16> {
    let wanted = if udp { Transport::Udp } else { Transport::Tcp };
    let ports = service.spec.ports.iter().filter(|port| transport(port.protocol) == Some(wanted));
    ports.map(|port| port.port).collect()
}

fn check_hostnames(entry: &Entry, report: &mut Report) {
    let list = FieldPath::from("spec.hostnames");
    for (n, text) in hostnames(&entry.object).iter().enumerate() {
        if let Err(error) = text.parse::<HostPattern>() {
            report.error(
                Reason::InvalidValue,
                &list.index(n),
                format!("{text:?}: {error}"),
                "write a DNS name",
            );
        }
    }
}

/// Whether a route goes to gateways that it does not name (GEP-3793).
fn uses_default_gateways(object: &Object) -> bool {
    use crate::objects::route::DefaultScope;
    let scope = match object {
        Object::GrpcRoute(route) => route.spec.use_default_gateways,
        Object::HttpRoute(route) => route.spec.use_default_gateways,
        Object::TcpRoute(route) => route.spec.use_default_gateways,
        Object::TlsRoute(route) => route.spec.use_default_gateways,
        Object::UdpRoute(route) => route.spec.use_default_gateways,
        _ => None,
    };
    scope == Some(DefaultScope::All)
}

/// Tells gateways which listeners took the route, and services which gateways use them.
fn publish(
    name: &RouteName,
    verdicts: &[ParentVerdict],
    (attached, services): (&[Attachment], BTreeSet<ObjectName>),
    output: &mut Output,
) {
    let mut gateways = BTreeSet::new();
    for place in verdicts.iter().filter_map(|v| v.places.as_ref().ok()).flatten() {
        let (Some(gateway), Attachment::Listener(key)) = (&place.gateway, &place.attachment) else {
            continue;
        };
        if !attached.contains(&place.attachment) {
            continue;
        }
        gateways.insert(gateway.clone());
        let topic = Topic::Attached(gateway.clone());
        let slot = output.facts.entry(topic).or_insert_with(|| Fact::Attached(Vec::new()));
        if let Fact::Attached(keys) = slot
            && !keys.contains(key)
        {
            keys.push(key.clone());
        }
    }
    if gateways.is_empty() {
        return;
    }
    // Policies for TLS are not about datagrams.
    let wanted = |service: &ObjectName| name.kind != RouteKind::Udp || xbackend::is_backend(service);
    for service in services.into_iter().filter(wanted) {
        let users = gateways.iter().cloned().collect();
        output.facts.insert(Topic::Users(service), Fact::Users(users));
    }
}

/// Attachments that share their rules, so that one object yields few resources.
#[derive(Default)]
struct Groups {
    read: Vec<(Side, Arc<[Rule]>)>,
    all: Vec<(Vec<Attachment>, Arc<[Rule]>)>,
}

impl Groups {
    fn rules_for(&mut self, side: Side, read: impl FnOnce(&Side) -> Vec<Rule>) -> Arc<[Rule]> {
        if let Some((_, rules)) = self.read.iter().find(|(known, _)| *known == side) {
            return Arc::clone(rules);
        }
        let rules: Arc<[Rule]> = Arc::from(read(&side));
        self.read.push((side, Arc::clone(&rules)));
        rules
    }

    fn put(&mut self, attachment: Attachment, rules: Arc<[Rule]>) {
        match self.all.iter_mut().find(|(_, known)| *known == rules) {
            Some((attachments, _)) => attachments.push(attachment),
            None => self.all.push((vec![attachment], rules)),
        }
    }

    /// Every service that a rule may send requests to.
    fn services(&self) -> BTreeSet<ObjectName> {
        let rules = self.all.iter().flat_map(|(_, rules)| rules.iter());
        let targets = rules.flat_map(|rule| {
            let of_backends = rule.backends.iter().flat_map(|backend| &backend.filters);
            let others = rule.filters.iter().chain(of_backends).filter_map(|f| match f {
                Filter::ExternalAuth(auth) => Some(&auth.target),
                Filter::Mirror(mirror) => Some(&mirror.target),
                _ => None,
            });
            rule.backends.iter().map(|b| &b.target).chain(others)
        });
        let service = |target: &Target| match target {
            Target::Service { service, .. } => Some(service.clone()),
            Target::Invalid { .. } => None,
        };
        targets.filter_map(service).collect()
    }

    fn into_resources(self, name: &RouteName, entry: &Entry, hostnames: &[HostPattern]) -> Vec<Resource> {
        let mut resources = Vec::new();
        for (n, (attachments, rules)) in self.all.into_iter().enumerate() {
            let route = Route {
                key: key(name, (n > 0).then(|| &attachments[0])),
                source: entry.source.clone(),
                kind: name.kind,
                created: entry.created(),
                attachments,
                hostnames: hostnames.to_vec(),
                rules: rules.to_vec(),
                held: false,
            };
            resources.push(Resource::Route(Arc::new(route)));
        }
        resources
    }
}

/// The key of a route. Kinds other than HTTPRoute, which may share its name, have their own part; so has a
/// variant for one place.
fn key(name: &RouteName, variant: Option<&Attachment>) -> ResourceKey {
    let place = variant.map(|attachment| match attachment {
        Attachment::Listener(listener) => listener.to_string(),
        Attachment::Service { service, port: None } => service.to_string(),
        Attachment::Service { service, port: Some(port) } => format!("{service}/{port}"),
    });
    match (name.kind, place) {
        (RouteKind::Http, None) => ResourceKey::local(Kind::Route, name.name.clone()),
        (kind, None) => ResourceKey::local_part(Kind::Route, name.name.clone(), kind.as_str()),
        (kind, Some(place)) => {
            ResourceKey::local_part(Kind::Route, name.name.clone(), format!("{}/{place}", kind.as_str()))
        }
    }
}
