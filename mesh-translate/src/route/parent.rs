//! Where a route may attach: each parent reference judged by itself. Other routes play no part yet.

use mesh_model::{
    Attachment, FieldPath, HostPattern, ListenerProtocol, ObjectName, Reason, RouteKind, Transport,
};

use super::super::entry::Entry;
use super::super::fact::{Claim, Fact, ListenerView, Named, ParentVerdict, Place};
use super::super::feature::{Feature, off};
use super::super::gateway;
use super::super::node::{Index, Parent, RouteName, Topic, gateway_reference, listener_parent};
use super::super::output::{Output, Report, kind_name};
use super::super::reader::Reader;
use super::super::service::{has_address, transport};
use super::super::suggest::did_you_mean;
use crate::objects::listener::RouteFrom;
use crate::objects::{Gateway, ParentReference, Service, group};

/// As many parents as the status of a route has room for.
const MOST_PARENTS: usize = 32;

/// A refusal: the reason, a sentence, and what would be right.
type Refusal = (Reason, String, String);

pub(in super::super) fn parents(reader: &Reader<'_>, name: &RouteName) -> Option<Output> {
    let entry = reader.entry(name.object_kind(), &name.name)?;
    let mut output = Output::default();
    let mut report = Report::on(&entry.source);
    let mut verdicts = Vec::new();
    for (index, reference) in super::parent_refs(&entry.object).iter().enumerate() {
        let named = Named::InPlace(index);
        let judged = match listener_parent(reference, entry.namespace()) {
            Some(parent) => judge_listeners(reader, (name, entry), reference, &parent),
            None if is_core(&reference.group) && reference.kind == "Service" => {
                Some(judge_service(reader, name, reference))
            }
            None => Some(Err(unknown_kind(reference))),
        };
        let Some(judged) = judged else {
            missing_parent(reader, entry, reference, &super::field(&named), &mut report);
            continue;
        };
        let mesh = reference.kind == "Service";
        let unknown = matches!(&judged, Err((Reason::InvalidKind, ..)));
        let places = judged.map_err(|(reason, message, right)| {
            report.error(reason, &super::field(&named), message.clone(), right);
            (reason, message)
        });
        if !unknown {
            verdicts.push(ParentVerdict { named, mesh, places });
        }
    }
    by_default(reader, (name, entry), &mut verdicts, &mut report);
    claim(name, entry, &verdicts, &mut output);
    output.facts.insert(Topic::Parents(name.clone()), Fact::Parents(verdicts));
    output.findings = report.findings;
    Some(output)
}

/// Judges the gateways that take routes which name none, as if the route named them (GEP-3793).
fn by_default(
    reader: &Reader<'_>,
    (name, entry): (&RouteName, &Entry),
    verdicts: &mut Vec<ParentVerdict>,
    report: &mut Report,
) {
    if !super::uses_default_gateways(&entry.object) {
        return;
    }
    let written: Vec<_> =
        super::parent_refs(&entry.object).iter().map(|r| explicit(r, entry.namespace())).collect();
    for (_, gateway) in reader.members::<Gateway>(Index::DefaultGateways) {
        let gateway = gateway.name();
        let reference = gateway_reference(&gateway);
        // One that is named as a whole is judged already, and a status has room for so many.
        if written.contains(&reference) || verdicts.len() >= MOST_PARENTS {
            continue;
        }
        let parent = Parent::Gateway(gateway.clone());
        let Some(judged) = judge_listeners(reader, (name, entry), &reference, &parent) else { continue };
        let named = Named::ByDefault(gateway.clone());
        let places = judged.map_err(|(reason, message, right)| {
            let message = format!("default Gateway {gateway}: {message}");
            report.warning(reason, &super::field(&named), message.clone(), right);
            (reason, message)
        });
        verdicts.push(ParentVerdict { named, mesh: false, places });
    }
}

fn is_core(group: &str) -> bool {
    group.is_empty() || group == "core"
}

fn unknown_kind(reference: &ParentReference) -> Refusal {
    let message = format!("a {} takes no routes", kind_name(&reference.group, &reference.kind));
    (Reason::InvalidKind, message, "name a Gateway, a ListenerSet or a Service".to_owned())
}

/// A parent that is not ours. When it does not exist at all, that is worth saying.
fn missing_parent(
    reader: &Reader<'_>,
    entry: &Entry,
    reference: &ParentReference,
    path: &FieldPath,
    report: &mut Report,
) {
    let Some(parent) = listener_parent(reference, entry.namespace()) else { return };
    if gateway::exists(reader, &parent) {
        return;
    }
    let (Parent::Gateway(wanted) | Parent::ListenerSet(wanted)) = &parent;
    let message = format!("there is no {} {wanted}", reference.kind);
    let right = match parent {
        Parent::Gateway(_) => did_you_mean(&wanted.name, gateway::names_in(reader, &wanted.namespace)),
        Parent::ListenerSet(_) => String::new(),
    };
    report.warning(Reason::NoMatchingParent, path, message, right);
}

/// `None` when the parent is not ours.
fn judge_listeners(
    reader: &Reader<'_>,
    (name, entry): (&RouteName, &Entry),
    reference: &ParentReference,
    parent: &Parent,
) -> Option<Result<Vec<Place>, Refusal>> {
    let found = reader.facts(Topic::Listeners(parent.clone())).find_map(|(_, fact)| match fact {
        Fact::Listeners(views) => Some(views),
        _ => None,
    });
    Some(attach(reader, (name, entry), reference, (parent, found?)))
}

fn attach(
    reader: &Reader<'_>,
    (name, entry): (&RouteName, &Entry),
    reference: &ParentReference,
    (parent, views): (&Parent, &[ListenerView]),
) -> Result<Vec<Place>, Refusal> {
    let port_features = [Feature::DestinationPort, Feature::ParentRefPort];
    let missing = port_features.into_iter().find(|feature| !reader.settings().has(*feature));
    if let (Some(feature), Some(_), RouteKind::Http) = (missing, reference.port, name.kind) {
        return Err((Reason::UnsupportedValue, off(feature), "name the listener".to_owned()));
    }
    let section = |view: &&ListenerView| reference.section_name.as_ref().is_none_or(|s| *s == view.name);
    let port = |view: &&ListenerView| reference.port.is_none_or(|port| port == view.port);
    let named: Vec<_> = views.iter().filter(section).filter(port).collect();
    if named.is_empty() {
        return Err(no_listener(reference, views));
    }
    let kind = |view: &&&ListenerView| view.accepted && view.kinds.contains(&name.kind);
    let space = |view: &&&ListenerView| admits(reader, view, parent, entry.namespace());
    let admitting: Vec<_> = named.iter().filter(kind).filter(space).collect();
    if admitting.is_empty() {
        let list: Vec<&str> = named.iter().map(|view| view.name.as_str()).collect();
        let (kind, namespace) = (name.kind.as_str(), entry.namespace());
        let message = format!("listener {} takes no {kind} from namespace {namespace}", list.join(", "));
        let right = "set allowedRoutes on the listener, or name another listener".to_owned();
        return Err((Reason::NotAllowedByListeners, message, right));
    }
    let own = super::hosts(&entry.object);
    let written = !super::hostnames(&entry.object).is_empty();
    let mut places = Vec::new();
    for view in &admitting {
        let shared = shared_hosts(name.kind, view, &own, written);
        if let Some(hosts) = shared {
            let attachment = Attachment::Listener(view.key.clone());
            places.push(Place { attachment, gateway: Some(view.gateway.clone()), hosts });
        }
    }
    if places.is_empty() {
        let message = "no hostname of the route is served by a listener of the parent".to_owned();
        let served: Vec<String> = admitting.iter().map(|view| view.hostname.to_string()).collect();
        let right = format!("the listeners serve {}", served.join(", "));
        return Err((Reason::NoMatchingListenerHostname, message, right));
    }
    Ok(places)
}

fn no_listener(reference: &ParentReference, views: &[ListenerView]) -> Refusal {
    let names = views.iter().map(|view| view.name.as_str());
    let (message, right) = match (&reference.section_name, reference.port) {
        (Some(section), None) => {
            (format!("the parent has no listener named {section:?}"), did_you_mean(section, names))
        }
        (Some(section), Some(port)) => {
            let message = format!("the parent has no listener named {section:?} on port {port}");
            let elsewhere = views.iter().find(|view| view.name == *section);
            let right = elsewhere.map(|view| format!("{section:?} is on port {}", view.port));
            (message, right.unwrap_or_else(|| did_you_mean(section, names)))
        }
        (None, Some(port)) => {
            let ports: Vec<String> = views.iter().map(|view| view.port.to_string()).collect();
            (
                format!("the parent has no listener on port {port}"),
                format!("its ports are {}", ports.join(", ")),
            )
        }
        (None, None) => ("the parent has no listener".to_owned(), String::new()),
    };
    (Reason::NoMatchingParent, message, right)
}

fn admits(reader: &Reader<'_>, view: &ListenerView, parent: &Parent, namespace: &str) -> bool {
    let (Parent::Gateway(owner) | Parent::ListenerSet(owner)) = parent;
    match view.namespaces.from {
        RouteFrom::All => true,
        RouteFrom::Same => *owner.namespace == *namespace,
        RouteFrom::Selector => {
            let selector = view.namespaces.selector.as_ref();
            selector.is_some_and(|selector| selector.matches(&reader.namespace_labels(namespace)))
        }
    }
}

/// The hosts that route and listener share; `None` when there are none.
fn shared_hosts(
    kind: RouteKind,
    view: &ListenerView,
    own: &[HostPattern],
    written: bool,
) -> Option<Vec<HostPattern>> {
    let l4 = matches!(kind, RouteKind::Tcp | RouteKind::Udp);
    if l4 || !written || matches!(view.protocol, Some(ListenerProtocol::Tcp | ListenerProtocol::Udp)) {
        return Some(vec![view.hostname.clone()]);
    }
    let shared: Vec<_> = own.iter().filter_map(|host| host.intersect(&view.hostname)).collect();
    (!shared.is_empty()).then_some(shared)
}

fn judge_service(
    reader: &Reader<'_>,
    name: &RouteName,
    reference: &ParentReference,
) -> Result<Vec<Place>, Refusal> {
    let namespace = reference.namespace.as_deref().unwrap_or(&name.name.namespace);
    let wanted = ObjectName::new(namespace, reference.name.as_str());
    let no_parent = |message: String, right: String| Err((Reason::NoMatchingParent, message, right));
    let Some(service) = reader.service(&wanted) else {
        let services = reader.members::<Service>(Index::Services(namespace.to_owned()));
        let names: Vec<&str> = services.iter().filter_map(|(s, _)| s.metadata.name.as_deref()).collect();
        return no_parent(format!("there is no Service {wanted}"), did_you_mean(&wanted.name, names));
    };
    if !has_address(service) {
        let message = format!("Service {wanted} has no virtual address, so no route can act on it");
        return no_parent(message, "remove clusterIP: None, or type: ExternalName".to_owned());
    }
    let wanted_transport = if name.kind == RouteKind::Udp { Transport::Udp } else { Transport::Tcp };
    let carries =
        |port: &&crate::objects::service::ServicePort| transport(port.protocol) == Some(wanted_transport);
    let ports: Vec<_> = service.spec.ports.iter().filter(carries).collect();
    let port = match (&reference.section_name, reference.port) {
        (None, None) if ports.is_empty() => {
            return no_parent(
                format!("Service {wanted} has no port for a {}", name.kind.as_str()),
                String::new(),
            );
        }
        (None, None) => None,
        (section, number) => {
            let named = |p: &&&crate::objects::service::ServicePort| {
                section.as_ref().is_none_or(|s| p.name.as_ref() == Some(s))
                    && number.is_none_or(|n| p.port == n)
            };
            let Some(found) = ports.iter().find(named) else {
                let list: Vec<String> = ports.iter().map(|p| p.port.to_string()).collect();
                let message = format!("Service {wanted} has no such port");
                return no_parent(message, format!("its ports are {}", list.join(", ")));
            };
            Some(found.port)
        }
    };
    let attachment = Attachment::Service { service: wanted, port };
    Ok(vec![Place { attachment, gateway: None, hosts: Vec::new() }])
}

/// Says what the route wants, for the nodes that decide between routes of different kinds.
fn claim(name: &RouteName, entry: &Entry, verdicts: &[ParentVerdict], output: &mut Output) {
    for place in verdicts.iter().filter_map(|verdict| verdict.places.as_ref().ok()).flatten() {
        let topic = match (&place.attachment, &place.gateway) {
            (Attachment::Service { service, .. }, _) => Topic::ServiceClaims(service.clone()),
            (_, Some(gateway)) if name.kind.is_http() => Topic::GatewayClaims(gateway.clone(), name.kind),
            _ => continue,
        };
        let empty = || Fact::Claim(Claim { seniority: entry.seniority(), places: Vec::new() });
        if let Fact::Claim(claim) = output.facts.entry(topic).or_insert_with(empty) {
            claim.places.push(place.clone());
        }
    }
}

/// The group of what a reference names, as conditions spell it.
pub(super) fn explicit(reference: &ParentReference, namespace: &str) -> ParentReference {
    let mut reference = reference.clone();
    if reference.group == "core" {
        reference.group = group::CORE.to_owned();
    }
    reference.namespace.get_or_insert_with(|| namespace.to_owned());
    reference
}
