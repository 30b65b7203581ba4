//! Where functions lie in a program: those that are called lie together, so that an idle proxy keeps few pages of its
//! file in memory. Which are called, a profile tells of code that counted its branches, and callgrind of all other code,
//! such as that in C. Nothing runs here.

use std::collections::{HashMap, HashSet};

/// The order of symbols for a linker, a line each: what callgrind saw, as it comes, then what else was counted, most first.
pub(crate) fn of(called: &str, counted: &str) -> String {
    let counts = counts(counted);
    let mut others: Vec<(&str, u64)> = counts.into_iter().collect();
    others.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    let mut seen = HashSet::new();
    let others = others.into_iter().map(|(name, _)| name);
    let names = functions(called).chain(others).filter(|name| seen.insert(*name));
    names.flat_map(|name| [name, "\n"]).collect()
}

/// The functions in a file of callgrind whose names are neither compressed nor demangled, as they come.
fn functions(called: &str) -> impl Iterator<Item = &str> {
    let names = called.lines().filter_map(|line| line.strip_prefix("fn=").or(line.strip_prefix("cfn=")));
    // A function that calls itself has a depth behind its name; code without a name has its address.
    names.map(|name| name.split('\'').next().unwrap_or(name)).filter(|name| !name.starts_with("0x"))
}

/// How often the most frequent block of each function ran, as `llvm-profdata show --all-functions --counts` tells it;
/// without those that never ran. A function that only its unit knows has the unit's name before its own.
fn counts(counted: &str) -> HashMap<&str, u64> {
    let (mut counts, mut name) = (HashMap::new(), "");
    for line in counted.lines() {
        if let Some(blocks) = line.trim_start().strip_prefix("Block counts: ") {
            let numbers = blocks.trim_matches(['[', ']']).split(", ");
            let most = numbers.filter_map(|number| number.parse().ok()).max().unwrap_or(0);
            if most > 0 {
                let known = counts.entry(name).or_insert(0);
                *known = most.max(*known);
            }
        } else if line.starts_with("  ") && !line.starts_with("   ") {
            let whole = line.trim().trim_end_matches(':');
            name = whole.rsplit_once(';').map_or(whole, |(_, name)| name);
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTED: &str = "\
Counters:
  unit.1-cgu.0;_ZN1a1bE:
    Hash: 0x1
    Counters: 3
    Block counts: [0, 7, 2]
  _ZN1c1dE:
    Hash: 0x2
    Counters: 1
    Block counts: [9]
  _ZN1n5neverE:
    Hash: 0x3
    Counters: 2
    Block counts: [0, 0]
  _ZN1o5otherE:
    Hash: 0x4
    Counters: 1
    Block counts: [800]
Instrumentation level: IR
";
    const CALLED: &str = "\
fn=memcpy
0x10 0 1
cfn=_ZN1a1bE
calls=1 0x20 0
fn=0x000000000124c700
fn=_ZN1c1dE'2
fn=_ZN1c1dE
";

    #[test]
    fn what_callgrind_saw_comes_first_and_then_what_ran_most() {
        assert_eq!(of(CALLED, COUNTED), "memcpy\n_ZN1a1bE\n_ZN1c1dE\n_ZN1o5otherE\n");
        assert_eq!(of("", COUNTED), "_ZN1o5otherE\n_ZN1c1dE\n_ZN1a1bE\n");
    }

    #[test]
    fn what_is_no_profile_orders_nothing() {
        assert_eq!(of("", ""), "");
        assert_eq!(of("calls=1\n", "Block counts: [x]\n"), "");
    }
}
