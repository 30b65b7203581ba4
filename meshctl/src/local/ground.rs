//! What a replica stands on: its own namespaces, or this machine's network with explicit ports.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use mesh_model::{AppProtocol, Mesh, ObjectName, Service, Transport};
use mesh_proxy::capture::{HostsFile, Launcher, Program, SocketBroker, WorkloadSpec};
use mesh_proxy::dialer::{DialApplication, Dialing, SameNetwork};
use mesh_proxy::proxy::{Listen, OutboundListener};
use mesh_proxy::role::outbound::{Destination, OutboundPort, Unknown};
use tokio::net::{TcpStream, UdpSocket};

use super::names;
use super::program::{App, echo};

/// How traffic of the processes is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capture {
    /// Each has namespaces of its own.
    Namespaces,
    /// Each service is an explicit port.
    Ports,
}

/// The ground of one replica.
pub(crate) struct Ground {
    /// The program.
    pub(crate) app: App,
    /// How the proxy reaches it.
    pub(crate) dialer: Arc<dyn DialApplication>,
    /// Where its connections arrive.
    pub(crate) outbound: Vec<OutboundListener>,
    /// Its names for services, where it has some of its own.
    pub(crate) hosts: Option<HostsFile>,
    /// Sockets inside its namespace.
    pub(crate) broker: Option<SocketBroker>,
}

/// Connections to an application inside its namespace.
#[derive(Debug)]
struct Inside(SocketBroker);

impl DialApplication for Inside {
    fn dial(&self, address: SocketAddr) -> Dialing<'_> {
        Box::pin(async move { self.0.connect_tcp(address).await.map_err(std::io::Error::other) })
    }

    fn dial_udp(&self, address: SocketAddr) -> Dialing<'_, UdpSocket> {
        Box::pin(async move { self.0.connect_udp(address).await.map_err(std::io::Error::other) })
    }
}

/// Starts a program in namespaces of its own, where it sees these of our folders and no others.
pub(crate) async fn captured(
    name: &str,
    workload: &ObjectName,
    program: Program,
    shown: Vec<PathBuf>,
    mesh: &Mesh,
) -> Result<Ground, String> {
    let namespace = &*workload.namespace;
    let hosts = names::hosts(mesh, namespace);
    // The socket of `meshctl status` is there, and those of the other replicas: applications are not told what the mesh
    // does, nor are they anybody else.
    let hidden = vec![crate::config::runtime_folder()];
    let spec = WorkloadSpec { hidden, hosts, listeners: 1, name: name.to_owned(), program, shown };
    let launched = Launcher::new().spawn(spec).await.map_err(|error| error.to_string())?;
    echo(name, launched.stdout);
    echo(name, launched.stderr);
    let port = || OutboundPort {
        namespace: Arc::from(namespace),
        destination: Destination::Dialled,
        unknown: Unknown::OfWorkload(workload.clone()),
    };
    let listener = |listener: TcpListener| OutboundListener { listen: Listen::Tcp(listener), port: port() };
    let outbound: Vec<_> = launched.outbound.into_iter().map(listener).collect();
    Ok(Ground {
        app: App::Captured { process: launched.process, fresh: true, lost: false },
        dialer: Arc::new(Inside(launched.broker.clone())),
        outbound,
        hosts: Some(launched.hosts),
        broker: Some(launched.broker),
    })
}

/// Opens a port for every service port of the namespace, and tells the program by variables.
pub(crate) fn plain(
    name: &str,
    namespace: &str,
    mut program: Program,
    mesh: &Mesh,
) -> std::io::Result<Ground> {
    let mut ports = BTreeMap::new();
    let mut outbound = Vec::new();
    // An XBackend is for routes; nobody calls it by a name.
    let is_called = |service: &&Arc<Service>| {
        *service.name.namespace == *namespace && &*service.source.kind != "XBackend"
    };
    for service in mesh.all_services().filter(is_called) {
        for port in service.ports.iter().filter(|port| port.transport == Transport::Tcp) {
            let listener = mesh_rt::net::listen_tcp((Ipv4Addr::LOCALHOST, 0).into(), false)?;
            ports.insert((service.name.name.to_string(), port.port), listener.local_addr()?);
            let destination = Destination::Service { service: service.name.clone(), port: port.port };
            let port = OutboundPort { namespace: Arc::from(namespace), destination, unknown: Unknown::Deny };
            outbound.push(OutboundListener { listen: Listen::Tcp(listener), port });
        }
    }
    for (key, value) in names::variables(&ports) {
        program.env.entry(key).or_insert(value);
    }
    let app = App::Plain { program, name: name.to_owned(), child: None };
    Ok(Ground { app, dialer: Arc::new(SameNetwork), outbound, hosts: None, broker: None })
}

/// Listeners inside a namespace for the UDP ports of services: what is sent to a virtual address arrives there.
pub(crate) async fn udp_listeners(
    broker: &SocketBroker,
    namespace: &str,
    mesh: &Mesh,
) -> Vec<OutboundListener> {
    let mut all = Vec::new();
    for service in mesh.all_services() {
        let ports = service.ports.iter().filter(|port| port.transport == Transport::Udp);
        for (address, port) in ports.flat_map(|port| service.addresses.iter().map(move |a| (*a, port.port))) {
            let Ok(socket) = broker.capture_udp(SocketAddr::new(address, port)).await else { continue };
            let Ok(socket) = socket.into_std() else { continue };
            let destination = Destination::Service { service: service.name.clone(), port };
            let port = OutboundPort { namespace: Arc::from(namespace), destination, unknown: Unknown::Deny };
            all.push(OutboundListener { listen: Listen::Udp(socket), port });
        }
    }
    all
}

/// Whether a program takes connections on a port; a port that is not TCP counts as taken at once.
pub(crate) async fn accepts(dialer: &Arc<dyn DialApplication>, port: u16) -> bool {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let probe: std::io::Result<TcpStream> = dialer.dial(address).await;
    probe.is_ok()
}

/// Whether a protocol is one that an HTTP client may ask for, as far as a table for people is concerned.
pub(crate) fn label(protocol: AppProtocol) -> &'static str {
    match protocol {
        AppProtocol::Detect => "any",
        AppProtocol::Grpc => "grpc",
        AppProtocol::Http1 => "http",
        AppProtocol::Http2 => "h2c",
        AppProtocol::Tcp => "tcp",
        AppProtocol::Tls => "tls",
        AppProtocol::WebSocket => "ws",
    }
}
