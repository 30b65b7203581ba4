//! HTTP/1.1 keep-alive: CPU per request of proxies as a ratio to a blind relay, all in the same rounds.
//!
//! The proxy under test runs alone on core 0, generator and origin on core 1. Every round runs all contestants;
//! the median of the rounds' ratios is printed with its range.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::mesh::{EDGE, LocalMesh, free_port, wait_for};
use crate::{load, say};

/// Connections that are kept alive.
pub(crate) const CONNECTIONS: usize = 32;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(3);

/// A process that is ended when dropped.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A contestant: its name, its process, where it listens.
struct Contestant {
    name: &'static str,
    pid: u32,
    address: SocketAddr,
    ratios: Vec<f64>,
}

/// Runs all rounds and prints the table. `proxy` is the meshctl binary.
pub(crate) fn run(binary: &Path) -> io::Result<()> {
    let (_origin, origin) = spawn_self(&["origin"], "1")?;
    let (relay, relay_at) = spawn_self(&["relay", &origin.to_string()], "0")?;
    let gateway = Gateway::start(&[], binary, origin)?;
    let mut all = [
        Contestant { name: "relay", pid: relay.0.id(), address: relay_at, ratios: Vec::new() },
        Contestant {
            name: "mesh gateway",
            pid: gateway.mesh.id(),
            address: gateway.address,
            ratios: Vec::new(),
        },
    ];
    say(&format!(
        "load {:?}, {CONNECTIONS} connections, {ROUNDS} rounds of {ROUND:?}",
        std::fs::read_to_string("/proc/loadavg")?.trim()
    ));
    pin_self()?;
    for contestant in &all {
        load::run(contestant.address, CONNECTIONS, Duration::from_millis(500))?;
    }
    for round in 0..ROUNDS {
        round_of(&mut all, round)?;
    }
    for contestant in &mut all {
        contestant.ratios.sort_by(f64::total_cmp);
        let (low, high) = (contestant.ratios[0], contestant.ratios[ROUNDS - 1]);
        let median = contestant.ratios[ROUNDS / 2];
        say(&format!("{:<12} {median:.2} x relay   ({low:.2} to {high:.2})", contestant.name));
    }
    Ok(())
}

fn round_of(all: &mut [Contestant], round: usize) -> io::Result<()> {
    let count = all.len();
    let mut costs = vec![0.0; count];
    for step in 0..count {
        let at = (step + round) % count;
        let before = cpu_seconds(all[at].pid)?;
        let answers = load::run(all[at].address, CONNECTIONS, ROUND)?;
        costs[at] = (cpu_seconds(all[at].pid)? - before) / answers as f64 * 1e6;
    }
    let line: Vec<_> = all.iter().zip(&costs).map(|(c, cost)| format!("{} {cost:.1} us", c.name)).collect();
    say(&format!("round {round}: {}", line.join(", ")));
    all.iter_mut().zip(&costs).for_each(|(c, cost)| c.ratios.push(cost / costs[0]));
    Ok(())
}

/// User and system time of a process (proc(5), fields 14 and 15 of stat; 100 ticks a second).
pub(crate) fn cpu_seconds(pid: u32) -> io::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}

pub(crate) fn spawn_self(arguments: &[&str], core: &str) -> io::Result<(Running, SocketAddr)> {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(std::env::current_exe()?).args(arguments).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut line = String::new();
    let out = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
    BufReader::new(out).read_line(&mut line)?;
    let port: u16 = line.trim().parse().map_err(io::Error::other)?;
    Ok((Running(child), (Ipv4Addr::LOCALHOST, port).into()))
}

pub(crate) fn pin_self() -> io::Result<()> {
    let pid = std::process::id().to_string();
    let done = Command::new("taskset").args(["-cp", "1", &pid]).stdout(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err(io::Error::other("taskset failed")) }
}

/// The origin of a benchmark, on core 1.
pub(crate) fn spawn_origin() -> io::Result<(impl Drop, SocketAddr)> {
    spawn_self(&["origin"], "1")
}

/// A local mesh whose gateway forwards to an origin, described by the objects that users write; on core 0.
pub(crate) struct Gateway {
    /// Its processes and files.
    pub(crate) mesh: LocalMesh,
    /// Its listener.
    pub(crate) address: SocketAddr,
}

impl Gateway {
    /// Starts one, under these words of another program if there are any, and waits until it answers.
    pub(crate) fn start(under: &[&str], binary: &Path, origin: SocketAddr) -> io::Result<Self> {
        let port = free_port()?;
        let origin = OBJECTS.replace("ORIGIN", &origin.port().to_string());
        let objects = format!("{}{origin}", EDGE.replace("LISTEN", &port.to_string()));
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).args(under).arg(binary).args(["up", "--capture", "ports"]);
        let mesh = LocalMesh::start("gateway", command, &[("mesh.yaml", &objects)])?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        wait_for("the gateway", || load::requests(address, 1, 1).is_ok())?;
        std::thread::park_timeout(Duration::from_millis(500));
        Ok(Self { mesh, address })
    }
}

const OBJECTS: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  ports: [{name: http, port: 80, appProtocol: http}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: ORIGIN, protocol: TCP}]
endpoints: [{addresses: [127.0.0.1], conditions: {ready: true}}]
";
