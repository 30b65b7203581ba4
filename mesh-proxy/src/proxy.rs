//! A whole proxy: its workers, its listeners, its end. Several may run in one process.

mod options;
mod ports;
mod supervisor;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mesh_model::{Finding, Transport};
use tokio::sync::watch;

use crate::drain::{Drain, DrainTimes, Phase};
use crate::tls::MeshTls;
use crate::worker::{Worker, WorkerParts};
use mesh_balance::Budgets;

pub use options::{
    BindPorts, GatewayOptions, InboundListener, Listen, NamesListener, Network, OutboundListener,
    ProxyOptions,
};
use ports::Ports;

/// Names a listener of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerId {
    /// A port of the gateway, as its listeners name it.
    Gateway {
        /// TCP or UDP.
        transport: Transport,
        /// The port that matching and redirects use.
        port: u16,
    },
    /// An inbound listener, in the order in which they were opened.
    Inbound(usize),
    /// A listener for questions about names, in the order in which they were opened.
    Names(usize),
    /// An outbound listener, in the order in which they were opened.
    Outbound(usize),
}

/// Why a proxy could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A thread or its runtime could not be made.
    #[error("a worker could not be started: {0}")]
    Thread(#[from] io::Error),
    /// Mesh TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] mesh_ca::tls::TlsError),
}

/// Starts proxies.
#[derive(Debug)]
pub struct Proxy;

impl Proxy {
    /// Starts workers and opens every listener that can be opened; a port that cannot is a finding. Ports of
    /// the gateway's listeners are tried again until they open.
    ///
    /// # Errors
    /// When no thread can be started, or mesh TLS cannot be set up.
    pub fn start(options: ProxyOptions) -> Result<ProxyHandle, StartError> {
        let tls = Arc::new(MeshTls::new(options.identity.clone())?);
        let count = options.workers.max(1);
        let parts = WorkerParts {
            mesh: options.mesh.clone(),
            network: options.network,
            tls,
            system: options.system,
            application: options.application,
            clock: options.clock,
            telemetry: options.telemetry,
            budgets: Budgets::default(),
            times: options.times,
            http: options.http,
            connect_limit: options.connect_limit,
            connections: options.connections.unwrap_or_else(options::descriptors_share) / count,
        };
        let start = |at| Worker::start(&format!("{}-{at}", options.name), parts.clone());
        let workers = (0..count).map(start).collect::<Result<Vec<_>, _>>()?;
        let (retire, retired) = tokio::sync::mpsc::unbounded_channel();
        let drain = Arc::new(Drain::default());
        let ports = Ports::new(workers, options.gateway, drain.signal(), retire);
        for listener in options.inbound {
            // A port that cannot be opened is among the findings.
            let _ = ports.open_inbound(listener);
        }
        for listener in options.outbound {
            let _ = ports.open_outbound(listener);
        }
        for listener in options.names {
            let _ = ports.open_names(listener);
        }
        ports.reconcile(&options.mesh.current());
        let ports = Arc::new(ports);
        let stopped = watch::Sender::new(false);
        let stop = watch::Sender::new(None);
        let handle = ProxyHandle {
            ports: Arc::clone(&ports),
            drain: Arc::clone(&drain),
            mesh: options.mesh.clone(),
            identity: options.identity,
            times: options.drain,
            stop: Arc::new(stop),
            stopped: stopped.subscribe(),
        };
        let supervisor = supervisor::Supervisor {
            mesh: options.mesh,
            ports,
            drain,
            times: options.drain,
            stop: handle.stop.subscribe(),
            retired,
            stopped,
        };
        supervisor.start(&options.name)?;
        Ok(handle)
    }
}

/// A running proxy. When the last handle is dropped it ends at once; [`ProxyHandle::drain`] ends it gently.
#[derive(Debug, Clone)]
pub struct ProxyHandle {
    ports: Arc<Ports>,
    drain: Arc<Drain>,
    mesh: crate::snapshot::SharedMesh,
    identity: mesh_ca::tls::PeerTls,
    times: DrainTimes,
    stop: Arc<watch::Sender<Option<DrainTimes>>>,
    stopped: watch::Receiver<bool>,
}

impl ProxyHandle {
    /// The open listeners and where they are bound.
    pub fn addresses(&self) -> BTreeMap<ListenerId, SocketAddr> {
        self.ports.addresses()
    }

    /// Where a listener of this port of the gateway is bound.
    pub fn gateway_address(&self, transport: Transport, port: u16) -> Option<SocketAddr> {
        self.addresses().get(&ListenerId::Gateway { transport, port }).copied()
    }

    /// What could not be opened, and why.
    pub fn findings(&self) -> Vec<Finding> {
        self.ports.findings()
    }

    /// Opens a further inbound listener.
    ///
    /// # Errors
    /// Why its port cannot be opened.
    pub fn open_inbound(&self, listener: InboundListener) -> Result<(ListenerId, SocketAddr), Box<Finding>> {
        self.ports.open_inbound(listener)
    }

    /// Opens a further outbound listener.
    ///
    /// # Errors
    /// Why its port cannot be opened.
    pub fn open_outbound(
        &self,
        listener: OutboundListener,
    ) -> Result<(ListenerId, SocketAddr), Box<Finding>> {
        self.ports.open_outbound(listener)
    }

    /// Opens a further listener for questions about names, on a socket that is open already.
    pub fn open_names(&self, listener: NamesListener) {
        // Only a socket that is to be opened can fail, which is among the findings.
        let _ = self.ports.open_names(listener);
    }

    /// Whether new work should be sent here: it has a configuration and an identity, the sockets of its gateway's
    /// listeners are open, and it is not draining. A listener whose port cannot be had holds up no other.
    pub fn is_ready(&self) -> bool {
        let mesh = self.mesh.current();
        self.drain.phase() == Phase::Serving
            && mesh.version() > 0
            && self.identity.source.current().is_some()
            && self.ports.are_open(&mesh)
    }

    /// The phase of the proxy's drain.
    pub fn phase(&self) -> Phase {
        self.drain.phase()
    }

    /// Begins to drain, with the times of the options. [`ProxyHandle::stopped`] waits for the end.
    pub fn drain(&self) {
        self.stop.send_if_modified(|stop| stop.replace(self.times).is_none());
    }

    /// Ends the proxy at once.
    pub fn stop(&self) {
        self.drain.stop();
        self.drain();
    }

    /// Ends when the proxy's threads have ended.
    pub async fn stopped(&self) {
        let mut stopped = self.stopped.clone();
        // An error says that the supervisor is gone, which is the end as well.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}
