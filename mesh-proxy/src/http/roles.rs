//! The three roles, each one function read from top to bottom: what happens to a request at a gateway, on
//! its way out of a workload, and on its way in.

use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use mesh_model::engine::{Routed, listener_filters, route_request};
use mesh_model::filter::Filter;
use mesh_model::matcher::PathMatch;
use mesh_model::mesh::Candidate;
use mesh_model::route::Timeouts;
use mesh_model::{Mesh, ObjectName, Reason, RouteKind, Rule, Session};

use super::answer;
use super::asking::Asking;
use super::call::{Call, Reply};
use super::connection::Line;
use super::error::Error;
use super::facts::Facts;
use super::head::Sender;
use super::incoming::Incoming;
use super::record::Record;
use super::{head, names};
use crate::layers::forward::{Chosen, Plan, forward, one_try_with};
use crate::layers::session::Visit;
use crate::layers::{cors, headers, mirror, redirect, rewrite};
use crate::scope::Scope;
use crate::upstream::{Connect, Security, Speaks, Upstream};
use mesh_model::backend::{Backend, Target};

/// A request at a gateway: strict reading, one decision, the rule's filters, a backend.
pub(super) async fn gateway<C: Connect>(
    line: &Rc<Line<C>>,
    mesh: Arc<Mesh>,
    call: &mut Call,
    record: &mut Record,
) -> Result<Reply, Error> {
    let (mesh, asking) = match before_routes(line, mesh, call, record).await {
        Ok(Passed::On(mesh, asking)) => (mesh, asking),
        Ok(Passed::Refused(refusal)) => {
            record.trace(&mut call.head.headers);
            return Ok(*refusal);
        }
        Err(error) => {
            record.trace(&mut call.head.headers);
            return Err(error);
        }
    };
    let routed = decide(line, &mesh, call);
    // After the decision, which is about what the client sent; a refusal belongs to its trace too.
    record.trace(&mut call.head.headers);
    let routed = routed?;
    forwarded(line, &mut call.head.headers);
    let mut reply = match routed {
        Routed::Rule(rule) => follow(line, mesh, &rule, call, record).await?,
        Routed::Refused { .. } | Routed::Service { .. } => {
            return Err(Error::Refused(http::StatusCode::NOT_FOUND, Reason::NoRoute));
        }
    };
    if let Some(asking) = asking {
        asking.mark(reply.headers_mut());
    }
    Ok(reply)
}

/// What became of a request before its route is chosen.
enum Passed {
    /// It goes on, decided with this snapshot; the answer gets what services that were asked want to say.
    On(Arc<Mesh>, Option<Box<Asking>>),
    /// The client gets this answer.
    Refused(Box<Reply>),
}

/// Asks what stands before the routes of the request's listener, in order (GEP-5224). The route is then chosen once, with
/// what the answers made of the request; its host, which chose the listener, no answer can change.
async fn before_routes<C: Connect>(
    line: &Rc<Line<C>>,
    mesh: Arc<Mesh>,
    call: &mut Call,
    record: &mut Record,
) -> Result<Passed, Error> {
    let filters = match line.downstream.place() {
        Some(place) if mesh.has_listener_filters() => listener_filters(&mesh, place, &call.head.view()),
        _ => &[],
    };
    if filters.is_empty() {
        return Ok(Passed::On(mesh, None));
    }
    let mut asking = Box::new(Asking::new(Timeouts::default()));
    for auth in filters {
        if let Some(refusal) = asking.pass(line, auth, call, record).await? {
            return Ok(Passed::Refused(Box::new(refusal)));
        }
    }
    // Time has passed: what was forbidden meanwhile must not be served.
    let mesh = line.stack.mesh.current();
    record.decide(&mesh, &call.head.view(), &call.head.uri);
    Ok(Passed::On(mesh, Some(asking)))
}

/// A request of the application beside this proxy: the service's routes, or simply the service.
pub(super) async fn outbound<C: Connect>(
    line: &Rc<Line<C>>,
    mesh: Arc<Mesh>,
    call: &mut Call,
    record: &mut Record,
) -> Result<Reply, Error> {
    call.direct = true;
    let routed = decide(line, &mesh, call);
    // After the decision, which is about what the client sent; a refusal belongs to its trace too.
    record.trace(&mut call.head.headers);
    let routed = routed?;
    match routed {
        Routed::Rule(rule) => follow(line, mesh, &rule, call, record).await,
        Routed::Service { service, port } => {
            let plan = Plan {
                service: &service.name,
                known: mesh.service(&service.name).cloned(),
                port,
                timeouts: Timeouts::default(),
                retry: None,
                grpc: false,
                scope: &line.downstream.scope,
                visit: visit(line, service.session.as_ref(), (&service.name, port), &call.head.headers),
            };
            record.going_to(plan.service);
            let mut reply = forward(&line.stack, mesh, call, &plan, record).await?;
            remember(&plan, record, &mut reply);
            Ok(reply)
        }
        Routed::Refused { .. } => Err(Error::Refused(http::StatusCode::NOT_FOUND, Reason::NoRoute)),
    }
}

/// A request at its destination: authorization, the client's identity in place of what it claims, then the
/// application.
pub(super) async fn inbound<C: Connect>(
    line: &Rc<Line<C>>,
    mesh: Arc<Mesh>,
    call: &mut Call,
    record: &mut Record,
) -> Result<Reply, Error> {
    let Scope::Inbound { application, .. } = &line.downstream.scope else {
        return Err(Error::Refused(http::StatusCode::NOT_FOUND, Reason::NoRoute));
    };
    // A peer has asked its routes about TRACE already.
    if call.head.method == Method::TRACE && line.downstream.sender() != Sender::Peer {
        return Err(Error::Method);
    }
    let verdict = line.stack.admits(&mesh, &line.downstream, &call.head.view());
    if !verdict.allowed {
        record.trace(&mut call.head.headers);
        return Err(Error::Denied(verdict.reason));
    }
    drop(mesh);
    let facts = Rc::new(Facts::new(&call.head, &line.downstream));
    let mut watch = line.stack.streams.watch(&facts);
    record.trace(&mut call.head.headers);
    identify(line, &mut call.head.headers);
    let http1 = call.marked_http1 || !call.http2 || call.head.upgrade.is_some();
    let speaks = if http1 { Speaks::Http1 } else { Speaks::Http2 };
    let upstream = Upstream { address: *application, security: Security::Application, speaks };
    record.tried(&upstream, None);
    let chosen = Chosen { upstream, http1, in_flight: None, workload: None };
    let mut reply = tokio::select! {
        biased;
        () = watch.revoked() => return Err(Error::Denied(Reason::DeniedByPolicy)),
        reply = one_try_with(&line.stack, call, &chosen) => reply?,
    };
    if let Some(tail) = reply.tail_mut() {
        tail.watch = Some(watch);
    }
    Ok(reply)
}

/// Reads the head strictly and remembers it.
pub(super) fn admit<C: Connect>(
    line: &Rc<Line<C>>,
    mesh: &Arc<Mesh>,
    mut parts: Parts,
    incoming: Incoming,
    record: &mut Record,
) -> Result<Call, Error> {
    let accepted = head::accept(&mut parts, line.downstream.sender())?;
    let pause = line.stack.limits.body_pause;
    let call = Call::new(parts, accepted, incoming, pause, record.course());
    record.decide(mesh, &call.head.view(), &call.head.uri);
    Ok(call)
}

/// Asks the engine. TRACE is refused unless a rule names it: it shows headers to scripts.
fn decide<C: Connect>(line: &Line<C>, mesh: &Mesh, call: &Call) -> Result<Routed, Error> {
    let no_route = Routed::Refused { status: 404, reason: Reason::NoRoute };
    let routed =
        line.downstream.place().map_or(no_route, |place| route_request(mesh, place, &call.head.view()));
    let trace = call.head.method == Method::TRACE;
    match &routed {
        Routed::Rule(rule) if trace && rule.alternative().method.as_ref() != Some(&Method::TRACE) => {
            Err(Error::Method)
        }
        Routed::Refused { .. } | Routed::Service { .. } if trace => Err(Error::Method),
        Routed::Refused { status, reason } => {
            let status = http::StatusCode::from_u16(*status).unwrap_or(http::StatusCode::NOT_FOUND);
            Err(Error::Refused(status, *reason))
        }
        Routed::Rule(_) | Routed::Service { .. } => Ok(routed),
    }
}

/// Carries out a rule: its filters in their order, its backend, its edits of the answer.
async fn follow<C: Connect>(
    line: &Rc<Line<C>>,
    mesh: Arc<Mesh>,
    rule: &Candidate,
    call: &mut Call,
    record: &mut Record,
) -> Result<Reply, Error> {
    record.followed(rule);
    let brought = brought(&mesh, rule.rule(), call);
    let Rule { filters, backends, timeouts, .. } = rule.rule();
    let mut marks = None;
    let mut asking = Asking::new(*timeouts);
    for filter in filters {
        match filter {
            Filter::ExternalAuth(auth) => {
                if let Some(mut refusal) = asking.pass(line, auth, call, record).await? {
                    marks
                        .into_iter()
                        .for_each(|marks: Box<HeaderMap>| cors::mark(refusal.headers_mut(), *marks));
                    return Ok(refusal);
                }
            }
            Filter::Cors(rules) => match cors::apply(rules, &call.head.method, &call.head.headers) {
                cors::Outcome::Preflight(headers) => {
                    return Ok(Reply::Own(Box::new(answer::no_content(headers))));
                }
                cors::Outcome::Forward(headers) => marks = Some(Box::new(headers)),
                cors::Outcome::SameOrigin => {}
            },
            Filter::Redirect(to) => return Ok(Reply::Own(Box::new(redirected(line, rule, to, call)))),
            _ => before(filter, rule, call),
        }
    }
    let (route, place) = (&rule.route().key, rule.rule_index());
    let backend = line.stack.balancer.backend(route, place, backends).ok_or(Error::NoBackend)?;
    // Before anything is copied: a refused request goes nowhere.
    if let Some(refusal) = asking.pass_all(line, &backend.filters, call, record).await? {
        return Ok(refusal);
    }
    mirror::start(&line.stack, (route, place), filters, &line.downstream.scope, call);
    let Target::Service { service, port } = &backend.target else { return Err(Error::NoBackend) };
    for filter in &backend.filters {
        before(filter, rule, call);
    }
    record.going_to(service);
    let mesh = if asking.asked { line.stack.mesh.current() } else { mesh };
    let headers = brought.as_deref().unwrap_or(&call.head.headers);
    let plan = planned(line, (&mesh, rule), (service, *port), (asking.timeouts, headers));
    let mut reply = forward(&line.stack, mesh, call, &plan, record).await?;
    after(backend.filters.iter().chain(filters), reply.headers_mut());
    asking.mark(reply.headers_mut());
    remember(&plan, record, &mut reply);
    marks.into_iter().for_each(|marks| cors::mark(reply.headers_mut(), *marks));
    Ok(reply)
}

/// Where a rule sends a request, within these limits; `headers` are those that the client sent.
fn planned<'l, C: Connect>(
    line: &'l Line<C>,
    (mesh, rule): (&Mesh, &'l Candidate),
    (service, port): (&'l ObjectName, u16),
    (timeouts, headers): (Timeouts, &HeaderMap),
) -> Plan<'l> {
    let known = mesh.service(service).cloned();
    let session = rule.rule().session_to(known.as_deref());
    let visit = visit(line, session, (service, port), headers);
    let (retry, grpc) = (rule.rule().retry.as_ref(), rule.route().kind == RouteKind::Grpc);
    let scope = &line.downstream.scope;
    Plan { service, known, port, timeouts, retry, grpc, scope, visit }
}

/// What a request brings of its session with a port of a service.
fn visit<C: Connect>(
    line: &Line<C>,
    session: Option<&Arc<Session>>,
    backend: (&ObjectName, u16),
    headers: &HeaderMap,
) -> Option<Box<Visit>> {
    session.map(|session| {
        let now = line.stack.observer.wall();
        Box::new(Visit::new(session, backend, headers, now, line.downstream.tls))
    })
}

/// What a client sent, where some backend of the rule may have a session with it and filters may change it.
fn brought(mesh: &Mesh, rule: &Rule, call: &Call) -> Option<Box<HeaderMap>> {
    let edits = |filter: &Filter| matches!(filter, Filter::ExternalAuth(_) | Filter::RequestHeaders(_));
    let edited = rule.filters.iter().chain(rule.backends.iter().flat_map(|b| &b.filters)).any(edits);
    let kept = |backend: &Backend| match &backend.target {
        Target::Service { service, .. } => rule.session_to(mesh.service(service).map(|s| &**s)).is_some(),
        Target::Invalid { .. } => false,
    };
    (edited && rule.backends.iter().any(kept)).then(|| Box::new(call.head.headers.clone()))
}

/// Tells a client its session with the endpoint that answered. After the filters, which are about what the
/// backend says.
fn remember(plan: &Plan<'_>, record: &Record, reply: &mut Reply) {
    if let (Some(visit), Some(endpoint)) = (&plan.visit, record.endpoint()) {
        visit.mark(endpoint, reply.headers_mut());
    }
}

/// What filters do to an answer.
fn after<'f>(filters: impl Iterator<Item = &'f Filter>, headers: &mut HeaderMap) {
    for filter in filters {
        if let Filter::ResponseHeaders(edit) = filter {
            headers::apply(edit, headers);
        }
    }
}

/// What a filter does to a request before it is sent.
fn before(filter: &Filter, rule: &Candidate, call: &mut Call) {
    match filter {
        Filter::RequestHeaders(edit) => headers::apply(edit, &mut call.head.headers),
        Filter::Rewrite(to) => {
            rewrite::apply(to, &mut call.head.authority, &mut call.head.uri, matched(rule));
        }
        // Carried out elsewhere: around the exchange, or instead of it.
        Filter::Cors(_)
        | Filter::ExternalAuth(_)
        | Filter::Mirror(_)
        | Filter::Redirect(_)
        | Filter::ResponseHeaders(_) => {}
    }
}

fn matched(rule: &Candidate) -> &str {
    match &rule.alternative().path {
        PathMatch::Prefix(prefix) => prefix,
        PathMatch::Exact(_) | PathMatch::Regex(_) => "",
    }
}

fn redirected<C: Connect>(
    line: &Line<C>,
    rule: &Candidate,
    to: &mesh_model::filter::Redirect,
    call: &Call,
) -> http::Response<super::Body> {
    let port = match &line.downstream.scope {
        Scope::Gateway { port, .. } | Scope::Outbound { port, .. } => *port,
        Scope::Inbound { application, .. } => application.port(),
    };
    let from = redirect::From {
        scheme: scheme(line),
        authority: &call.head.authority,
        port,
        path: call.head.uri.path(),
        query: call.head.uri.query(),
        matched: matched(rule),
    };
    answer::redirect(to.status, &redirect::location(to, from))
}

fn scheme<C: Connect>(line: &Line<C>) -> &'static str {
    if line.downstream.tls { "https" } else { "http" }
}

/// Tells backends who the client of the gateway is, in place of what the client claimed.
fn forwarded<C: Connect>(line: &Line<C>, headers: &mut HeaderMap) {
    if let Some(address) = &line.client {
        headers.insert(&names::FORWARDED_FOR, address.clone());
    }
    headers.insert(&names::FORWARDED_PROTO, HeaderValue::from_static(scheme(line)));
}

/// Tells the application who its client is: what TLS proved, or nothing.
fn identify<C: Connect>(line: &Line<C>, headers: &mut HeaderMap) {
    let Some(peer) = &line.downstream.facts.peer else { return };
    let Scope::Inbound { workload, .. } = &line.downstream.scope else { return };
    if let Ok(value) = HeaderValue::from_str(&format!("By={};URI={peer}", workload.identity)) {
        headers.insert(&names::CLIENT_IDENTITY, value);
    }
}
