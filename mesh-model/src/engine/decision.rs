//! Decisions as values that people and programs read. The same text comes from the proxy and the command line.

use std::fmt;

use serde::Serialize;

use crate::backend::{RetryBudget, Service, Target};
use crate::facts::RequestHead;
use crate::filter::{AuthProtocol, ExternalAuth, Filter};
use crate::finding::Reason;
use crate::mesh::Candidate;
use crate::policy::Action;
use crate::session::Session;

/// Names one alternative of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouteRef {
    /// The object, with its file and line or generation.
    pub source: String,
    /// The rule, from 0.
    pub rule: usize,
    /// The rule's name, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The alternative of the rule, from 0.
    pub alternative: usize,
}

impl RouteRef {
    pub(super) fn of(candidate: &Candidate) -> Self {
        Self {
            source: candidate.route().source.to_string(),
            rule: candidate.rule_index(),
            name: candidate.rule().name.as_ref().map(ToString::to_string),
            alternative: candidate.alternative_index(),
        }
    }
}

/// A rule that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// The rule.
    pub route: RouteRef,
    /// Why.
    pub because: String,
}

/// A backend and its weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackendShare {
    /// Where it leads.
    pub target: String,
    /// Its weight, relative to the sum of the list.
    pub weight: u32,
}

/// What one policy rule said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyStep {
    /// The policy.
    pub policy: String,
    /// What its rules do.
    pub action: Action,
    /// The rule, from 0; `None` for a policy without rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
    /// Whether it matched.
    pub matched: bool,
    /// Why not, when it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// The verdict of authorization at a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Authorization {
    /// The workload.
    pub workload: String,
    /// Whether the request may enter.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// Every rule that was looked at, in order.
    pub steps: Vec<PolicyStep>,
}

/// A decision about a request, with everything that led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Method, authority and path, normalised.
    pub request: String,
    /// The listener, at a gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The service and port, on a client's side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The rule that serves the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteRef>,
    /// The status, when the proxy answers itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why.
    pub reason: Reason,
    /// What the rule does to the request, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<&'static str>,
    /// Authorization services that the request must pass, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorizers: Vec<String>,
    /// The backends and their weights.
    pub backends: Vec<BackendShare>,
    /// Limits of retries towards the backends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retry_budgets: Vec<String>,
    /// What keeps requests of one client with an endpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<String>,
    /// The other rules of the host.
    pub passed_over: Vec<PassedOver>,
    /// Authorization at the destination, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
}

impl Decision {
    pub(super) fn new(head: &RequestHead<'_>) -> Self {
        Self {
            request: format!("{} {}{}", head.method, head.authority, head.path),
            listener: None,
            service: None,
            route: None,
            status: None,
            reason: Reason::Accepted,
            filters: Vec::new(),
            authorizers: Vec::new(),
            backends: Vec::new(),
            retry_budgets: Vec::new(),
            sessions: Vec::new(),
            passed_over: Vec::new(),
            authorization: None,
        }
    }

    /// Names the limits of retries towards a service, once.
    pub(super) fn limit(&mut self, service: &Service) {
        let Some(budget) = &service.retry_budget else { return };
        let RetryBudget { source, percent, interval, least, least_interval } = budget;
        let text = format!(
            "{}: {percent} % of the requests of {interval:?}, at least {least} in {least_interval:?}, by {source}",
            service.name
        );
        if !self.retry_budgets.contains(&text) {
            self.retry_budgets.push(text);
        }
    }

    /// Names what keeps requests with an endpoint of a service, once.
    pub(super) fn keep(&mut self, session: &Session) {
        let text = session.to_string();
        if !self.sessions.contains(&text) {
            self.sessions.push(text);
        }
    }

    /// Names the authorization services of the listener, which come before those of the rule.
    pub(super) fn precede(&mut self, filters: &[ExternalAuth]) {
        self.authorizers.splice(0..0, filters.iter().map(asked));
    }

    pub(super) fn choose(&mut self, candidate: &Candidate) {
        let rule = candidate.rule();
        self.route = Some(RouteRef::of(candidate));
        self.filters = rule.filters.iter().map(filter_name).collect();
        self.authorizers = rule.filters.iter().filter_map(authorizer).collect();
        let share =
            |b: &crate::backend::Backend| BackendShare { target: target(&b.target), weight: b.weight };
        self.backends = rule.backends.iter().map(share).collect();
        let redirect =
            rule.filters.iter().find_map(|f| if let Filter::Redirect(r) = f { Some(r.status) } else { None });
        let usable = rule.backends.iter().any(|b| b.weight > 0 && matches!(b.target, Target::Service { .. }));
        if redirect.is_some() {
            self.status = redirect;
        } else if !usable {
            (self.status, self.reason) = (Some(500), Reason::NoBackend);
        }
    }
}

fn filter_name(filter: &Filter) -> &'static str {
    match filter {
        Filter::Cors(_) => "cors",
        Filter::ExternalAuth(_) => "externalAuth",
        Filter::Mirror(_) => "mirror",
        Filter::Redirect(_) => "redirect",
        Filter::RequestHeaders(_) => "requestHeaders",
        Filter::ResponseHeaders(_) => "responseHeaders",
        Filter::Rewrite(_) => "rewrite",
    }
}

fn authorizer(filter: &Filter) -> Option<String> {
    if let Filter::ExternalAuth(auth) = filter { Some(asked(auth)) } else { None }
}

/// Who is asked and how, for people.
fn asked(auth: &ExternalAuth) -> String {
    let protocol = match &auth.protocol {
        AuthProtocol::Grpc { .. } => "GRPC",
        AuthProtocol::Http { .. } => "HTTP",
    };
    let body = match auth.max_body {
        0 => String::new(),
        most => format!(" with bodies of up to {most} bytes"),
    };
    format!("{} by {protocol}{body}", target(&auth.target))
}

fn target(target: &Target) -> String {
    match target {
        Target::Invalid { reason, reference } => format!("{reference} ({reason})"),
        Target::Service { service, port } => format!("{service}:{port}"),
    }
}

impl fmt::Display for Decision {
    /// Lines for people; the JSON form holds the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.request)?;
        let via = self
            .listener
            .as_ref()
            .map(|l| ("listener", l))
            .or(self.service.as_ref().map(|s| ("service ", s)));
        if let Some((label, name)) = via {
            writeln!(f, "  {label}  {name}")?;
        }
        match &self.route {
            Some(route) => writeln!(f, "  route     {route}")?,
            None if self.status.is_none() => writeln!(f, "  route     none; the service's own endpoints")?,
            None => {}
        }
        if let Some(status) = self.status {
            writeln!(f, "  answer    {status} {}", self.reason)?;
        }
        if !self.filters.is_empty() {
            writeln!(f, "  filters   {}", self.filters.join(", "))?;
        }
        for authorizer in &self.authorizers {
            writeln!(f, "  asks      {authorizer}")?;
        }
        for backend in &self.backends {
            writeln!(f, "  backend   {} weight {}", backend.target, backend.weight)?;
        }
        for budget in &self.retry_budgets {
            writeln!(f, "  retries   {budget}")?;
        }
        for session in &self.sessions {
            writeln!(f, "  session   {session}")?;
        }
        for other in &self.passed_over {
            writeln!(f, "  not       {}: {}", other.route, other.because)?;
        }
        self.authorization.as_ref().map_or(Ok(()), |authorization| authorization.fmt(f))
    }
}

impl fmt::Display for RouteRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule {}", self.source, self.rule)?;
        if let Some(name) = &self.name {
            write!(f, " ({name})")?;
        }
        write!(f, " match {}", self.alternative)
    }
}

impl fmt::Display for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.allowed { "allowed" } else { "denied" };
        writeln!(f, "  at {}  {verdict} ({})", self.workload, self.reason)?;
        for step in &self.steps {
            let rule = step.rule.map_or_else(|| "no rules".to_owned(), |rule| format!("rule {rule}"));
            let outcome = step.because.as_deref().unwrap_or("matched");
            writeln!(f, "    {:?} {} {rule}: {outcome}", step.action, step.policy)?;
        }
        Ok(())
    }
}
