//! The tests that are known to fail, as a list that only shrinks: a run of every change shows what is new. A run
//! that counts as conformance knows no list.

use std::collections::BTreeSet;

use anyhow::{Context, bail};

use super::events::{Outcome, Results};
use crate::config::Config;
use crate::say;

/// The list: one name a line; what follows `#` says why.
const PATH: &str = "conformance/known-failures.txt";

/// The names on the list.
#[derive(Debug, Default)]
pub(super) struct List(BTreeSet<String>);

impl List {
    /// # Errors
    /// When the list cannot be read.
    pub(super) fn read(config: &Config) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(config.root.join(PATH)).context(PATH)?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().map(|line| line.split_once('#').map_or(line, |(name, _)| name).trim());
        Self(lines.filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// # Errors
    /// When a test that is not on the list did not pass, or one is missing from the run.
    pub(super) fn judge(&self, results: &Results, of: usize) -> anyhow::Result<()> {
        say(&results.closing_line(|name| self.has(name)));
        if !results.second.is_empty() {
            say(&format!("passed at the second try: {}", results.second.join(" ")));
        }
        if !self.0.is_empty() {
            say(&format!("{} of {of} gateway tests are listed in {PATH} as known to fail", self.0.len()));
        }
        let stale: Vec<&str> =
            self.0.iter().map(String::as_str).filter(|name| results.passed(name)).collect();
        if !stale.is_empty() {
            say(&format!("passed though listed, so take them off: {}", stale.join(" ")));
        }
        let bad = results.asked().filter(|(_, test)| test.outcome != Outcome::Passed).map(|(name, _)| name);
        let new: Vec<&str> = bad.filter(|name| !self.has(name)).collect();
        if !new.is_empty() {
            bail!("did not pass, and not known to fail: {}", new.join(" "));
        }
        if let Some(strange) =
            self.0.iter().find(|known| results.asked().all(|(name, _)| name != known.as_str()))
        {
            bail!("{PATH}: the suite has no test {strange}, or did not reach it");
        }
        let ran = results.asked().count();
        if ran != of {
            bail!("{ran} gateway tests in the run, and the suite has {of}");
        }
        if self.0.is_empty() && results.second.is_empty() && !results.succeeded {
            bail!("every test passed, but not the suite around them: see its events");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::events::Results;
    use super::List;

    fn results(outcomes: &[(&str, &str)], succeeded: bool) -> Results {
        let mut results = Results { succeeded, ..Results::default() };
        for (name, outcome) in outcomes {
            results.read(format!(r#"{{"Action":"{outcome}","Test":"TestConformance/{name}"}}"#).as_bytes());
        }
        results
    }

    #[test]
    fn a_reason_is_not_a_name() {
        let list = List::parse("# why\nA # slow\n\nB\n");
        assert!(list.has("A") && list.has("B"));
        assert_eq!(list.0.len(), 2);
    }

    #[test]
    fn only_listed_tests_may_fail_and_none_may_be_missing() {
        let none = List::default();
        let listed = List::parse("B");
        none.judge(&results(&[("A", "pass"), ("B", "pass")], true), 2).unwrap();
        listed.judge(&results(&[("A", "pass"), ("B", "fail")], false), 2).unwrap();
        listed.judge(&results(&[("A", "pass"), ("B", "pass")], true), 2).unwrap();
        assert!(none.judge(&results(&[("A", "pass"), ("B", "fail")], false), 2).is_err());
        assert!(none.judge(&results(&[("A", "pass"), ("B", "skip")], true), 2).is_err());
        assert!(none.judge(&results(&[("A", "pass")], true), 2).is_err());
        assert!(none.judge(&results(&[("A", "pass"), ("B", "pass")], false), 2).is_err());
        assert!(listed.judge(&results(&[("A", "pass"), ("C", "pass")], true), 2).is_err());
    }
}
