//! What is lost while routes are edited: requests at their times, whatever became of those before, none sent twice,
//! through the gateway of a local mesh and the sidecar of a program, for each way of using connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::load::{Client, Load};

use crate::mesh::{LocalMesh, wait_for};
use crate::say;

/// The pause between two edits.
const PAUSE: Duration = Duration::from_millis(500);
/// What is tried, one after the other.
const CLIENTS: [Client; 6] =
    [Client::Http1, Client::Http1Close, Client::Http2, Client::Http2Close, Client::Tcp, Client::TcpClose];

/// A local mesh: a gateway with a listener of HTTP and one of TCP, and a program behind each.
struct Mesh {
    local: LocalMesh,
    http: SocketAddr,
    tcp: SocketAddr,
}

/// Prints for each way how many of `total` requests were good, at `rate` a second, and how long they took.
///
/// # Errors
/// When a mesh cannot be started, and at the end when any request was lost.
pub(crate) fn run(binary: &Path, total: u32, rate: u32) -> io::Result<()> {
    let mesh = Mesh::start(binary)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut lost = 0;
    for client in CLIENTS {
        let running = runtime.spawn(mesh.load(client, total, rate).run());
        let mut edits = 0;
        while !running.is_finished() {
            edits += 1;
            mesh.edit(edits)?;
            std::thread::park_timeout(PAUSE);
        }
        let report = runtime.block_on(running).map_err(io::Error::other)?.map_err(io::Error::other)?;
        lost += report.total() - report.good;
        say(&format!("{client:?}, {rate} a second, {edits} edits: {report}"));
    }
    if lost > 0 {
        return Err(io::Error::other(format!("{lost} requests were lost")));
    }
    Ok(())
}

impl Mesh {
    fn start(binary: &Path) -> io::Result<Self> {
        // All held until all are chosen, so that none comes twice.
        let free = || mesh_rt::net::listen_tcp((Ipv4Addr::LOCALHOST, 0).into(), false);
        let held = [free()?, free()?, free()?, free()?];
        let mut at = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); 4];
        for (at, held) in at.iter_mut().zip(&held) {
            *at = held.local_addr()?;
        }
        drop(held);
        let [http, tcp, web, echo] = at;
        let places = [("GATEWAY_HTTP", http), ("GATEWAY_TCP", tcp), ("WEB", web), ("ECHO", echo)];
        let objects = places
            .iter()
            .fold(OBJECTS.to_owned(), |objects, (place, at)| objects.replace(place, &at.port().to_string()));
        let mut command = Command::new(binary);
        command.arg("up");
        let local = LocalMesh::start("edits", command, &[("mesh.yaml", &objects)])?;
        let mesh = Self { local, http, tcp };
        mesh.edit(0)?;
        mesh.until_served()?;
        Ok(mesh)
    }

    fn until_served(&self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let good =
            |client| runtime.block_on(self.load(client, 1, 1).run()).is_ok_and(|report| report.good == 1);
        wait_for("the mesh", || good(Client::Http1Close) && good(Client::TcpClose))
    }

    fn load(&self, client: Client, total: u32, rate: u32) -> Load {
        let to = if matches!(client, Client::Tcp | Client::TcpClose) { self.tcp } else { self.http };
        Load { to, client, host: "bench.test".to_owned(), path: "/bench".to_owned(), rate, total }
    }

    /// Changes what carries the traffic: a filter and a match of the one route, the weights of the other.
    fn edit(&self, number: u32) -> io::Result<()> {
        let routes = ROUTES
            .replace("NUMBER", &number.to_string())
            .replace("FEW", &(1 + number % 7).to_string())
            .replace("MANY", &(20 + number % 5).to_string());
        self.local.describe("routes.yaml", &routes)
    }
}

const ROUTES: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: bench, namespace: default}
spec:
  parentRefs: [{name: edge, sectionName: http}]
  rules:
    - matches: [{path: {type: PathPrefix, value: /other-NUMBER}}]
      backendRefs: [{name: web, port: 80}]
    - matches: [{path: {type: PathPrefix, value: /bench}}]
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-edit, value: \"NUMBER\"}]}}]
      backendRefs: [{name: web, port: 80, weight: MANY}, {name: web-too, port: 80, weight: FEW}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: bench, namespace: default}
spec:
  parentRefs: [{name: edge, sectionName: tcp}]
  rules:
    - backendRefs: [{name: echo, port: 80, weight: MANY}, {name: echo-too, port: 80, weight: FEW}]
";

const OBJECTS: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: mesh}
spec: {controllerName: mesh.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  gatewayClassName: mesh
  listeners: [{name: http, protocol: HTTP, port: GATEWAY_HTTP}, {name: tcp, protocol: TCP, port: GATEWAY_TCP}]
---
apiVersion: local.mesh.io/v1alpha1
kind: Process
metadata: {name: web, namespace: default, labels: {app: web}}
spec:
  command: [meshctl, demo]
  args: [\"--listen=0.0.0.0:WEB\"]
  ports: [{name: http, containerPort: WEB}]
---
apiVersion: local.mesh.io/v1alpha1
kind: Process
metadata: {name: echo, namespace: default, labels: {app: echo}}
spec:
  command: [meshctl, demo]
  args: [\"--tcp=0.0.0.0:ECHO\"]
  ports: [{name: tcp, containerPort: ECHO}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http, appProtocol: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: web-too, namespace: default}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http, appProtocol: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: default}
spec: {selector: {app: echo}, ports: [{port: 80, targetPort: tcp, protocol: TCP}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo-too, namespace: default}
spec: {selector: {app: echo}, ports: [{port: 80, targetPort: tcp, protocol: TCP}]}
";
