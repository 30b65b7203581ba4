//! The allow-list: known places that break a rule. It may only shrink: an entry that matches nothing is itself
//! a complaint, and the number of entries is bounded here.

use std::collections::BTreeSet;

use anyhow::{Context, bail};

use super::Violation;

/// Where the list is, below the workspace.
pub(super) const PATH: &str = "xtask/tidy-allow.txt";

/// How many entries there may be. Lower it when one goes; raising it is what the list is against.
pub(super) const LIMIT: usize = 0;

/// The parsed list.
#[derive(Debug, Default)]
pub(super) struct AllowList {
    entries: BTreeSet<(String, String, String)>,
}

impl AllowList {
    /// Reads lines of `rule path [item]`; `#` begins a comment, which has to say why above the entry.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut entries = BTreeSet::new();
        let mut reason = false;
        for line in text.lines().map(str::trim) {
            if line.is_empty() {
                reason = false;
                continue;
            }
            if line.starts_with('#') {
                reason = true;
                continue;
            }
            if !reason {
                bail!("{PATH}: {line:?} has no comment above it that says why");
            }
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            let rule = words.next().context("an entry begins with a rule")?;
            let path = words.next().with_context(|| format!("{PATH}: {line:?} names no path"))?;
            entries.insert((rule, path, words.next().unwrap_or_default()));
        }
        Ok(Self { entries })
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is left to complain about: violations not on the list, and entries that match none.
    pub(super) fn judge(&self, violations: Vec<Violation>) -> Vec<String> {
        let mut unused = self.entries.clone();
        let mut complaints = Vec::new();
        for violation in violations {
            let key = (violation.rule.to_owned(), violation.path.clone(), violation.item.clone());
            let listed = self.entries.contains(&key);
            unused.remove(&key);
            if !listed || violation.rule == super::shape::HARD_LIMIT {
                complaints.push(violation.to_string());
            }
        }
        for (rule, path, item) in unused {
            complaints.push(format!("{PATH}: `{rule} {path} {item}` is no longer needed: remove it"));
        }
        if self.len() > LIMIT {
            complaints.push(format!("{PATH}: {} entries, at most {LIMIT}", self.len()));
        }
        complaints
    }
}
