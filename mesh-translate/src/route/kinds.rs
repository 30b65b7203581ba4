//! Routes of different kinds that want the same hostname of a listener, or the same port of a service: one
//! kind applies (Gateway API, GRPCRoute; GEP-1294).

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::{Attachment, ObjectName, Reason, RouteKind};

use super::super::fact::{Claim, Fact, Loss, Place};
use super::super::node::{Node, RouteName, Topic};
use super::super::output::Output;
use super::super::reader::Reader;
use crate::objects::{Gateway, Service};

/// Decides between HTTPRoutes and GRPCRoutes of a gateway: the older wins where hostnames meet.
pub(in super::super) fn gateway_kinds(reader: &Reader<'_>, gateway: &ObjectName) -> Option<Output> {
    reader.object::<Gateway>(gateway)?;
    let mut output = Output::default();
    let grpc = claims(reader, Topic::GatewayClaims(gateway.clone(), RouteKind::Grpc));
    if grpc.is_empty() {
        return Some(output);
    }
    let http = claims(reader, Topic::GatewayClaims(gateway.clone(), RouteKind::Http));
    let mut all: Vec<_> = grpc.into_iter().chain(http).collect();
    all.sort_by(|a, b| a.1.seniority.cmp(&b.1.seniority).then_with(|| a.0.cmp(b.0)));
    let mut held: BTreeMap<&Attachment, Vec<(&RouteName, &Place)>> = BTreeMap::new();
    for (route, claim) in all {
        let mut losses = Vec::new();
        for place in &claim.places {
            let others = held.entry(&place.attachment).or_default();
            match others.iter().find(|(other, held)| other.kind != route.kind && meet(held, place)) {
                Some((holder, _)) => losses.push(Loss {
                    attachment: place.attachment.clone(),
                    reason: Reason::HostnameConflict,
                    message: format!("{holder} is older and serves the hostname on this listener"),
                }),
                None => others.push((route, place)),
            }
        }
        if !losses.is_empty() {
            output.facts.insert(Topic::Lost(route.clone()), Fact::Lost(losses));
        }
    }
    Some(output)
}

fn meet(a: &Place, b: &Place) -> bool {
    a.hosts.iter().any(|x| b.hosts.iter().any(|y| x.intersect(y).is_some()))
}

/// Decides between route kinds on each port of a service: the kind that sees most of the traffic wins.
/// Producer and consumer namespaces are decided apart.
pub(in super::super) fn service_kinds(reader: &Reader<'_>, service: &ObjectName) -> Option<Output> {
    let ports = super::service_ports(reader.object::<Service>(service)?.0, false);
    let claims = claims(reader, Topic::ServiceClaims(service.clone()));
    let mut best: BTreeMap<(Arc<str>, u16), (u8, &RouteName)> = BTreeMap::new();
    for (route, claim) in claims.iter().filter(|(route, _)| route.kind != RouteKind::Udp) {
        for port in claimed(claim, &ports) {
            let slot = best.entry((route.name.namespace.clone(), port)).or_insert((rank(route.kind), *route));
            if rank(route.kind) < slot.0 {
                *slot = (rank(route.kind), *route);
            }
        }
    }
    let mut output = Output::default();
    for (route, claim) in claims.iter().filter(|(route, _)| route.kind != RouteKind::Udp) {
        let mut losses = Vec::new();
        for port in claimed(claim, &ports) {
            let (winner, holder) = best[&(route.name.namespace.clone(), port)];
            if winner < rank(route.kind) {
                let attachment = Attachment::Service { service: service.clone(), port: Some(port) };
                let message = format!("{holder} governs port {port} of the service");
                losses.push(Loss { attachment, reason: Reason::Conflicted, message });
            }
        }
        if !losses.is_empty() {
            output.facts.insert(Topic::Lost((*route).clone()), Fact::Lost(losses));
        }
    }
    Some(output)
}

fn claimed(claim: &Claim, ports: &[u16]) -> Vec<u16> {
    let of = |place: &Place| match &place.attachment {
        Attachment::Service { port: Some(port), .. } => vec![*port],
        Attachment::Service { port: None, .. } => ports.to_vec(),
        Attachment::Listener(_) => Vec::new(),
    };
    let mut all: Vec<u16> = claim.places.iter().flat_map(of).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn rank(kind: RouteKind) -> u8 {
    match kind {
        RouteKind::Grpc => 0,
        RouteKind::Http => 1,
        RouteKind::Tls => 2,
        RouteKind::Tcp => 3,
        RouteKind::Udp => 4,
    }
}

fn claims<'a>(reader: &Reader<'a>, topic: Topic) -> Vec<(&'a RouteName, &'a Claim)> {
    let claims = reader.facts(topic).filter_map(|(node, fact)| match (node, fact) {
        (Node::Parents(route), Fact::Claim(claim)) => Some((route, claim)),
        _ => None,
    });
    claims.collect()
}
