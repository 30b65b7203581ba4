//! One replica of a process with its own sidecar: from its first start to its end.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use mesh_controller::objects::Process;
use mesh_controller::objects::service::TransportProtocol;
use mesh_model::{Finding, ObjectName, SpiffeId, Transport};
use mesh_proxy::proxy::{InboundListener, Listen, ListenerId, Proxy, ProxyHandle, ProxyOptions};
use mesh_proxy::role::inbound::{InboundPort, Plaintext};
use mesh_proxy::telemetry::Telemetry;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::control::ControlPlane;
use super::ground::{self, Capture, Ground};
use super::identity::IdentitySocket;
use super::member::Member;
use super::names;
use super::program::wanted;
use super::supervisor::{State, supervise};

/// How long others get to learn that a replica takes nothing more, before its program is asked to end.
const SETTLE: Duration = Duration::from_millis(150);
/// Pause between two looks whether a program takes connections.
const PROBE: Duration = Duration::from_millis(10);
/// Pause before a replica that lost its ground is set up anew.
const ANEW: Duration = Duration::from_secs(1);
/// How long a sidecar's last connections may take after its program has ended.
const LAST: Duration = Duration::from_secs(2);

/// What all replicas share.
pub(crate) struct Shared {
    /// The control plane.
    pub(crate) control: ControlPlane,
    /// How traffic is captured.
    pub(crate) capture: Capture,
    /// The folder that relative paths begin at.
    pub(crate) folder: PathBuf,
    /// Where the sockets are at which programs get their identities.
    pub(crate) sockets: PathBuf,
    /// What every proxy tells.
    pub(crate) telemetry: Telemetry,
    /// Told when a replica's state changes.
    pub(crate) changed: Notify,
}

/// What is to be run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    /// The process.
    pub(crate) process: ObjectName,
    /// Its object.
    pub(crate) object: Process,
    /// The number of the replica.
    pub(crate) ordinal: u32,
    /// Its identity.
    pub(crate) identity: SpiffeId,
    /// Where others reach it.
    pub(crate) address: Ipv4Addr,
}

impl Order {
    /// A name for people.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.process.name, self.ordinal)
    }
}

/// How a replica is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Now {
    /// What its program does.
    pub(crate) state: State,
    /// Whether it takes requests.
    pub(crate) ready: bool,
    /// Ports of its address that stand for other ports of the program.
    pub(crate) ports: BTreeMap<u16, u16>,
    /// What is wrong with its listeners.
    pub(crate) findings: Vec<Finding>,
}

/// A replica that was ordered.
pub(crate) struct Replica {
    /// The order.
    pub(crate) order: Order,
    /// How it is.
    pub(crate) now: watch::Receiver<Now>,
    /// Its place in the mesh.
    pub(crate) member: Member,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Replica {
    /// Starts a replica.
    pub(crate) fn start(shared: &Rc<Shared>, order: Order) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let member =
            Member::join(&shared.control, &order.name(), order.identity.clone(), &stop.child_token())?;
        let (sender, now) = watch::channel(Now::default());
        let life =
            Life { shared: Rc::clone(shared), order: order.clone(), member: member.clone(), now: sender };
        let task = tokio::task::spawn_local(life.run(stop.child_token()));
        Ok(Self { order, now, member, stop, task })
    }

    /// Stops it and waits until nothing of it is left.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        // A task that failed has dropped everything it held.
        let _ = self.task.await;
    }
}

struct Life {
    shared: Rc<Shared>,
    order: Order,
    member: Member,
    now: watch::Sender<Now>,
}

impl Life {
    async fn run(self, stop: CancellationToken) {
        while let Err(because) = self.once(&stop).await {
            self.tell(|now| *now = Now { state: State::Backoff { because, starts: 1 }, ..Now::default() });
            tokio::select! {
                () = tokio::time::sleep(ANEW) => {}
                () = stop.cancelled() => break,
            }
        }
        self.tell(|now| *now = Now { state: State::Stopped, ..Now::default() });
    }

    fn tell(&self, change: impl FnOnce(&mut Now)) {
        self.now.send_modify(change);
        self.shared.changed.notify_one();
    }

    /// One life, until it is stopped or loses its ground.
    async fn once(&self, stop: &CancellationToken) -> Result<(), String> {
        let socket = self.socket();
        let Ground { mut app, dialer, outbound, hosts, broker } = self.ground(socket.as_ref()).await?;
        let mut options =
            ProxyOptions::new(self.order.name(), self.member.mesh.clone(), self.member.tls.clone());
        options.application = dialer.clone();
        options.telemetry = self.shared.telemetry.clone();
        options.clock = self.shared.control.clock.clone();
        options.inbound = self.inbound();
        options.outbound = outbound;
        let proxy = Proxy::start(options).map_err(|error| error.to_string())?;
        if let Some(broker) = &broker {
            let mesh = self.shared.control.view.borrow().mesh.clone();
            for listener in ground::udp_listeners(broker, &self.order.process.namespace, &mesh).await {
                // A port that cannot be opened is among the proxy's findings.
                let _ = proxy.open_outbound(listener);
            }
        }
        self.tell(|now| (now.ports, now.findings) = (self.ports(&proxy), proxy.findings()));
        let state = watch::Sender::new(State::Starting);
        let end = CancellationToken::new();
        let leave = async {
            stop.cancelled().await;
            self.tell(|now| now.ready = false);
            tokio::time::sleep(SETTLE).await;
            end.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = supervise(&mut app, &state, &end) => {}
            () = self.follow(&state, &dialer, hosts.as_ref()) => {}
            () = leave => {}
        }
        self.tell(|now| now.ready = false);
        app.stop().await;
        proxy.drain();
        if tokio::time::timeout(LAST, proxy.stopped()).await.is_err() {
            proxy.stop();
            proxy.stopped().await;
        }
        if stop.is_cancelled() { Ok(()) } else { Err("its namespaces are gone".to_owned()) }
    }

    /// The program runs without one, too.
    fn socket(&self) -> Option<IdentitySocket> {
        let Shared { control, sockets, .. } = &*self.shared;
        let opened = IdentitySocket::open(sockets, &self.order.address.to_string(), &self.member, control);
        let told = |error: &std::io::Error| {
            tracing::warn!(%error, replica = self.order.name(), "the workload API is not served");
        };
        opened.inspect_err(told).ok()
    }

    async fn ground(&self, socket: Option<&IdentitySocket>) -> Result<Ground, String> {
        let mesh = self.shared.control.view.borrow().mesh.clone();
        let (name, namespace) = (self.order.name(), &self.order.process.namespace);
        let variables = socket.map(IdentitySocket::variable).into_iter().collect();
        let program = wanted(&self.order.object, &self.shared.folder, variables);
        match self.shared.capture {
            Capture::Namespaces => {
                let shown = socket.map(|socket| socket.folder().to_owned()).into_iter().collect();
                ground::captured(&name, &self.order.process, program, shown, &mesh).await
            }
            Capture::Ports => {
                ground::plain(&name, namespace, program, &mesh).map_err(|error| error.to_string())
            }
        }
    }

    fn inbound(&self) -> Vec<InboundListener> {
        let listener = |port: u16, transport: Transport| {
            let bound = if self.shared.capture == Capture::Namespaces { port } else { 0 };
            let application = Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
            let workload = self.order.process.clone();
            InboundListener {
                listen: Listen::At(transport, SocketAddr::new(IpAddr::V4(self.order.address), bound)),
                port: InboundPort { workload, application, plaintext: Plaintext::Strict },
            }
        };
        let ports = self.order.object.spec.ports.iter();
        ports.map(|port| listener(port.container_port, transport(port.protocol))).collect()
    }

    /// Which port of the address stands for which port of the program, where they differ.
    fn ports(&self, proxy: &ProxyHandle) -> BTreeMap<u16, u16> {
        let addresses = proxy.addresses();
        let ports = self.order.object.spec.ports.iter().enumerate();
        let bound = ports.filter_map(|(at, port)| {
            let address = addresses.get(&ListenerId::Inbound(at))?;
            (address.port() != port.container_port).then_some((port.container_port, address.port()))
        });
        bound.collect()
    }

    /// Keeps what others know of the replica true, and its host names those of the services.
    async fn follow(
        &self,
        state: &watch::Sender<State>,
        dialer: &std::sync::Arc<dyn mesh_proxy::dialer::DialApplication>,
        hosts: Option<&mesh_proxy::capture::HostsFile>,
    ) {
        let mut states = state.subscribe();
        let mut view = self.shared.control.view.clone();
        loop {
            let current = states.borrow_and_update().clone();
            let running = matches!(current, State::Running { .. });
            self.tell(|now| (now.state, now.ready) = (current, now.ready && running));
            tokio::select! {
                () = self.become_ready(dialer), if running && !self.now.borrow().ready => {
                    self.tell(|now| now.ready = true);
                }
                _ = states.changed() => {}
                Ok(()) = view.changed() => {
                    let mesh = view.borrow_and_update().mesh.clone();
                    let names = names::hosts(&mesh, &self.order.process.namespace);
                    if let Some(Err(error)) = hosts.map(|hosts| hosts.replace(&names)) {
                        tracing::warn!(%error, replica = self.order.name(), "the host names cannot be renewed");
                    }
                }
            }
        }
    }

    /// Ends when the program takes connections on its first TCP port.
    async fn become_ready(&self, dialer: &std::sync::Arc<dyn mesh_proxy::dialer::DialApplication>) {
        let tcp =
            |port: &&mesh_controller::objects::local::ProcessPort| transport(port.protocol) == Transport::Tcp;
        let Some(port) = self.order.object.spec.ports.iter().find(tcp) else { return };
        while !ground::accepts(dialer, port.container_port).await {
            tokio::time::sleep(PROBE).await;
        }
    }
}

fn transport(protocol: TransportProtocol) -> Transport {
    if protocol == TransportProtocol::Udp { Transport::Udp } else { Transport::Tcp }
}
