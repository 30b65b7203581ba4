//! Path tables by the hostnames of routes: exact, wildcard and any.

use std::sync::Arc;

use super::hashed::HashTrieMapSync;
use super::paths::PathTable;
use crate::hostname::HostPattern;

/// Path tables by route hostname. Look-up cost follows the labels of the host, not the number of hosts.
#[derive(Debug, Clone, Default)]
pub(super) struct HostTable {
    exact: HashTrieMapSync<Arc<str>, PathTable>,
    wildcard: HashTrieMapSync<Arc<str>, PathTable>,
    any: PathTable,
}

impl HostTable {
    /// The tables that serve a host, most specific hostname first.
    pub(super) fn for_host<'t>(&'t self, host: &str) -> impl Iterator<Item = &'t PathTable> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        let mut wildcards = Vec::new();
        if !self.wildcard.is_empty() {
            let parents = host.match_indices('.').map(|(at, _)| &host[at + 1..]);
            wildcards.extend(parents.filter_map(|parent| self.wildcard.get(parent)));
        }
        let any = (!self.any.is_empty()).then_some(&self.any);
        exact.into_iter().chain(wildcards).chain(any)
    }

    pub(super) fn change(&mut self, host: &HostPattern, change: impl FnOnce(&mut PathTable)) {
        let (map, name) = match host {
            HostPattern::Any => return change(&mut self.any),
            HostPattern::Exact(name) => (&mut self.exact, name),
            HostPattern::Wildcard(parent) => (&mut self.wildcard, parent),
        };
        let mut table = map.get(name).cloned().unwrap_or_default();
        change(&mut table);
        if table.is_empty() {
            map.remove_mut(name);
        } else {
            map.insert_mut(Arc::clone(name), table);
        }
    }
}
