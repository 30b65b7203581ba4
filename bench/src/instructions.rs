//! Instructions per request, counted by callgrind: two runs whose numbers of requests differ, and the difference
//! divided. Other load on the machine does not move it.

use std::io;
use std::path::{Path, PathBuf};

use crate::http1::{CONNECTIONS, Gateway, spawn_origin};
use crate::{load, say};

/// Requests of the short run; the long one has three times as many.
const REQUESTS: u64 = 4000;

/// Prints the instructions that one request through a gateway takes, the whole process counted. The profiles stay,
/// for `callgrind_annotate`.
pub(crate) fn run(binary: &Path) -> io::Result<()> {
    let (short, _) = counted(binary, REQUESTS)?;
    let (long, profile) = counted(binary, 3 * REQUESTS)?;
    let each = long.saturating_sub(short) / (2 * REQUESTS);
    say(&format!("{each} instructions per request, {CONNECTIONS} connections"));
    say(&format!("profile of {} requests: {}", 3 * REQUESTS, profile.display()));
    Ok(())
}

/// Runs a gateway under callgrind for so many requests. Gives all its instructions, and the profile.
fn counted(binary: &Path, requests: u64) -> io::Result<(u64, PathBuf)> {
    let (_origin, origin) = spawn_origin()?;
    let profile =
        std::env::temp_dir().join(format!("mesh-bench-{}-{requests}.callgrind", std::process::id()));
    let out = format!("--callgrind-out-file={}", profile.display());
    let gateway = Gateway::start(&["valgrind", "-q", "--tool=callgrind", &out], binary, origin)?;
    load::requests(gateway.address, CONNECTIONS, requests)?;
    // Its end writes the profile.
    drop(gateway);
    let text = std::fs::read_to_string(&profile)?;
    let total = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
    let total = total.and_then(|total| total.trim().parse().ok());
    Ok((total.ok_or_else(|| io::Error::other("the profile has no total"))?, profile))
}
