//! The tests that are known to fail, as a list that only shrinks: a run of every change shows what is new. A run
//! that counts as conformance knows no list.

use std::collections::BTreeSet;

use anyhow::{Context, bail};

use super::events::{Outcome, Results};
use crate::config::Config;
use crate::say;

/// The list: one name a line; what follows `#` says why.
const PATH: &str = "conformance/known-failures.txt";

/// # Errors
/// When a test that is not on the list did not pass, or one is missing from the run.
pub(super) fn judge(config: &Config, results: &Results, of: usize) -> anyhow::Result<()> {
    let list = std::fs::read_to_string(config.root.join(PATH)).context(PATH)?;
    let known = names(&list);
    say(&results.closing_line(&known));
    let ran: BTreeSet<&str> = results.gateway().map(|(name, _)| name).collect();
    let bad = results.gateway().filter(|(_, test)| test.outcome != Outcome::Passed).map(|(name, _)| name);
    let new: Vec<&str> = bad.filter(|name| !known.contains(name)).collect();
    let stale: Vec<&str> = known.iter().copied().filter(|name| results.passed(name)).collect();
    if !known.is_empty() {
        say(&format!("{} of {of} gateway tests are listed in {PATH} as known to fail", known.len()));
    }
    if !stale.is_empty() {
        say(&format!("passed though listed, so take them off: {}", stale.join(" ")));
    }
    if let Some(strange) = known.iter().find(|name| !ran.contains(*name)) {
        bail!("{PATH}: the suite has no test {strange}, or did not reach it");
    }
    if ran.len() != of {
        bail!("{} gateway tests in the run, and the suite has {of}", ran.len());
    }
    if !new.is_empty() {
        bail!("did not pass, and not known to fail: {}", new.join(" "));
    }
    Ok(())
}

fn names(list: &str) -> BTreeSet<&str> {
    let lines = list.lines().map(|line| line.split_once('#').map_or(line, |(name, _)| name).trim());
    lines.filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_reason_is_not_a_name() {
        let list = "# why\nA # slow\n\nB\n";
        assert_eq!(names(list).into_iter().collect::<Vec<_>>(), ["A", "B"]);
    }
}
