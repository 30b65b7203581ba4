//! From the start of a proxy to its readiness, with what an earlier life kept and no controller; and its memory then.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mesh_rt::{Clock, SystemClock};

use crate::edit::percentiles;
use crate::http1::Running;
use crate::{load, say};

const STARTS: usize = 20;
const LOOK: Duration = Duration::from_micros(500);
const LIMIT: Duration = Duration::from_secs(20);

/// Starts the proxy of this configuration again and again. `metrics` is the address in it that says when it is ready.
///
/// # Errors
/// When it is not ready in time.
pub(crate) fn run(binary: &Path, config: &Path, metrics: SocketAddr) -> io::Result<()> {
    let (mut times, mut memory) = (Vec::new(), String::new());
    for _ in 0..STARTS {
        let begin = SystemClock.monotonic();
        let mut command = Command::new(binary);
        command.arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running(command.spawn()?);
        while !load::page(metrics, "/ready").is_ok_and(|page| page.starts_with("HTTP/1.1 200")) {
            if SystemClock.monotonic() - begin > LIMIT {
                return Err(io::Error::other("the proxy was not ready in time"));
            }
            std::thread::park_timeout(LOOK);
        }
        times.push(SystemClock.monotonic() - begin);
        memory = resident(running.0.id())?;
    }
    let load = std::fs::read_to_string("/proc/loadavg")?;
    say(&format!("{STARTS} starts, load {}: ready after {}", load.trim(), percentiles(times)));
    say(&format!("memory of the last: {memory}"));
    Ok(())
}

/// What a process holds of its own, and what of files (proc(5)).
fn resident(pid: u32) -> io::Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let lines = status.lines().filter(|line| line.starts_with("RssAnon:") || line.starts_with("RssFile:"));
    Ok(lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", "))
}
