//! A request's whole way, before it is sent: the rule that serves it, and what each workload it may reach
//! would say. Pure; it makes the decisions of the live proxies with the same functions.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Method};
use serde::Serialize;

use super::authorize::explain_authorization;
use super::decision::{Authorization, Decision};
use super::route::{Place, Routed, explain_route, route_request};
use crate::authority::Authority;
use crate::backend::{Target, Transport};
use crate::facts::{ConnectionFacts, RequestHead};
use crate::filter::{Filter, HeaderEdit};
use crate::identity::SpiffeId;
use crate::matcher::PathMatch;
use crate::mesh::{Candidate, Mesh};
use crate::name::ObjectName;

/// A request's whole way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Journey {
    /// The decision on the client's side or at the gateway.
    pub decision: Decision,
    /// What the workloads behind its backends decide, each once.
    pub destinations: Vec<Authorization>,
}

/// Follows a request from a place. `client` is the identity that destinations see.
pub fn explain_journey(
    mesh: &Mesh,
    place: Place<'_>,
    client: Option<&SpiffeId>,
    head: &RequestHead<'_>,
) -> Journey {
    let decision = explain_route(mesh, place, head);
    let mut destinations = Vec::new();
    match route_request(mesh, place, head) {
        Routed::Refused { .. } => {}
        Routed::Service { service, port } => {
            let sent = Sent::unchanged(head);
            destinations.extend(at_service(mesh, &service.name, port, client, &sent));
        }
        Routed::Rule(candidate) if decision.status.is_none() => {
            for backend in candidate.rule().backends.iter().filter(|backend| backend.weight > 0) {
                let Target::Service { service, port } = &backend.target else { continue };
                let sent = Sent::by(&candidate, &backend.filters, head);
                destinations.extend(at_service(mesh, service, *port, client, &sent));
            }
        }
        Routed::Rule(_) => {}
    }
    destinations.dedup();
    Journey { decision, destinations }
}

/// The head as the destination sees it.
struct Sent {
    method: Method,
    authority: Authority,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

impl Sent {
    fn unchanged(head: &RequestHead<'_>) -> Self {
        Self {
            method: head.method.clone(),
            authority: head.authority.clone(),
            path: head.path.to_owned(),
            query: head.query.map(str::to_owned),
            headers: head.headers.clone(),
        }
    }

    fn by(candidate: &Candidate, more: &[Filter], head: &RequestHead<'_>) -> Self {
        let mut sent = Self::unchanged(head);
        let matched =
            if let PathMatch::Prefix(prefix) = &candidate.alternative().path { &**prefix } else { "" };
        for filter in candidate.rule().filters.iter().chain(more) {
            match filter {
                Filter::RequestHeaders(edit) => edit.apply(&mut sent.headers),
                Filter::Rewrite(rewrite) => {
                    if let Some(path) = &rewrite.path {
                        sent.path = path.apply(&sent.path, matched);
                    }
                    let host = rewrite.hostname.as_ref().and_then(|host| host.parse().ok());
                    sent.authority = host.unwrap_or(sent.authority);
                }
                // What an authorization service adds is known only when it is asked.
                Filter::Cors(_)
                | Filter::ExternalAuth(_)
                | Filter::Mirror(_)
                | Filter::Redirect(_)
                | Filter::ResponseHeaders(_) => {}
            }
        }
        sent
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            authority: &self.authority,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
        }
    }
}

impl HeaderEdit {
    /// Carries the edit out: set, then add, then remove.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for line in &self.set {
            headers.insert(line.name.clone(), line.value.clone());
        }
        for line in &self.add {
            headers.append(line.name.clone(), line.value.clone());
        }
        for name in &self.remove {
            headers.remove(&name.0);
        }
    }
}

fn at_service(
    mesh: &Mesh,
    service: &ObjectName,
    port: u16,
    client: Option<&SpiffeId>,
    sent: &Sent,
) -> Vec<Authorization> {
    let Some(endpoints) = mesh.endpoints(service, Transport::Tcp, port) else { return Vec::new() };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for endpoint in endpoints.all().filter(|endpoint| seen.insert(Arc::clone(&endpoint.workload))) {
        let name = ObjectName::new(Arc::clone(&service.namespace), Arc::clone(&endpoint.workload));
        let Some(workload) = mesh.workload(&name) else { continue };
        let facts = ConnectionFacts {
            source: endpoint.address.ip(),
            destination: endpoint.address,
            peer: client.cloned(),
            sni: None,
        };
        found.push(explain_authorization(workload, &mesh.policies_for(workload), &facts, Some(&sent.head())));
    }
    found
}

impl fmt::Display for Journey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.decision.fmt(f)?;
        self.destinations.iter().try_for_each(|destination| destination.fmt(f))
    }
}
