//! What the proxies of two pods cost while one asks the other at a steady rate: processor time and memory, as the kernel
//! and the kubelet count them. With release images; a figure, not a test.

use std::fs::read_to_string;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::arguments::Arguments;
use crate::clock::{Stopwatch, pause};
use crate::config::Config;
use crate::load::{Load, Mode};
use crate::pair::Pair;
use crate::say;

pub(crate) const OPTIONS: &[&str] = &["name", "mode", "rate", "seconds"];

/// The names of our proxies' processes.
const PROXIES: [&str; 2] = ["mesh-proxy", "mesh-node"];
/// Ticks of the kernel's clock in a second (proc(5)).
const TICKS: f64 = 100.0;

/// In a running cluster with our controller, and the node's proxy for its mode.
///
/// # Errors
/// When a request was lost.
pub(crate) fn run(config: &Config, given: &Arguments) -> anyhow::Result<()> {
    let place = given.place(config);
    let number =
        |name: &str, usual| given.get(name).map_or(Ok(usual), |text| text.parse().context("a number"));
    let (rate, seconds) = (number("rate", 1000)?, number("seconds", 30)?);
    let mode = given.get("mode").unwrap_or("sidecar");
    let pair = Pair { place: &place, namespace: "cost", mode };
    let outcome = measure(&pair, rate, seconds);
    pair.remove(false)?;
    outcome
}

fn measure(pair: &Pair<'_>, rate: u32, seconds: u32) -> anyhow::Result<()> {
    let to = SocketAddr::new(pair.prepare()?, 8080);
    let load = |seconds| {
        let host = "server".to_owned();
        Load { to, mode: Mode::Http1, host, rate, count: rate * seconds, attended: false }
    };
    // Connections and caches as they are after a while.
    pair.measured(&load(3))?;
    pause(Duration::from_secs(2));
    let (before, watch) = (proxies()?, Stopwatch::start());
    let tally = pair.measured(&load(seconds))?;
    let (after, took) = (proxies()?, watch.elapsed().as_secs_f64());
    ensure!(tally.lost() == 0, "{:?}", tally.told);
    let [median, most, _] = tally.took;
    say(&format!(
        "mode {}, {rate} requests a second for {took:.0} s: {median:.2} ms, 99 % within {most:.2}",
        pair.mode
    ));
    for proxy in after {
        let Some(earlier) = before.iter().find(|earlier| earlier.id == proxy.id) else { continue };
        let cores = (proxy.ticks - earlier.ticks) / TICKS / took;
        let Proxy { name, resident, own, used, .. } = proxy;
        // Others had nothing to do.
        if cores > 0.005 {
            say(&format!(
                "{name}: {cores:.3} of a core, {resident:.1} MB resident, {own:.1} MB of that its own; its container uses {used:.1} MB"
            ));
        }
    }
    Ok(())
}

/// A process of a proxy.
struct Proxy {
    id: u32,
    name: String,
    /// Processor time in ticks.
    ticks: f64,
    /// Resident memory, and what of it is not pages of a file, in MB.
    resident: f64,
    own: f64,
    /// Its container's working set, in MB: what `kubectl top` shows. Pages of a file that others use too count once, for
    /// whoever read them first.
    used: f64,
}

fn proxies() -> anyhow::Result<Vec<Proxy>> {
    let processes = std::fs::read_dir("/proc")?.flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // One that ends meanwhile is none.
    Ok(ids.filter_map(proxy).collect())
}

fn proxy(id: u32) -> Option<Proxy> {
    let name = read_to_string(format!("/proc/{id}/comm")).ok()?.trim().to_owned();
    if !PROXIES.contains(&name.as_str()) {
        return None;
    }
    let stat = read_to_string(format!("/proc/{id}/stat")).ok()?;
    let fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ticks = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    let status = read_to_string(format!("/proc/{id}/status")).ok()?;
    let megabytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
    };
    let (resident, own) = (megabytes("VmRSS:")?, megabytes("RssAnon:")?);
    Some(Proxy { id, name, ticks, resident, own, used: working_set(id)? })
}

/// What is charged to the control group of a process but pages of files that nobody has used lately, as the kubelet
/// counts; by either version of control groups.
fn working_set(id: u32) -> Option<f64> {
    let groups = read_to_string(format!("/proc/{id}/cgroup")).ok()?;
    let of = |controller: &str| {
        let mut lines = groups.lines().map(|line| line.splitn(3, ':').skip(1));
        lines.find_map(|mut line| (line.next()? == controller).then_some(line.next()?.to_owned()))
    };
    let (folder, usage, idle) = match of("memory") {
        Some(path) => {
            (format!("/sys/fs/cgroup/memory{path}"), "memory.usage_in_bytes", "total_inactive_file")
        }
        None => (format!("/sys/fs/cgroup{}", of("")?), "memory.current", "inactive_file"),
    };
    let usage: f64 = read_to_string(format!("{folder}/{usage}")).ok()?.trim().parse().ok()?;
    let stat = read_to_string(format!("{folder}/memory.stat")).ok()?;
    let idle = stat.lines().find_map(|line| line.strip_prefix(idle)?.trim().parse::<f64>().ok())?;
    Some((usage - idle) / f64::from(1 << 20))
}
