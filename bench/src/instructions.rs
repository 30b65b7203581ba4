//! Instructions per request, counted by callgrind: two runs whose numbers of requests differ, and the difference
//! divided. Other load on the machine does not move it. Misses are those of callgrind's model of caches and branches,
//! which tell of where code lies.

use std::io;
use std::path::{Path, PathBuf};

use crate::http1::{CONNECTIONS, Gateway, spawn_origin};
use crate::{load, say};

/// Requests of the short run; the long one has three times as many.
const REQUESTS: u64 = 4000;
/// The program and what it counts: caches as most machines have them, whatever this one's are.
const COUNTED_BY: &[&str] = &[
    "valgrind",
    "-q",
    "--tool=callgrind",
    "--cache-sim=yes",
    "--branch-sim=yes",
    "--I1=32768,8,64",
    "--D1=32768,8,64",
    "--LL=1048576,16,64",
];
/// What is told of what was counted, by callgrind's names.
const TOLD: &[(&str, &str)] = &[
    ("Ir", "instructions"),
    ("I1mr", "misses of the first instruction cache"),
    ("D1mr", "misses of the first data cache when reading"),
    ("Bc", "conditional branches"),
    ("Bcm", "of them mispredicted"),
];

/// Prints what one request through a gateway takes, the whole process counted. The profiles stay, for
/// `callgrind_annotate`.
pub(crate) fn run(binary: &Path) -> io::Result<()> {
    let (short, _) = counted(binary, REQUESTS)?;
    let (long, profile) = counted(binary, 3 * REQUESTS)?;
    for ((_, meaning), (short, long)) in TOLD.iter().zip(short.iter().zip(long)) {
        let each = long.saturating_sub(*short) as f64 / (2 * REQUESTS) as f64;
        say(&format!("{each:.1} {meaning} per request, {CONNECTIONS} connections"));
    }
    say(&format!("profile of {} requests: {}", 3 * REQUESTS, profile.display()));
    Ok(())
}

/// Runs a gateway under callgrind for so many requests. Gives all that is told of it, and the profile.
fn counted(binary: &Path, requests: u64) -> io::Result<(Vec<u64>, PathBuf)> {
    let (_origin, origin) = spawn_origin()?;
    let profile =
        std::env::temp_dir().join(format!("mesh-bench-{}-{requests}.callgrind", std::process::id()));
    let out = format!("--callgrind-out-file={}", profile.display());
    let gateway = Gateway::start(&[COUNTED_BY, &[&out]].concat(), binary, origin)?;
    load::requests(gateway.address, CONNECTIONS, requests)?;
    // Its end writes the profile.
    drop(gateway);
    let totals = totals(&std::fs::read_to_string(&profile)?);
    Ok((totals.ok_or_else(|| io::Error::other("the profile has no totals"))?, profile))
}

/// The totals of what is told, in its order.
fn totals(profile: &str) -> Option<Vec<u64>> {
    let words = |key| profile.lines().rev().find_map(|line| Some(line.strip_prefix(key)?.split_whitespace()));
    let (events, totals) = (words("events: ")?, words("totals: ")?);
    let totals: Vec<(&str, u64)> =
        events.zip(totals).filter_map(|(event, total)| Some((event, total.parse().ok()?))).collect();
    TOLD.iter().map(|(name, _)| Some(totals.iter().find(|(event, _)| event == name)?.1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_found_by_the_names_of_their_events() {
        let profile = "events: Ir I1mr D1mr X Bc Bcm\nfn=a\n1 2 3\ntotals: 100 7 8 9 50 4\n";
        assert_eq!(totals(profile), Some(vec![100, 7, 8, 50, 4]));
        assert_eq!(totals("events: Ir\ntotals: 100\n"), None);
    }
}
