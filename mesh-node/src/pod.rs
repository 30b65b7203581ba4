//! A pod that is served: listeners and a worker inside its network namespace, and rules that lead its connections to
//! them. Which pod, and where, is decided elsewhere.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mesh_ca::tls::PeerTls;
use mesh_capture::Namespace;
use mesh_capture::netlink::NetlinkError;
use mesh_capture::nft::{self, Inbound, NODE_TABLE, Names, Rules};
use mesh_model::Finding;
use mesh_proxy::drain::DrainTimes;
use mesh_proxy::names::{Settings, name_server};
use mesh_proxy::proxy::{
    InboundListener, Listen, NamesListener, Network, OutboundListener, Proxy, ProxyHandle, ProxyOptions,
    StartError,
};
use mesh_proxy::role::inbound::{InboundPort, Plaintext};
use mesh_proxy::role::outbound::{Destination, OutboundPort, Unknown};
use mesh_proxy::snapshot::SharedMesh;
use mesh_proxy::telemetry::Telemetry;

use crate::plan::Seat;

/// Where what a pod sends is taken.
pub const OUTBOUND_PORT: u16 = 15_001;
/// Where what comes for a pod is taken.
pub const INBOUND_PORT: u16 = 15_006;
/// The mark of connections that the node's proxy makes.
pub const MARK: u32 = 0x6d65_7368;
/// Pause between two looks at connections that other processes still carry.
const LOOK: Duration = Duration::from_secs(1);

/// Why a pod is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// The namespace cannot be entered, or a port of it is taken by the pod.
    #[error("port {port} cannot be listened on in the pod: {problem}")]
    Listen {
        /// The port.
        port: u16,
        /// What the system said.
        problem: io::Error,
    },
    /// The namespace cannot be looked at.
    #[error("the pod's network cannot be looked at: {0}")]
    Look(#[from] io::Error),
    /// A listener cannot be served.
    #[error("{0}")]
    Port(Box<Finding>),
    /// The kernel refused the rules.
    #[error("the redirect rules cannot be set in the pod: {0}")]
    Rules(#[from] NetlinkError),
    /// The worker cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl From<Box<Finding>> for EnterError {
    fn from(finding: Box<Finding>) -> Self {
        Self::Port(finding)
    }
}

/// What all pods of a node share.
pub struct Shared {
    /// The snapshot that decides.
    pub mesh: SharedMesh,
    /// What all of them tell.
    pub telemetry: Telemetry,
    /// How each of them drains.
    pub drain: DrainTimes,
    /// Most connections of one pod.
    pub connections: usize,
    /// Where questions for names are taken in each pod, and the servers whose questions they are.
    pub names: Option<(u16, Settings)>,
    /// The node's own addresses, beside those by which pods reach it.
    pub addresses: BTreeSet<IpAddr>,
}

/// Where a pod's connections are taken: sockets that may be those of an earlier process, too.
#[derive(Debug)]
pub struct Sockets {
    /// For what the pod sends.
    pub outbound: TcpListener,
    /// For what comes.
    pub inbound: TcpListener,
}

impl Sockets {
    /// New ones. They share their ports with those of another process.
    ///
    /// # Errors
    /// The namespace cannot be entered, or a port of it is taken by the pod.
    pub fn open(namespace: &Namespace) -> Result<Self, EnterError> {
        let [outbound, inbound] = [OUTBOUND_PORT, INBOUND_PORT].map(|port| listen(namespace, port));
        Ok(Self { outbound: outbound?, inbound: inbound? })
    }

    /// The same sockets once more.
    ///
    /// # Errors
    /// This process is out of descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { outbound: self.outbound.try_clone()?, inbound: self.inbound.try_clone()? })
    }
}

/// A pod that is served.
#[derive(Debug)]
pub struct Pod {
    /// Which, and where.
    pub seat: Seat,
    namespace: Namespace,
    proxy: ProxyHandle,
    /// How long connections may take to end.
    deadline: Duration,
    /// What is set when plain text enters no more, while it enters because clients may not know better.
    open: Option<Arc<AtomicBool>>,
}

impl Pod {
    /// Begins to serve a pod at these sockets in it: first there are listeners, then the rules that lead to them.
    ///
    /// # Errors
    /// What cannot be done; nothing is left of it then.
    pub fn enter(
        shared: &Shared,
        seat: Seat,
        (namespace, sockets): (Namespace, Sockets),
        tls: PeerTls,
    ) -> Result<Self, EnterError> {
        let Sockets { outbound, inbound } = sockets;
        let workload = &seat.workload;
        let mut options = ProxyOptions::new(&*workload.name.name, shared.mesh.clone(), tls);
        options.network = Some(Network { namespace: namespace.clone(), mark: MARK });
        options.telemetry = shared.telemetry.clone();
        options.drain = shared.drain;
        options.connections = Some(shared.connections);
        let proxy = Proxy::start(options)?;
        let port = OutboundPort {
            namespace: Arc::clone(&workload.name.namespace),
            destination: Destination::Dialled,
            unknown: Unknown::OfWorkload(workload.name.clone()),
        };
        proxy.open_outbound(OutboundListener { listen: Listen::Tcp(outbound), port })?;
        let open = (!workload.is_met_with_tls()).then(Arc::default);
        let plaintext = open.clone().map_or(Plaintext::Strict, Plaintext::Until);
        let port = InboundPort { workload: workload.name.clone(), application: None, plaintext };
        proxy.open_inbound(InboundListener { listen: Listen::Tcp(inbound), port })?;
        let rules = Rules::node(
            MARK,
            OUTBOUND_PORT,
            Inbound { exempt: Vec::new(), probes: probes(shared, &seat, &namespace)?, port: INBOUND_PORT },
        );
        let rules = rules.with_names(names(shared, &seat, &namespace, &proxy));
        namespace.run(|| rules.apply())??;
        Ok(Self { seat, namespace, proxy, deadline: shared.drain.deadline, open })
    }

    /// Whether plain text enters because clients may not know better.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Lets plain text in no more, except where policies say so. Connections that were accepted before stay.
    pub fn close_plaintext(&mut self) {
        if let Some(end) = self.open.take() {
            end.store(true, Ordering::Release);
        }
    }

    /// Whether another process serves the pod as well, at sockets of its own: one that took nothing over from this one.
    pub fn has_successor(&self) -> bool {
        let listeners = self.namespace.listeners(INBOUND_PORT);
        listeners.is_ok_and(|listeners| listeners > 1)
    }

    /// Ends at once: the namespace is gone.
    pub fn stop(self) {
        self.proxy.stop();
    }

    /// Captures nothing more, lets what was captured come to its end, and then takes the rules away, unless they are
    /// those of a process that came meanwhile.
    pub async fn release(self) {
        self.told(self.namespace.run(|| nft::release(NODE_TABLE)));
        let last = tokio::time::Instant::now() + self.deadline;
        self.leave_to_others().await;
        // Without any rule the kernel would translate no more what earlier processes still carry.
        let others = async {
            while carried(&self.namespace) > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout_at(last, others).await;
        if self.namespace.listeners(INBOUND_PORT).is_ok_and(|listeners| listeners == 0) {
            self.told(self.namespace.run(|| nft::remove(NODE_TABLE)));
        }
    }

    /// Lets what was captured come to its end. The rules stay: they are those of who takes this one's place.
    pub async fn leave_to_others(&self) {
        self.proxy.drain();
        self.proxy.stopped().await;
    }

    fn told(&self, done: io::Result<Result<(), NetlinkError>>) {
        let problem = match done {
            Ok(Ok(())) => return,
            Ok(Err(problem)) => problem.to_string(),
            Err(problem) => problem.to_string(),
        };
        tracing::error!(pod = %self.seat.workload.name, problem, "the rules in the pod could not be changed");
    }
}

/// The connections in a pod that proxies carry, of whichever process.
fn carried(namespace: &Namespace) -> usize {
    [OUTBOUND_PORT, INBOUND_PORT].into_iter().filter_map(|port| namespace.connections(port).ok()).sum()
}

/// Takes the rules of an earlier proxy out of a namespace in which no pod is served. One that still carries connections
/// there takes them away itself.
///
/// # Errors
/// The namespace cannot be entered, or the kernel refuses.
pub fn clean(namespace: &Namespace) -> Result<(), EnterError> {
    if namespace.listeners(INBOUND_PORT)? > 0 || carried(namespace) > 0 {
        return Ok(());
    }
    Ok(namespace.run(|| nft::remove(NODE_TABLE))??)
}

fn listen(namespace: &Namespace, port: u16) -> Result<TcpListener, EnterError> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    // Shared with the process that takes this one's place.
    let made = namespace.run(|| mesh_rt::net::listen_tcp(any, true)).and_then(|made| made);
    made.map_err(|problem| EnterError::Listen { port, problem })
}

/// Opens sockets for the pod's questions for names, and says which ones lead there. A pod that has the port itself, or
/// wants to be left alone, asks as without a mesh.
fn names(shared: &Shared, seat: &Seat, namespace: &Namespace, proxy: &ProxyHandle) -> Option<Names> {
    let (port, settings) = shared.names.as_ref()?;
    if seat.workload.on_node.as_ref().is_some_and(|on_node| on_node.keeps_names) {
        return None;
    }
    let server = name_server(shared.mesh.clone(), settings, Some(MARK), &shared.telemetry)?;
    let open = || -> io::Result<Vec<Listen>> {
        let mut all = Vec::new();
        for address in settings.loopbacks() {
            let at = SocketAddr::new(address, *port);
            // Shared with the process that takes this one's place.
            all.push(Listen::Udp(namespace.run(|| mesh_rt::net::bind_udp(at, true))??));
            all.push(Listen::Tcp(namespace.run(|| mesh_rt::net::listen_tcp(at, true))??));
        }
        Ok(all)
    };
    match open() {
        Ok(all) => {
            for listen in all {
                proxy.open_names(NamesListener { listen, server: Arc::clone(&server) });
            }
            let servers = settings.servers.iter().map(SocketAddr::ip).collect();
            Some(Names { port: *port, servers })
        }
        Err(problem) => {
            tracing::warn!(pod = %seat.workload.name, port, %problem, "the pod's names are not answered here");
            None
        }
    }
}

/// The kubelet has no identity: from the node's own addresses, the ports at which it asks are reached as they are.
fn probes(shared: &Shared, seat: &Seat, namespace: &Namespace) -> Result<Vec<(IpAddr, u16)>, EnterError> {
    let ports = seat.workload.on_node.iter().flat_map(|on_node| &on_node.probes);
    let nodes: BTreeSet<IpAddr> = namespace.gateways()?.union(&shared.addresses).copied().collect();
    Ok(ports.flat_map(|port| nodes.iter().map(move |node| (*node, *port))).collect())
}
