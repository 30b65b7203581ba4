//! What is wrong, in order, kept up to date while nodes change their minds. Where it is in a file is not known here.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use mesh_model::{Finding, Reason, Severity, SourceRef};

/// All findings, each once, with the number of nodes that say it.
#[derive(Debug, Default)]
pub(super) struct Found(BTreeMap<Ranked, usize>);

impl Found {
    /// Replaces what a node says. Returns whether something came or went.
    pub(super) fn replace(&mut self, old: &[Finding], new: &[Finding]) -> bool {
        if old == new {
            return false;
        }
        for finding in new {
            *self.0.entry(Ranked(finding.clone())).or_default() += 1;
        }
        for finding in old {
            let key = Ranked(finding.clone());
            match self.0.get_mut(&key) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.0.remove(&key)),
            }
        }
        true
    }

    /// Ordered by object and field.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.0.keys().map(|ranked| &ranked.0)
    }
}

/// A finding in its order.
#[derive(Debug, PartialEq, Eq)]
struct Ranked(Finding);

impl Ranked {
    fn rank(&self) -> (Option<&SourceRef>, &str, Reason, &str, Severity, Option<&str>) {
        let Finding { object, path, reason, message, severity, suggestion, .. } = &self.0;
        (object.as_ref(), path.as_str(), *reason, message, *severity, suggestion.as_deref())
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use mesh_model::{FieldPath, ObjectName, Origin};

    use super::*;

    #[test]
    fn a_finding_stays_as_long_as_one_node_says_it() {
        let source = SourceRef::new("HTTPRoute", ObjectName::new("shop", "cart"), Origin::Builtin);
        let finding =
            |path: &str| Finding::error(Reason::InvalidValue, &source, FieldPath::from(path), "is wrong");
        let mut found = Found::default();
        assert!(found.replace(&[], &[finding("b"), finding("a")]));
        assert!(found.replace(&[], &[finding("b")]));
        assert!(!found.replace(&[finding("b")], &[finding("b")]));
        assert_eq!(found.iter().cloned().collect::<Vec<_>>(), [finding("a"), finding("b")]);
        assert!(found.replace(&[finding("b"), finding("a")], &[]));
        assert_eq!(found.iter().cloned().collect::<Vec<_>>(), [finding("b")]);
        assert!(found.replace(&[finding("b")], &[]));
        assert_eq!(found.iter().count(), 0);
    }
}
