//! The names of headers that routes and policies compare, counted, so that a record of a decision can be small.

use http::HeaderName;

use super::hashed::HashTrieMapSync;
use crate::policy::{Condition, ConditionKey};
use crate::resource::Resource;

/// Header names and how many places compare them.
#[derive(Debug, Clone, Default)]
pub(super) struct HeaderNames(HashTrieMapSync<HeaderName, u32>);

impl HeaderNames {
    /// Mostly there are none, and then no request pays for going through the map.
    pub(super) fn iter(&self) -> impl Iterator<Item = &HeaderName> {
        let some = (!self.0.is_empty()).then_some(&self.0);
        some.into_iter().flat_map(HashTrieMapSync::keys)
    }

    pub(super) fn add(&mut self, resource: &Resource) {
        for name in compared(resource) {
            let count = self.0.get(name).copied().unwrap_or(0);
            self.0.insert_mut(name.clone(), count + 1);
        }
    }

    pub(super) fn take(&mut self, resource: &Resource) {
        for name in compared(resource) {
            match self.0.get(name).copied() {
                Some(count) if count > 1 => self.0.insert_mut(name.clone(), count - 1),
                _ => drop(self.0.remove_mut(name)),
            }
        }
    }
}

fn compared(resource: &Resource) -> Vec<&HeaderName> {
    match resource {
        Resource::Route(route) => {
            let matches = route.rules.iter().flat_map(|rule| &rule.matches);
            matches.flat_map(|m| &m.headers).map(|header| &header.name).collect()
        }
        Resource::Policy(policy) => {
            let conditions = policy.rules.iter().flat_map(|rule| &rule.when);
            conditions.filter_map(compared_header).collect()
        }
        Resource::BackendTls(_)
        | Resource::Certificate(_)
        | Resource::EndpointChunk(_)
        | Resource::Listener(_)
        | Resource::Service(_)
        | Resource::Workload(_) => Vec::new(),
    }
}

fn compared_header(condition: &Condition) -> Option<&HeaderName> {
    match &condition.key {
        ConditionKey::RequestHeader(name) => Some(name),
        _ => None,
    }
}
