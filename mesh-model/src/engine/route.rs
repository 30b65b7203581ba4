//! Choosing the rule of a request or connection.

use std::sync::Arc;

use super::decision::{BackendShare, Decision, PassedOver, RouteRef};
use super::query;
use crate::backend::{Service, Target, Transport};
use crate::facts::RequestHead;
use crate::filter::ExternalAuth;
use crate::finding::Reason;
use crate::hostname::HostPattern;
use crate::listener::Listener;
use crate::matcher::{Match, header_value};
use crate::mesh::{Candidate, Mesh, RouteTable};
use crate::name::ObjectName;

/// Most rules that an explanation lists as passed over.
const MAX_PASSED_OVER: usize = 64;

/// Where a request or connection is decided.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// At a gateway's port. `sni` is the server name of a connection whose TLS ended here; an empty text when
    /// the client sent none.
    Gateway {
        /// The gateway.
        gateway: &'a ObjectName,
        /// The listener port.
        port: u16,
        /// The server name, on HTTPS and TLS listeners.
        sni: Option<&'a str>,
    },
    /// On the client's side of a service.
    Service {
        /// The service that the client dialled.
        service: &'a Arc<Service>,
        /// The port that the client dialled.
        port: u16,
        /// The client's namespace.
        client_namespace: &'a str,
    },
}

/// What was decided.
#[derive(Debug, Clone)]
pub enum Routed {
    /// Nothing serves it: answer with this status, or close.
    Refused {
        /// The status of the answer.
        status: u16,
        /// Why.
        reason: Reason,
    },
    /// This rule serves it.
    Rule(Candidate),
    /// No route is in force: the service's own endpoints serve it.
    Service {
        /// The service.
        service: Arc<Service>,
        /// The port.
        port: u16,
    },
}

const NO_ROUTE: Routed = Routed::Refused { status: 404, reason: Reason::NoRoute };
const NO_RULE: Routed = Routed::Refused { status: 404, reason: Reason::NoRule };
const MISDIRECTED: Routed = Routed::Refused { status: 421, reason: Reason::Misdirected };
const HELD: Routed = Routed::Refused { status: 503, reason: Reason::PolicyPending };

/// Chooses the rule of a request.
pub fn route_request(mesh: &Mesh, place: Place<'_>, head: &RequestHead<'_>) -> Routed {
    match place {
        Place::Gateway { gateway, port, sni } => {
            let listeners = mesh.listeners(gateway, Transport::Tcp, port);
            match tables_for(listeners, head.authority.host(), sni) {
                Tables::None => NO_ROUTE,
                Tables::One(listener) => {
                    let Some(table) = mesh.listener_routes(&listener.key) else { return NO_ROUTE };
                    let missing = if table.serves(head.authority.host()) { NO_RULE } else { NO_ROUTE };
                    table.find(head).map_or(missing, chosen)
                }
                Tables::Misdirected => MISDIRECTED,
                Tables::CatchAll(listener) => {
                    let found = mesh.listener_routes(&listener.key).and_then(|table| table.find(head));
                    found.map_or(MISDIRECTED, chosen)
                }
            }
        }
        Place::Service { service, port, client_namespace } => {
            let tables = mesh.service_routes(&service.name, port, client_namespace);
            match tables.iter().find_map(|table| table.find(head)) {
                Some(candidate) => chosen(candidate),
                None if tables.is_empty() => Routed::Service { service: Arc::clone(service), port },
                None => NO_RULE,
            }
        }
    }
}

/// What a request must pass before its rule is chosen: the filters of the listener that its connection and host lead to
/// (GEP-5224). A request that is served by none passes nothing.
pub fn listener_filters<'m>(mesh: &'m Mesh, place: Place<'_>, head: &RequestHead<'_>) -> &'m [ExternalAuth] {
    let Place::Gateway { gateway, port, sni } = place else { return &[] };
    if !mesh.has_listener_filters() {
        return &[];
    }
    match tables_for(mesh.listeners(gateway, Transport::Tcp, port), head.authority.host(), sni) {
        Tables::CatchAll(listener) | Tables::One(listener) => &listener.filters,
        Tables::Misdirected | Tables::None => &[],
    }
}

/// Chooses the rule of a connection whose requests are not looked at: TLS by server name, TCP, UDP.
pub fn route_connection(mesh: &Mesh, place: Place<'_>, transport: Transport) -> Routed {
    match place {
        Place::Gateway { gateway, port, sni } => {
            let host = sni.unwrap_or_default();
            let listeners = mesh.listeners(gateway, transport, port);
            let listener = listeners.iter().find(|listener| listener.hostname.matches(host));
            let table = listener.and_then(|listener| mesh.listener_routes(&listener.key));
            table.and_then(|table| table.find_connection(host)).map_or(NO_ROUTE, chosen)
        }
        Place::Service { service, port, client_namespace } => {
            let tables = mesh.service_routes(&service.name, port, client_namespace);
            let found = tables.iter().find_map(|table| table.find_connection(""));
            found.map_or_else(|| Routed::Service { service: Arc::clone(service), port }, chosen)
        }
    }
}

fn chosen(candidate: &Candidate) -> Routed {
    if candidate.route().held { HELD } else { Routed::Rule(candidate.clone()) }
}

/// Which listener's routes a request may use.
enum Tables<'m> {
    /// The connection belongs to this catch-all listener, the host to another: only a rule of the catch-all
    /// may serve the request, else it is misdirected (RFC 9110, section 15.5.20).
    CatchAll(&'m Arc<Listener>),
    /// Connection and host belong to different listeners.
    Misdirected,
    /// No listener serves the host.
    None,
    /// This one.
    One(&'m Arc<Listener>),
}

fn tables_for<'m>(listeners: &'m [Arc<Listener>], host: &str, sni: Option<&str>) -> Tables<'m> {
    let serving = |name: &str| listeners.iter().find(|listener| listener.hostname.matches(name));
    let by_host = serving(host);
    let Some(sni) = sni else { return by_host.map_or(Tables::None, Tables::One) };
    match (serving(sni), by_host) {
        (None, _) => Tables::None,
        (Some(connection), Some(wanted)) if connection.key == wanted.key => Tables::One(connection),
        (Some(connection), _) if connection.hostname == HostPattern::Any => Tables::CatchAll(connection),
        (Some(_), _) => Tables::Misdirected,
    }
}

/// Decides as [`route_request`] does and says why the other rules were passed over.
pub fn explain_route(mesh: &Mesh, place: Place<'_>, head: &RequestHead<'_>) -> Decision {
    let routed = route_request(mesh, place, head);
    let host = head.authority.host();
    let mut decision = Decision::new(head);
    let tables: Vec<&RouteTable> = match place {
        Place::Gateway { gateway, port, sni } => {
            let listeners = mesh.listeners(gateway, Transport::Tcp, port);
            let listener = listeners.iter().find(|l| l.hostname.matches(sni.unwrap_or(host)));
            decision.listener = listener.map(|l| l.source.to_string());
            listener.and_then(|l| mesh.listener_routes(&l.key)).into_iter().collect()
        }
        Place::Service { service, port, client_namespace } => {
            decision.service = Some(format!("{}:{port}", service.name));
            mesh.service_routes(&service.name, port, client_namespace)
        }
    };
    let winner = if let Routed::Rule(candidate) = &routed { Some(candidate) } else { None };
    for candidate in tables.iter().flat_map(|table| table.rules(host)) {
        if winner.is_some_and(|w| same(w, candidate)) || decision.passed_over.len() == MAX_PASSED_OVER {
            continue;
        }
        let because = miss(candidate.alternative(), head)
            .unwrap_or_else(|| "matches too, but comes after the chosen rule in precedence".to_owned());
        decision.passed_over.push(PassedOver { route: RouteRef::of(candidate), because });
    }
    decide(&mut decision, &routed);
    decision.precede(listener_filters(mesh, place, head));
    of_services(mesh, &mut decision, &routed);
    decision
}

fn same(a: &Candidate, b: &Candidate) -> bool {
    a.rule_index() == b.rule_index()
        && a.alternative_index() == b.alternative_index()
        && a.route().key == b.route().key
}

fn decide(decision: &mut Decision, routed: &Routed) {
    match routed {
        Routed::Refused { status, reason } => {
            decision.status = Some(*status);
            decision.reason = *reason;
        }
        Routed::Service { service, port } => {
            decision.backends = vec![BackendShare { target: format!("{}:{port}", service.name), weight: 1 }];
        }
        Routed::Rule(candidate) => decision.choose(candidate),
    }
}

/// Limits of retries and sessions towards what the request may reach.
fn of_services(mesh: &Mesh, decision: &mut Decision, routed: &Routed) {
    match routed {
        Routed::Refused { .. } => {}
        Routed::Service { service, .. } => {
            decision.limit(service);
            service.session.iter().for_each(|session| decision.keep(session));
        }
        Routed::Rule(candidate) => {
            let rule = candidate.rule();
            let targets = rule.backends.iter().filter_map(|backend| match &backend.target {
                Target::Service { service, .. } => mesh.service(service),
                Target::Invalid { .. } => None,
            });
            for service in targets {
                decision.limit(service);
                rule.session_to(Some(service)).into_iter().for_each(|session| decision.keep(session));
            }
        }
    }
}

/// Why an alternative does not match, in words; `None` when it does.
fn miss(m: &Match, head: &RequestHead<'_>) -> Option<String> {
    if !m.path.matches(head.path) {
        return Some(format!("{} does not match {}", m.path, head.path));
    }
    if let Some(method) = m.method.as_ref().filter(|method| *method != head.method) {
        return Some(format!("method is {}, not {method}", head.method));
    }
    if let Some(header) = m.headers.iter().find(|h| !h.matches(head.headers)) {
        let found =
            header_value(head.headers, &header.name).map_or("absent".to_owned(), |v| format!("{v:?}"));
        return Some(format!("header {} is {found}, wanted {}", header.name, header.value));
    }
    let parameter = |name: &str| head.query.and_then(|q| query::value(q, name));
    let wrong = m.query.iter().find(|q| !parameter(&q.name).is_some_and(|value| q.value.matches(&value)))?;
    let found = parameter(&wrong.name).map_or("absent".to_owned(), |v| format!("{v:?}"));
    Some(format!("query parameter {} is {found}, wanted {}", wrong.name, wrong.value))
}
