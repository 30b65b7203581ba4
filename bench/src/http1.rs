//! HTTP/1.1 keep-alive: CPU per request of proxies as a ratio to a blind relay, all in the same rounds.
//!
//! nginx and HAProxy take part where they are installed: what a relay's price means differs between processors, and
//! theirs tells it. The proxy under test runs alone on core 0, generator and origin on core 1.
//!
//! There are two loads, because the first alone misleads. At full load a relay keeps generator and origin as busy as itself:
//! nobody sleeps, so that it wakes nobody. Whoever costs more leaves them time to sleep and pays for waking them. With as
//! many requests a second for all, everybody wakes others, and what is left is the difference between the contestants.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::contest::{self, Contestant};
use crate::load;
use crate::mesh::{EDGE, LocalMesh, free_port, wait_for};
use crate::peers::{Peer, Peers};

/// Connections that are kept alive.
pub(crate) const CONNECTIONS: usize = 32;
/// How much of what the slowest answers is asked of all.
const PART: f64 = 0.6;

/// A process that is ended when dropped.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Starts one that neither reads nor says anything.
    pub(crate) fn quietly(mut command: Command) -> io::Result<Self> {
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs all rounds and prints the table. `proxy` is the meshctl binary.
pub(crate) fn run(binary: &Path) -> io::Result<()> {
    let (_origin, origin) = spawn_self(&["origin"], "1")?;
    let (relay, relay_at) = spawn_self(&["relay", &origin.to_string()], "0")?;
    let gateway = Gateway::start(&[], binary, origin)?;
    let peers = Peers::new(origin)?;
    let nginx = peers.nginx(NGINX)?;
    let haproxy = peers.haproxy(HAPROXY)?;
    let mut all = vec![
        Contestant::new("relay", relay.0.id(), relay_at),
        Contestant::new("mesh gateway", gateway.mesh.id(), gateway.address),
    ];
    all.extend(nginx.iter().chain(&haproxy).map(Peer::contestant));
    let pace = contest::pace_for(&all, PART)?;
    contest::run(&mut all, pace)?;
    let (relay, others) = all.split_first().ok_or_else(|| io::Error::other("nobody takes part"))?;
    others.iter().for_each(|other| contest::compare(other, relay));
    Ok(())
}

const NGINX: &str = "\
  server { listen 127.0.0.1:LISTEN; location / { proxy_pass http://origin; } }
";

const HAPROXY: &str = "\
frontend all
  bind 127.0.0.1:LISTEN
  default_backend origin
";

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

/// The service that is the origin, at port ORIGIN.
pub(crate) const OBJECTS: &str = "\
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
