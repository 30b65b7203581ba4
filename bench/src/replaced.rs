//! What is lost while the endpoints of a service are replaced one after the other, without any pause between an
//! endpoint's leaving and the end of its program, through the gateway of a local mesh.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::load::{Client, Load};

use crate::http1::{Running, spawn_self};
use crate::mesh::{EDGE, LocalMesh, free_port, wait_for};
use crate::say;

/// Between two replacements.
const PAUSE: Duration = Duration::from_millis(60);
/// What is tried, one after the other.
const CLIENTS: [Client; 3] = [Client::Http1, Client::Http1Close, Client::Http2];

/// A gateway, and where it listens.
struct Mesh {
    local: LocalMesh,
    at: SocketAddr,
}

/// Prints for each way of using connections how many requests were good while `times` endpoints were replaced, at
/// `rate` requests a second.
///
/// # Errors
/// When a program cannot be started, and at the end when any request was lost.
pub(crate) fn run(binary: &Path, times: u32, rate: u32) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut endpoints = vec![spawn_self(&["origin"], "0,1")?, spawn_self(&["origin"], "0,1")?];
    let mesh = Mesh::start(binary, &addresses(&endpoints))?;
    let mut lost = 0;
    for client in CLIENTS {
        // As many requests as there are in the time of all replacements, and some before and after.
        let seconds = PAUSE.as_secs_f64() * f64::from(times) * 1.3 + 2.0;
        let load = mesh.load(client, (seconds * f64::from(rate)) as u32, rate);
        let running = runtime.spawn(load.run());
        std::thread::park_timeout(Duration::from_secs(1));
        let mut replaced = 0;
        while replaced < times && !running.is_finished() {
            endpoints.push(spawn_self(&["origin"], "0,1")?);
            let old = endpoints.remove(0);
            mesh.describe(&addresses(&endpoints))?;
            // The program ends at once: whoever is on the way to it has to go elsewhere.
            drop(old);
            replaced += 1;
            std::thread::park_timeout(PAUSE);
        }
        let report = runtime.block_on(running).map_err(io::Error::other)?.map_err(io::Error::other)?;
        lost += report.total() - report.good;
        say(&format!("{client:?}, {rate} a second, {replaced} endpoints replaced: {report}"));
    }
    if lost > 0 {
        return Err(io::Error::other(format!("{lost} requests were lost")));
    }
    Ok(())
}

fn addresses(endpoints: &[(Running, SocketAddr)]) -> Vec<SocketAddr> {
    endpoints.iter().map(|(_, address)| *address).collect()
}

impl Mesh {
    fn start(binary: &Path, endpoints: &[SocketAddr]) -> io::Result<Self> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let objects = format!("{}{WEB}", EDGE.replace("LISTEN", &at.port().to_string()));
        let mut command = Command::new(binary);
        command.args(["up", "--capture", "ports"]);
        let mesh = Self { local: LocalMesh::start("replaced", command, &[("mesh.yaml", &objects)])?, at };
        mesh.describe(endpoints)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        wait_for("the mesh", || {
            let load = mesh.load(Client::Http1Close, 1, 1);
            runtime.block_on(load.run()).is_ok_and(|report| report.good == 1)
        })?;
        Ok(mesh)
    }

    fn load(&self, client: Client, total: u32, rate: u32) -> Load {
        let (host, path) = ("bench.test".to_owned(), "/bench".to_owned());
        Load { to: self.at, client, host, path, rate, total }
    }

    /// One slice for each endpoint, as their ports differ.
    fn describe(&self, endpoints: &[SocketAddr]) -> io::Result<()> {
        let slice = |(number, at): (usize, &SocketAddr)| {
            SLICE.replace("NUMBER", &number.to_string()).replace("PORT", &at.port().to_string())
        };
        let slices: String = endpoints.iter().enumerate().map(slice).collect();
        self.local.describe("slices.yaml", &slices)
    }
}

const WEB: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {ports: [{name: http, port: 80, appProtocol: http}]}
";

const SLICE: &str = "\
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-NUMBER, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: PORT, protocol: TCP}]
endpoints: [{addresses: [127.0.0.1], conditions: {ready: true}}]
";
