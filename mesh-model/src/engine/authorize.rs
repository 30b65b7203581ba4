//! Authorization at a workload: DENY before ALLOW, and everything refused that an ALLOW does not name.
//!
//! Where a request can be read in several ways, a DENY looks at each and an ALLOW needs all: an encoded slash or
//! parameters in the path, or a header that occurs several times. What only a request can answer refuses a connection whose
//! requests are not seen: a DENY rule then looks at the rest of its conditions, an ALLOW rule never matches.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::engine::decision::{Authorization, PolicyStep};
use crate::facts::{ConnectionFacts, RequestHead};
use crate::finding::Reason;
use crate::path;
use crate::policy::{
    Action, AuthorizationPolicy, Condition, ConditionKey, ConditionValues, Operation, Patterns, PolicyRule,
    Source, TextPattern,
};
use crate::source::SourceRef;
use crate::workload::Workload;

/// What authorization decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the request or connection may enter.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// The policy and rule that decided, if one did.
    pub by: Option<(SourceRef, usize)>,
    /// AUDIT policies that matched.
    pub audited: Vec<SourceRef>,
}

/// Why a rule did not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// The condition at this place fails.
    Condition(usize),
    /// No source matches.
    From,
    /// The rule needs a request, and only a connection is seen.
    NeedsRequest,
    /// No operation matches.
    To,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Condition(at) => write!(f, "when[{at}] does not hold"),
            Self::From => f.write_str("no entry of from matches the client"),
            Self::NeedsRequest => {
                f.write_str("it looks at requests, and this port carries opaque connections")
            }
            Self::To => f.write_str("no entry of to matches the request"),
        }
    }
}

/// Decides whether a request, or a connection when `head` is `None`, may enter a workload. `policies` are
/// those that select the workload.
pub fn authorize(
    policies: &[Arc<AuthorizationPolicy>],
    facts: &ConnectionFacts,
    head: Option<&RequestHead<'_>>,
) -> Verdict {
    let subject = Subject::new(facts, head);
    let matching = |policy: &AuthorizationPolicy| {
        policy.rules.iter().position(|rule| subject.matches(rule, policy.action).is_ok())
    };
    let of = |action: Action| policies.iter().filter(move |policy| policy.action == action);
    let audited = of(Action::Audit).filter(|p| matching(p).is_some()).map(|p| p.source.clone()).collect();
    let found = |action| of(action).find_map(|policy| Some((policy.source.clone(), matching(policy)?)));
    let (allowed, reason, by) = match found(Action::Deny) {
        Some(by) => (false, Reason::DeniedByPolicy, Some(by)),
        None => match found(Action::Allow) {
            Some(by) => (true, Reason::Accepted, Some(by)),
            None if of(Action::Allow).next().is_some() => (false, Reason::NotAllowedByPolicy, None),
            None => (true, Reason::Accepted, None),
        },
    };
    Verdict { allowed, reason, by, audited }
}

/// Decides as [`authorize`] does and lists every rule with its outcome.
pub fn explain_authorization(
    workload: &Workload,
    policies: &[Arc<AuthorizationPolicy>],
    facts: &ConnectionFacts,
    head: Option<&RequestHead<'_>>,
) -> Authorization {
    let verdict = authorize(policies, facts, head);
    let subject = Subject::new(facts, head);
    let mut steps = Vec::new();
    for policy in policies {
        let step = |rule, outcome: Result<(), String>| PolicyStep {
            policy: policy.source.to_string(),
            action: policy.action,
            rule,
            matched: outcome.is_ok(),
            because: outcome.err(),
        };
        if policy.rules.is_empty() {
            steps.push(step(None, Err("it has no rules, so it matches nothing".to_owned())));
        }
        for (at, rule) in policy.rules.iter().enumerate() {
            steps.push(step(Some(at), subject.matches(rule, policy.action).map_err(|miss| miss.to_string())));
        }
    }
    Authorization {
        workload: workload.name.to_string(),
        allowed: verdict.allowed,
        reason: verdict.reason,
        steps,
    }
}

/// What rules are compared with, each reading of it prepared once.
struct Subject<'a> {
    facts: &'a ConnectionFacts,
    principal: Option<String>,
    account: Option<(&'a str, String)>,
    head: Option<&'a RequestHead<'a>>,
    readings: Vec<String>,
}

impl<'a> Subject<'a> {
    fn new(facts: &'a ConnectionFacts, head: Option<&'a RequestHead<'a>>) -> Self {
        let account = facts.peer.as_ref().and_then(|peer| peer.service_account());
        Self {
            facts,
            principal: facts.peer.as_ref().map(crate::identity::SpiffeId::principal),
            account: account.map(|(namespace, name)| (namespace, format!("{namespace}/{name}"))),
            head,
            readings: head.map_or_else(Vec::new, |head| path::readings(head.path)),
        }
    }

    fn matches(&self, rule: &PolicyRule, action: Action) -> Result<(), Miss> {
        if self.head.is_none() && action == Action::Allow && rule.needs_http() {
            return Err(Miss::NeedsRequest);
        }
        if !rule.from.is_empty() && !rule.from.iter().any(|source| self.source(source, action)) {
            return Err(Miss::From);
        }
        if !rule.to.is_empty() && !rule.to.iter().any(|operation| self.operation(operation, action)) {
            return Err(Miss::To);
        }
        let fails = |condition: &Condition| !self.condition(condition, action);
        rule.when.iter().position(fails).map_or(Ok(()), |at| Err(Miss::Condition(at)))
    }

    fn source(&self, source: &Source, action: Action) -> bool {
        let account = self.account.as_ref();
        identity(&source.principals, self.principal.as_deref(), action)
            && identity(&source.namespaces, account.map(|(namespace, _)| *namespace), action)
            && identity(&source.accounts, account.map(|(_, name)| name.as_str()), action)
            && source.addresses.admit(|net| net.contains(&canonical(self.facts.source)))
    }

    fn operation(&self, operation: &Operation, action: Action) -> bool {
        let port = self.facts.destination.port();
        if !operation.ports.admit(|p| *p == port) {
            return false;
        }
        let Some(head) = self.head else { return true };
        operation.methods.admit(|method| method.matches(head.method.as_str()))
            && self.hosts(&operation.hosts, head)
            && self.paths(&operation.paths, head, action)
    }

    fn hosts(&self, hosts: &Patterns<TextPattern>, head: &RequestHead<'_>) -> bool {
        if hosts.is_empty() {
            return true;
        }
        let full = head.authority.to_string();
        hosts.admit(|pattern| {
            let lower = TextPattern::from(pattern.to_string().to_ascii_lowercase());
            lower.matches(head.authority.host()) || lower.matches(&full)
        })
    }

    fn paths(&self, paths: &Patterns<TextPattern>, head: &RequestHead<'_>, action: Action) -> bool {
        let admits = |path: &str| paths.admit(|pattern| pattern.matches(path));
        let others = self.readings.iter().map(String::as_str);
        readings(action, std::iter::once(head.path).chain(others), admits)
    }

    fn condition(&self, condition: &Condition, action: Action) -> bool {
        match (&condition.key, &condition.values) {
            (ConditionKey::DestinationPort, ConditionValues::Ports(ports)) => {
                ports.admit(|port| *port == self.facts.destination.port())
            }
            (ConditionKey::SourceIp, ConditionValues::Networks(networks)) => {
                networks.admit(|net| net.contains(&canonical(self.facts.source)))
            }
            (ConditionKey::DestinationIp, ConditionValues::Networks(networks)) => {
                networks.admit(|net| net.contains(&canonical(self.facts.destination.ip())))
            }
            (key, ConditionValues::Texts(texts)) => self.texts(key, texts, action),
            // A key with values of another form cannot be built; refusing is the safe reading of both actions.
            _ => action == Action::Deny,
        }
    }

    fn texts(&self, key: &ConditionKey, texts: &Patterns<TextPattern>, action: Action) -> bool {
        match key {
            ConditionKey::SourceNamespace => {
                identity(texts, self.account.as_ref().map(|(namespace, _)| *namespace), action)
            }
            ConditionKey::SourcePrincipal => identity(texts, self.principal.as_deref(), action),
            ConditionKey::ConnectionSni => optional(texts, self.facts.sni.as_deref()),
            ConditionKey::RequestHeader(name) => {
                let Some(head) = self.head else { return action == Action::Deny };
                let lines: Vec<_> = head
                    .headers
                    .get_all(name)
                    .iter()
                    .map(|v| String::from_utf8_lossy(v.as_bytes()))
                    .collect();
                match lines.as_slice() {
                    [] => optional(texts, None),
                    lines => {
                        let joined = (lines.len() > 1).then(|| Cow::Owned(lines.join(",")));
                        let all = lines.iter().cloned().chain(joined);
                        readings(action, all, |line| texts.admit(|pattern| pattern.matches(&line)))
                    }
                }
            }
            ConditionKey::DestinationIp | ConditionKey::DestinationPort | ConditionKey::SourceIp => {
                action == Action::Deny
            }
        }
    }
}

/// A DENY takes any reading that matches, an ALLOW only all of them.
fn readings<T>(action: Action, mut all: impl Iterator<Item = T>, admits: impl Fn(T) -> bool) -> bool {
    if action == Action::Allow { all.all(admits) } else { all.any(admits) }
}

/// Patterns of a verified identity. Without one an ALLOW never matches what asks for it.
fn identity(patterns: &Patterns<TextPattern>, found: Option<&str>, action: Action) -> bool {
    match found {
        Some(text) => patterns.admit(|pattern| pattern.matches(text)),
        None => patterns.is_empty() || (action != Action::Allow && patterns.any.is_empty()),
    }
}

/// Patterns of a property that may be absent: then only negative patterns hold.
fn optional(patterns: &Patterns<TextPattern>, found: Option<&str>) -> bool {
    match found {
        Some(text) => patterns.admit(|pattern| pattern.matches(text)),
        None => patterns.any.is_empty(),
    }
}

/// An IPv4 address mapped into IPv6 is that IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
