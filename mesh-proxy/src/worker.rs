//! Workers: one thread each, with its own runtime, pools and listeners. They share nothing but what is handed
//! to them; what to open is decided by the proxy.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, UdpSocket as StdUdp};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mesh_rt::SharedClock;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};

use crate::dialer::{DialApplication, Dialer, DialerParts};
use crate::drain::{Phase, Signal};
use crate::http::{Limits, Parts, Stack};
use crate::names::NameServer;
use crate::proxy::Network;
use crate::role::gateway::{self, GatewayPort};
use crate::role::inbound::{self, InboundPort};
use crate::role::outbound::{self, OutboundPort};
use crate::role::{Context, Times, datagrams};
use crate::snapshot::SharedMesh;
use crate::tcp::{Accepting, Admission, Scratch, accept};
use crate::telemetry::Telemetry;
use crate::tls::{MeshTls, Peers, SystemRoots, Terminations};
use mesh_balance::Budgets;

/// How long a worker that ends waits for answers about names, which take less.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// What every worker of a proxy gets.
#[derive(Clone)]
pub(crate) struct WorkerParts {
    pub(crate) mesh: SharedMesh,
    pub(crate) network: Option<Network>,
    pub(crate) tls: Arc<MeshTls>,
    pub(crate) system: Arc<SystemRoots>,
    pub(crate) application: Arc<dyn DialApplication>,
    pub(crate) clock: SharedClock,
    pub(crate) telemetry: Telemetry,
    pub(crate) budgets: Budgets,
    pub(crate) times: Times,
    pub(crate) http: Limits,
    pub(crate) connect_limit: Duration,
    pub(crate) connections: usize,
}

/// What a listener's connections are served as.
#[derive(Debug, Clone)]
pub(crate) enum Serve {
    Gateway(Arc<GatewayPort>),
    Inbound(Arc<InboundPort>),
    Outbound(Arc<OutboundPort>),
}

/// What a listener is for.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Questions for names.
    Names(Arc<NameServer>),
    /// Connections and datagrams of the mesh.
    Traffic(Serve),
}

/// A socket that is open already.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(StdListener),
    Udp(StdUdp),
}

/// A listener for a worker to serve until its drain closes it.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) socket: Socket,
    pub(crate) work: Work,
    pub(crate) drain: Signal,
}

/// A running worker. It ends when this is dropped; [`Worker::ended`] waits for it.
#[derive(Debug)]
pub(crate) struct Worker {
    openings: mpsc::UnboundedSender<Opening>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts a thread.
    pub(crate) fn start(name: &str, parts: WorkerParts) -> io::Result<Self> {
        let (openings, commands) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (told, entered) = std::sync::mpsc::channel();
        let work = move || {
            // Whatever the worker connects to, it connects from there.
            let entering = parts.network.as_ref().map_or(Ok(()), |network| network.namespace.enter());
            let is_there = entering.is_ok();
            let _ = told.send(entering);
            if is_there {
                LocalSet::new().block_on(&runtime, serve(parts, commands));
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        entered.recv().map_err(io::Error::other)??;
        Ok(Self { openings, thread })
    }

    /// Gives it a listener.
    pub(crate) fn open(&self, opening: Opening) {
        // A worker that is gone has nobody left to serve.
        let _ = self.openings.send(opening);
    }

    /// Ends the thread and waits for it.
    pub(crate) fn ended(self) {
        drop(self.openings);
        let _ = self.thread.join();
    }
}

async fn serve(parts: WorkerParts, mut commands: mpsc::UnboundedReceiver<Opening>) {
    let admission = Admission::new(parts.connections);
    let cx = Rc::new(context(parts));
    let mut names = JoinSet::new();
    while let Some(opening) = commands.recv().await {
        let Opening { socket, work, drain } = opening;
        match (socket, work) {
            (Socket::Tcp(listener), Work::Traffic(serve)) => {
                let Ok(listener) = TcpListener::from_std(listener) else { continue };
                let with = Accepting { admission: admission.clone(), drain };
                tokio::task::spawn_local(tcp(Rc::clone(&cx), listener, with, serve));
            }
            (Socket::Udp(socket), Work::Traffic(serve)) => {
                let Ok(socket) = UdpSocket::from_std(socket) else { continue };
                tokio::task::spawn_local(datagrams::serve(Rc::clone(&cx), socket, serve, drain));
            }
            // Whatever still drains may ask for names.
            (Socket::Tcp(listener), Work::Names(server)) => {
                let Ok(listener) = TcpListener::from_std(listener) else { continue };
                names.spawn_local(server.connections(listener, stopped(drain)));
            }
            (Socket::Udp(socket), Work::Names(server)) => {
                let Ok(socket) = UdpSocket::from_std(socket) else { continue };
                names.spawn_local(server.datagrams(socket, stopped(drain)));
            }
        }
    }
    // A question without an answer costs its client five seconds.
    let _ = tokio::time::timeout(LAST_ANSWERS, async { while names.join_next().await.is_some() {} }).await;
}

async fn stopped(drain: Signal) {
    drain.reached(Phase::Stopped).await;
}

fn context(parts: WorkerParts) -> Context {
    let peers = Peers::start(parts.tls.peer());
    let dialer = DialerParts {
        mesh: Arc::clone(&parts.tls),
        peers: peers.clone(),
        system: parts.system,
        application: Arc::clone(&parts.application),
        mark: parts.network.as_ref().map(|network| network.mark),
        clock: Arc::clone(&parts.clock),
        limit: parts.connect_limit,
    };
    let dialer = Dialer::new(dialer);
    let stack = Stack::start(Parts {
        mesh: parts.mesh.clone(),
        connect: dialer.clone(),
        telemetry: parts.telemetry.clone(),
        clock: Arc::clone(&parts.clock),
        limits: parts.http,
        pool: crate::pool::Limits { connect: parts.connect_limit, ..crate::pool::Limits::default() },
        budgets: parts.budgets,
    });
    Context {
        mesh: parts.mesh,
        tls: parts.tls,
        peers,
        dialer,
        stack,
        application: parts.application,
        terminations: Terminations::new(Arc::clone(&parts.clock)),
        clock: parts.clock,
        scratch: Scratch::default(),
        telemetry: parts.telemetry,
        times: parts.times,
    }
}

async fn tcp(cx: Rc<Context>, listener: TcpListener, with: Accepting, serve: Serve) {
    let drain = with.drain.clone();
    let open = |cx: Rc<Context>| {
        cx.telemetry.metrics.connections.inc();
        OpenConnection(cx)
    };
    accept(listener, with, move |stream: TcpStream, peer: SocketAddr| {
        let (cx, serve, drain) = (Rc::clone(&cx), serve.clone(), drain.clone());
        let counted = open(Rc::clone(&cx));
        async move {
            match serve {
                Serve::Gateway(port) => gateway::serve(cx, port, stream, peer, drain).await,
                Serve::Inbound(port) => inbound::serve(cx, port, stream, peer, drain).await,
                Serve::Outbound(port) => outbound::serve(cx, port, stream, peer, drain).await,
            }
            drop(counted);
        }
    })
    .await;
}

/// Keeps the number of open connections right, also when a task is dropped.
struct OpenConnection(Rc<Context>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.telemetry.metrics.connections.dec();
    }
}
