//! The routes of one listener or service port: by host, then by path, in the order of the Gateway API.

use std::cmp::Reverse;
use std::sync::Arc;

use super::hosts::HostTable;
use crate::facts::RequestHead;
use crate::hostname::HostPattern;
use crate::matcher::{Match, PathMatch};
use crate::route::{Attachment, Route, Rule};

/// The place of one alternative of a rule in the order of precedence; the smallest wins. Exact paths come
/// first, then expressions, then prefixes; then longer paths, a method, more headers, more query parameters;
/// then the older object, its name, and the order within the object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    path: (u8, Reverse<usize>),
    pub(super) class: Class,
    created: u64,
    object: (Arc<str>, Arc<str>, u8),
    place: (u32, u32),
}

/// The part of a rank that the form of a match decides, given its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class {
    method: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
}

impl Class {
    pub(super) fn of(m: &Match) -> Self {
        Self {
            method: Reverse(m.method.is_some()),
            headers: Reverse(m.headers.len()),
            query: Reverse(m.query.len()),
        }
    }
}

/// One alternative of one rule of a route that may match a request.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub(super) rank: Arc<Rank>,
    route: Arc<Route>,
}

impl Candidate {
    /// The route.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The place of the rule in its route, from 0.
    pub fn rule_index(&self) -> usize {
        self.rank.place.0 as usize
    }

    /// The rule.
    pub fn rule(&self) -> &Rule {
        &self.route.rules[self.rule_index()]
    }

    /// The place of the alternative in its rule, from 0.
    pub fn alternative_index(&self) -> usize {
        self.rank.place.1 as usize
    }

    /// What the alternative asks; a rule without alternatives asks nothing.
    pub fn alternative(&self) -> &Match {
        self.rule().matches.get(self.alternative_index()).unwrap_or(&MATCH_ALL)
    }
}

static MATCH_ALL: std::sync::LazyLock<Match> = std::sync::LazyLock::new(Match::default);

/// The routes of one listener or service port.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    routes: usize,
    hosts: HostTable,
}

impl RouteTable {
    /// Whether no route is attached.
    pub fn is_empty(&self) -> bool {
        self.routes == 0
    }

    /// How many routes are attached.
    pub fn len(&self) -> usize {
        self.routes
    }

    /// The best match for a request. Hosts are tried from the most specific route hostname to the least, and a
    /// request that no rule of a host matches falls through to the next.
    pub fn find(&self, head: &RequestHead<'_>) -> Option<&Candidate> {
        self.hosts.for_host(head.authority.host()).find_map(|paths| paths.find(head))
    }

    /// The best route for a server name or a connection without one; paths play no part.
    pub fn find_connection(&self, host: &str) -> Option<&Candidate> {
        self.hosts.for_host(host).find_map(|paths| paths.first())
    }

    /// Everything that could match a host, best first: what the engine tries, in its order.
    pub fn rules(&self, host: &str) -> Vec<&Candidate> {
        self.hosts.for_host(host).flat_map(|paths| paths.ordered()).collect()
    }

    /// Whether some route serves the host, whatever its rules ask.
    pub fn serves(&self, host: &str) -> bool {
        self.hosts.for_host(host).next().is_some()
    }

    pub(super) fn insert(&mut self, route: &Arc<Route>, attachment: &Attachment) {
        self.routes += 1;
        each_place(route, attachment, |host, candidate| {
            self.hosts.change(host, |paths| paths.insert(candidate.clone()));
        });
    }

    pub(super) fn remove(&mut self, route: &Arc<Route>, attachment: &Attachment) {
        self.routes = self.routes.saturating_sub(1);
        each_place(route, attachment, |host, candidate| {
            self.hosts.change(host, |paths| paths.remove(candidate))
        });
    }
}

/// Calls `visit` for every hostname and alternative of a route. Hostnames play no part on services (GEP-1294).
fn each_place(route: &Arc<Route>, attachment: &Attachment, mut visit: impl FnMut(&HostPattern, &Candidate)) {
    let any = [HostPattern::Any];
    let on_service = matches!(attachment, Attachment::Service { .. });
    let hosts = if on_service || route.hostnames.is_empty() { &any[..] } else { &route.hostnames };
    for candidate in candidates(route) {
        hosts.iter().for_each(|host| visit(host, &candidate));
    }
}

fn candidates(route: &Arc<Route>) -> impl Iterator<Item = Candidate> + '_ {
    route.rules.iter().zip(0u32..).flat_map(move |(rule, rule_index)| {
        let count = rule.matches.len().max(1);
        (0u32..).take(count).map(move |alternative| {
            let m = rule.matches.get(alternative as usize).unwrap_or(&MATCH_ALL);
            Candidate { rank: Arc::new(rank(route, m, (rule_index, alternative))), route: Arc::clone(route) }
        })
    })
}

fn rank(route: &Route, m: &Match, place: (u32, u32)) -> Rank {
    let path = match &m.path {
        PathMatch::Exact(path) => (0, Reverse(path.len())),
        PathMatch::Regex(regex) => (1, Reverse(regex.as_str().len())),
        PathMatch::Prefix(path) => (2, Reverse(path.len())),
    };
    let object = &route.key.object;
    let object = (Arc::clone(&object.namespace), Arc::clone(&object.name), route.kind as u8);
    Rank { path, class: Class::of(m), created: route.created, object, place }
}
