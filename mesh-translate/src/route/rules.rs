//! Rules of a route object of any kind, read for one side.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_model::backend::{Backend, Target};
use mesh_model::route::{Retry, Timeouts};
use mesh_model::{FieldPath, Finding, ObjectName, Reason, Rule, Session};

use super::super::entry::Entry;
use super::super::feature::{Feature, off};
use super::super::reader::Reader;
use super::super::session::{self, Owner};
use super::backend::{Reference, Side};
use crate::objects::http::{HttpRetry, HttpTimeouts};
use crate::objects::route::SessionPersistence;
use crate::objects::{BackendRef, GrpcRouteRule, HttpRouteRule, L4Rule, Object};

/// What reading the rules brought to light.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) findings: Vec<Finding>,
    /// The first reference that leads nowhere.
    pub(super) unresolved: Option<(Reason, String)>,
    /// The first thing in a rule that is not in force.
    pub(super) invalid: Option<(Reason, String)>,
    /// Why nothing of the route is in force.
    pub(super) rejected: Option<(Reason, String)>,
    /// Backends of their own kind that are named and cannot be used, as services.
    pub(super) mentioned: BTreeSet<ObjectName>,
    /// How many rules are not in force as written.
    pub(super) bad_rules: usize,
    /// How many rules there are.
    pub(super) rules: usize,
}

impl Outcome {
    pub(super) fn unresolved(&mut self, reason: Reason, message: &str) {
        self.unresolved.get_or_insert_with(|| (reason, message.to_owned()));
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.mentioned.extend(other.mentioned);
        self.unresolved = self.unresolved.take().or(other.unresolved);
        self.invalid = self.invalid.take().or(other.invalid);
        self.rejected = self.rejected.take().or(other.rejected);
        self.bad_rules = self.bad_rules.max(other.bad_rules);
        self.rules = self.rules.max(other.rules);
    }
}

/// Reads the rules of one route.
pub(super) struct Rules<'r, 'a> {
    pub(super) reader: &'r Reader<'a>,
    pub(super) entry: &'r Entry,
    pub(super) side: &'r Side,
    pub(super) outcome: Outcome,
    /// Whether the rule at hand has something that cannot be done: then it must not forward.
    pub(super) blocked: bool,
    /// Whether the rule at hand is not in force as written.
    pub(super) incomplete: bool,
}

/// Whether some rule forwards but names no backend, so that it depends on the parent where it goes.
pub(super) fn lacks_backends(object: &Object) -> bool {
    use crate::objects::http::HttpFilterType;
    match object {
        Object::GrpcRoute(route) => route.spec.rules.iter().any(|rule| rule.backend_refs.is_empty()),
        Object::HttpRoute(route) => route.spec.rules.iter().any(|rule| {
            let answers = rule.filters.iter().any(|filter| filter.kind == HttpFilterType::RequestRedirect);
            rule.backend_refs.is_empty() && !answers
        }),
        _ => false,
    }
}

impl<'r, 'a> Rules<'r, 'a> {
    pub(super) fn new(reader: &'r Reader<'a>, entry: &'r Entry, side: &'r Side) -> Self {
        Self { reader, entry, side, outcome: Outcome::default(), blocked: false, incomplete: false }
    }

    pub(super) fn report(
        &mut self,
        reason: Reason,
        path: &FieldPath,
        message: impl Into<String>,
        right: impl Into<String>,
    ) {
        let right = right.into();
        let mut finding = Finding::error(reason, &self.entry.source, path.clone(), message);
        finding.suggestion = (!right.is_empty()).then_some(right);
        self.outcome.findings.push(finding);
    }

    /// Notes something that is not in force. The rule then answers with an error where `blocked`.
    pub(super) fn invalid(
        &mut self,
        (reason, path): (Reason, &FieldPath),
        message: String,
        right: &str,
        blocked: bool,
    ) {
        self.report(reason, path, message.clone(), right);
        self.outcome.invalid.get_or_insert((reason, message));
        self.incomplete = true;
        self.blocked |= blocked;
    }

    /// Whether a feature is on; when it is off, the rule is blocked for what needs it.
    pub(super) fn needs(&mut self, feature: Feature, path: &FieldPath) -> bool {
        let on = self.reader.settings().has(feature);
        if !on {
            self.invalid((Reason::UnsupportedValue, path), off(feature), "remove it", true);
        }
        on
    }

    /// The rules of the object.
    pub(super) fn read(&mut self) -> Vec<Rule> {
        let list = FieldPath::from("spec.rules");
        let entry = self.entry;
        match &*entry.object {
            Object::GrpcRoute(route) => self.each(&route.spec.rules, &list, Self::grpc_rule),
            Object::HttpRoute(route) => self.each(&route.spec.rules, &list, Self::http_rule),
            Object::TcpRoute(route) => self.each(&route.spec.rules, &list, Self::l4_rule),
            Object::TlsRoute(route) => self.each(&route.spec.rules, &list, Self::l4_rule),
            Object::UdpRoute(route) => self.each(&route.spec.rules, &list, Self::l4_rule),
            _ => Vec::new(),
        }
    }

    fn each<R>(
        &mut self,
        written: &[R],
        list: &FieldPath,
        read: fn(&mut Self, &R, &FieldPath) -> Option<Rule>,
    ) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (n, rule) in written.iter().enumerate() {
            (self.blocked, self.incomplete) = (false, false);
            let parsed = read(self, rule, &list.index(n));
            self.outcome.rules += 1;
            self.outcome.bad_rules += usize::from(self.incomplete);
            rules.extend(parsed.map(|rule| if self.blocked { blocked(rule) } else { rule }));
        }
        rules
    }

    fn http_rule(&mut self, rule: &HttpRouteRule, path: &FieldPath) -> Option<Rule> {
        let matches = self.http_matches(&rule.matches, &path.field("matches"));
        self.http_features(rule, path);
        let filters = self.http_filters(&rule.filters, &path.field("filters"));
        let answers = filters.iter().any(|filter| matches!(filter, mesh_model::filter::Filter::Redirect(_)));
        let list = path.field("backendRefs");
        let mut backends = Vec::new();
        for (n, backend) in rule.backend_refs.iter().enumerate() {
            let path = list.index(n);
            let filters = self.backend_filters(&backend.filters, &path.field("filters"));
            backends.push(self.backend(backend, filters, &path));
        }
        self.default_backend(answers, &mut backends);
        let kept = (rule.session_persistence.as_ref(), rule.name.as_deref());
        let session = self.session(kept, &backends, path);
        // A rule of which no alternative can be read must not match everything.
        if matches.is_empty() && !rule.matches.is_empty() {
            return None;
        }
        Some(Rule {
            name: rule.name.as_deref().map(Arc::from),
            matches,
            filters,
            backends,
            timeouts: timeouts(rule.timeouts.as_ref()),
            retry: rule.retry.as_ref().map(retry),
            session,
        })
    }

    /// The features that a rule needs for what is no match and no filter.
    fn http_features(&mut self, rule: &HttpRouteRule, path: &FieldPath) {
        let timeouts = rule.timeouts.as_ref();
        let retries = rule.retry.as_ref().filter(|retry| retry.attempts > 0);
        let needed = [
            (Feature::NamedRule, rule.name.is_some(), "name"),
            (Feature::RequestTimeout, timeouts.is_some_and(|t| t.request.is_some()), "timeouts"),
            (Feature::BackendTimeout, timeouts.is_some_and(|t| t.backend_request.is_some()), "timeouts"),
            (Feature::RetryCodes, retries.is_some_and(|retry| !retry.codes.is_empty()), "retry"),
            (Feature::RetryConnectionError, retries.is_some(), "retry"),
        ];
        for (feature, _, field) in needed.into_iter().filter(|(_, needed, _)| *needed) {
            self.needs(feature, &path.field(field));
        }
    }

    fn grpc_rule(&mut self, rule: &GrpcRouteRule, path: &FieldPath) -> Option<Rule> {
        let matches = self.grpc_matches(&rule.matches, &path.field("matches"));
        if rule.name.is_some() {
            self.needs(Feature::GrpcNamedRule, &path.field("name"));
        }
        let filters = self.grpc_filters(&rule.filters, &path.field("filters"));
        let list = path.field("backendRefs");
        let mut backends = Vec::new();
        for (n, backend) in rule.backend_refs.iter().enumerate() {
            let path = list.index(n);
            let filters = self.grpc_filters(&backend.filters, &path.field("filters"));
            backends.push(self.backend(backend, filters, &path));
        }
        self.default_backend(false, &mut backends);
        let kept = (rule.session_persistence.as_ref(), rule.name.as_deref());
        let session = self.session(kept, &backends, path);
        if matches.is_empty() && !rule.matches.is_empty() {
            return None;
        }
        let name = rule.name.as_deref().map(Arc::from);
        Some(Rule { name, matches, filters, backends, session, ..Rule::default() })
    }

    fn l4_rule(&mut self, rule: &L4Rule, path: &FieldPath) -> Option<Rule> {
        let list = path.field("backendRefs");
        let mut backends = Vec::new();
        for (n, backend) in rule.backend_refs.iter().enumerate() {
            backends.push(self.backend(backend, Vec::new(), &list.index(n)));
        }
        Some(Rule { name: rule.name.as_deref().map(Arc::from), backends, ..Rule::default() })
    }

    fn backend<F>(
        &mut self,
        backend: &BackendRef<F>,
        filters: Vec<mesh_model::filter::Filter>,
        path: &FieldPath,
    ) -> Backend {
        let target = self.target(Reference::weighted(backend), path);
        Backend { target, weight: backend.weight, filters }
    }

    /// On a service, a rule without backends forwards to the service itself (GEP-1294).
    fn default_backend(&self, answers: bool, backends: &mut Vec<Backend>) {
        if let (Side::Service(service, Some(port)), true, false) = (self.side, backends.is_empty(), answers) {
            let target = Target::Service { service: service.clone(), port: *port };
            backends.push(Backend { target, weight: 1, filters: Vec::new() });
        }
    }

    /// What keeps requests of one client with an endpoint. Without it the rule spreads them.
    fn session(
        &mut self,
        (written, name): (Option<&SessionPersistence>, Option<&str>),
        backends: &[Backend],
        path: &FieldPath,
    ) -> Option<Arc<Session>> {
        let written = written?;
        let field = path.field("sessionPersistence");
        for backend in backends {
            let Target::Service { service, .. } = &backend.target else { continue };
            if let Some(message) = session::affine(self.reader, service) {
                self.report(Reason::UnsupportedValue, &field, message.clone(), "remove one of the two");
                self.outcome.rejected.get_or_insert((Reason::UnsupportedValue, message));
            }
        }
        let object = &self.entry.source;
        let keyed = format!("{} {}", object.kind, object.object);
        let named = format!("{keyed} {}", name.map_or_else(|| path.to_string(), str::to_owned));
        let owner = Owner { source: object, keyed: &keyed, named: &named };
        let read = session::session(self.reader, owner, written, &field);
        read.map_err(|(path, message, right)| {
            self.invalid((Reason::UnsupportedValue, &path), message, right, false);
        })
        .ok()
    }
}

/// A rule that answers its requests with an error, because part of it cannot be done.
fn blocked(rule: Rule) -> Rule {
    let target = Target::Invalid {
        reason: Reason::UnsupportedValue,
        reference: Arc::from("a filter that cannot be applied"),
    };
    let backends = vec![Backend { target, weight: 1, filters: Vec::new() }];
    Rule { name: rule.name, matches: rule.matches, backends, ..Rule::default() }
}

fn timeouts(written: Option<&HttpTimeouts>) -> Timeouts {
    let limit = |duration: Option<&crate::objects::Duration>| {
        duration.map(crate::objects::Duration::value).filter(|limit| !limit.is_zero())
    };
    let Some(written) = written else { return Timeouts::default() };
    Timeouts {
        request: limit(written.request.as_ref()),
        backend_request: limit(written.backend_request.as_ref()),
    }
}

fn retry(written: &HttpRetry) -> Retry {
    Retry {
        codes: written.codes.clone(),
        attempts: written.attempts,
        backoff: written.backoff.as_ref().map(crate::objects::Duration::value),
    }
}
