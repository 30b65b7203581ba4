//! A proxy of its own process, gateway and sidecar at once: how long it takes to be ready by what an earlier life kept,
//! without a controller, and what it holds then; and which functions it calls.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mesh_rt::{Clock, SystemClock};
use serde_json::json;

use crate::edit::percentiles;
use crate::http1::{CONNECTIONS, OBJECTS, Running, spawn_origin};
use crate::mesh::{EDGE, Folder, free_port, wait_for};
use crate::{load, say};

const STARTS: usize = 20;
const LOOK: Duration = Duration::from_micros(500);
const LIMIT: Duration = Duration::from_secs(20);
/// How long a proxy is left alone until it counts as idle.
const IDLE: Duration = Duration::from_secs(5);
/// Enough to see what a request calls.
const FEW: u64 = 100;
/// The workload that the proxy stands before, beside its gateway.
const WORKLOAD: &str = "\
apiVersion: local.mesh.io/v1alpha1
kind: Process
metadata: {name: web, namespace: default, labels: {app: web}}
spec: {command: [none], ports: [{name: http, containerPort: ORIGIN}]}
";

/// A folder with the configuration of a proxy that is gateway and sidecar at once, and of its controller.
struct Place {
    folder: Folder,
    controller: SocketAddr,
    metrics: SocketAddr,
    /// Where the gateway, the way out and the way in listen.
    ports: [SocketAddr; 3],
}

/// Starts the proxy again and again after a first life with a controller.
///
/// # Errors
/// When a program cannot be started, or the proxy is not ready in time.
pub(crate) fn start(controller: &Path, proxy: &Path) -> io::Result<()> {
    let (_origin, origin) = spawn_origin()?;
    let place = Place::new(origin)?;
    place.live(controller, Command::new(proxy))?;
    let (mut times, mut memory) = (Vec::new(), String::new());
    for start in 1..=STARTS {
        let begin = SystemClock.monotonic();
        let running = place.proxy(Command::new(proxy))?;
        times.push(SystemClock.monotonic() - begin);
        if start == STARTS {
            std::thread::park_timeout(IDLE);
            memory = resident(running.0.id())?;
        }
    }
    let load = std::fs::read_to_string("/proc/loadavg")?;
    say(&format!("{STARTS} starts, load {}: ready after {}", load.trim(), percentiles(times)));
    say(&format!("memory of the last: {memory}"));
    Ok(())
}

/// Tells a file which functions are called, those in C included: first in a life without a controller in which nobody asks
/// anything, then in one with a controller and requests of each kind.
///
/// # Errors
/// When valgrind or another program cannot be started, or an answer is not what the origin gave.
pub(crate) fn called(controller: &Path, proxy: &Path, file: &Path) -> io::Result<()> {
    let (_origin, origin) = spawn_origin()?;
    let place = Place::new(origin)?;
    let watched = |life: &str| {
        let out = place.folder.0.join(life);
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["-q", "--tool=callgrind", "--demangle=no", "--compress-strings=no"]);
        valgrind.arg(format!("--callgrind-out-file={}", out.display())).arg(proxy);
        (valgrind, out)
    };
    let (busy, idle) = (watched("busy"), watched("idle"));
    place.live(controller, busy.0)?;
    let running = place.proxy(idle.0)?;
    std::thread::park_timeout(IDLE);
    ended(running)?;
    std::fs::write(file, std::fs::read_to_string(idle.1)? + &std::fs::read_to_string(busy.1)?)
}

impl Place {
    fn new(origin: SocketAddr) -> io::Result<Self> {
        let folder = Folder::new("alone")?;
        let free = || Ok::<_, io::Error>(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)));
        let place =
            Self { folder, controller: free()?, metrics: free()?, ports: [free()?, free()?, free()?] };
        let [edge, out, into] = place.ports;
        let objects = [EDGE, OBJECTS, "---\n", WORKLOAD].concat();
        let objects = objects.replace("LISTEN", &edge.port().to_string());
        std::fs::create_dir_all(place.source())?;
        std::fs::write(
            place.source().join("mesh.yaml"),
            objects.replace("ORIGIN", &origin.port().to_string()),
        )?;
        let config = json!({
            "name": "edge",
            "controller": {
                "address": place.controller.to_string(),
                "identity": "spiffe://cluster.local/ns/service-mesh-system/sa/service-mesh-controller",
                "roots": place.authority().join("roots.pem"),
                "token": place.token(),
            },
            "state": { "directory": place.folder.0.join("kept") },
            "gateway": { "namespace": "default", "name": "edge", "address": "127.0.0.1" },
            "sidecar": {
                "namespace": "default", "name": "web",
                "outbound": [{ "listen": out, "service": { "namespace": "default", "name": "web", "port": 80 } }],
                "inbound": [{ "listen": into, "application": origin, "permissive": true }],
            },
            "workers": 1, "accessLog": "off", "admin": free()?, "metrics": place.metrics,
            "drain": { "lameDuckSeconds": 0 },
        });
        std::fs::write(place.config(), config.to_string())?;
        Ok(place)
    }

    fn source(&self) -> PathBuf {
        self.folder.0.join("source")
    }

    fn authority(&self) -> PathBuf {
        self.folder.0.join("authority")
    }

    fn token(&self) -> PathBuf {
        self.authority().join("tokens/default/edge-mesh")
    }

    fn config(&self) -> PathBuf {
        self.folder.0.join("proxy.json")
    }

    /// A life with a controller, from start to end.
    fn live(&self, controller: &Path, proxy: Command) -> io::Result<()> {
        let mut serving = Command::new(controller);
        serving.arg("--source").arg(self.source()).arg("--state").arg(self.authority());
        serving.args(["--listen", &self.controller.to_string()]);
        serving.args(["--readiness", &format!("127.0.0.1:{}", free_port()?)]);
        let _controller = Running::quietly(serving)?;
        wait_for("the controller", || self.token().exists())?;
        let proxy = self.proxy(proxy)?;
        for port in self.ports {
            wait_for("the proxy", || load::requests(port, 1, 1).is_ok())?;
            load::requests(port, CONNECTIONS, FEW)?;
        }
        ended(proxy)
    }

    /// Starts the proxy of this configuration and waits until it is ready.
    fn proxy(&self, mut command: Command) -> io::Result<Running> {
        command.arg("--config").arg(self.config());
        let (begin, running) = (SystemClock.monotonic(), Running::quietly(command)?);
        while !load::page(self.metrics, "/ready").is_ok_and(|page| page.starts_with("HTTP/1.1 200")) {
            if SystemClock.monotonic() - begin > LIMIT {
                return Err(io::Error::other("the proxy was not ready in time"));
            }
            std::thread::park_timeout(LOOK);
        }
        Ok(running)
    }
}

/// Lets a process end by itself, at which callgrind writes.
fn ended(mut running: Running) -> io::Result<()> {
    Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status()?;
    running.0.wait().map(drop)
}

/// What a process holds of its own, and what of files (proc(5)).
pub(crate) fn resident(pid: u32) -> io::Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let lines = status.lines().filter(|line| line.starts_with("Rss") || line.starts_with("VmRSS:"));
    Ok(lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", "))
}
