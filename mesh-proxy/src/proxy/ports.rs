//! The open listeners of a proxy. A change opens and closes what changed and touches nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_model::{
    FieldPath, Finding, Listener, ListenerProtocol, Mesh, ObjectName, Origin, Reason, SourceRef, Transport,
};
use mesh_rt::net::{bind_udp, listen_tcp};
use tokio::sync::mpsc::UnboundedSender;

use super::ListenerId;
use super::options::{BindPorts, GatewayOptions, InboundListener, Listen, NamesListener, OutboundListener};
use crate::drain::{Drain, Signal};
use crate::role::gateway::GatewayPort;
use crate::worker::{Opening, Serve, Socket, Work, Worker};

/// The listeners of a proxy and the workers that serve them.
#[derive(Debug)]
pub(super) struct Ports {
    gateway: Option<GatewayOptions>,
    proxy: Signal,
    retire: UnboundedSender<Drain>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    workers: Vec<Worker>,
    open: BTreeMap<ListenerId, Open>,
    failed: BTreeMap<ListenerId, Finding>,
    inbound: usize,
    names: usize,
    outbound: usize,
}

#[derive(Debug)]
struct Open {
    address: SocketAddr,
    drain: Drain,
}

impl Ports {
    pub(super) fn new(
        workers: Vec<Worker>,
        gateway: Option<GatewayOptions>,
        proxy: Signal,
        retire: UnboundedSender<Drain>,
    ) -> Self {
        Self { gateway, proxy, retire, state: Mutex::new(State { workers, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn addresses(&self) -> BTreeMap<ListenerId, SocketAddr> {
        self.state().open.iter().map(|(id, open)| (*id, open.address)).collect()
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        self.state().failed.values().cloned().collect()
    }

    /// Takes the workers out, to end them.
    pub(super) fn workers(&self) -> Vec<Worker> {
        std::mem::take(&mut self.state().workers)
    }

    pub(super) fn open_inbound(
        &self,
        listener: InboundListener,
    ) -> Result<(ListenerId, SocketAddr), Box<Finding>> {
        let mut state = self.state();
        let id = ListenerId::Inbound(state.inbound);
        state.inbound += 1;
        let source = SourceRef::new("Workload", listener.port.workload.clone(), Origin::Builtin);
        let serve = Serve::Inbound(Arc::new(listener.port));
        self.open(&mut state, id, (listener.listen, Work::Traffic(serve)), &source)
    }

    pub(super) fn open_outbound(
        &self,
        listener: OutboundListener,
    ) -> Result<(ListenerId, SocketAddr), Box<Finding>> {
        let mut state = self.state();
        let id = ListenerId::Outbound(state.outbound);
        state.outbound += 1;
        let name = ObjectName::new(Arc::clone(&listener.port.namespace), "outbound");
        let source = SourceRef::new("Listener", name, Origin::Builtin);
        let serve = Serve::Outbound(Arc::new(listener.port));
        self.open(&mut state, id, (listener.listen, Work::Traffic(serve)), &source)
    }

    pub(super) fn open_names(
        &self,
        listener: NamesListener,
    ) -> Result<(ListenerId, SocketAddr), Box<Finding>> {
        let mut state = self.state();
        let id = ListenerId::Names(state.names);
        state.names += 1;
        let source = SourceRef::new("Listener", ObjectName::new("", "names"), Origin::Builtin);
        self.open(&mut state, id, (listener.listen, Work::Names(listener.server)), &source)
    }

    /// Opens what the gateway's listeners ask for and closes what none asks for any more. Returns whether
    /// something could not be opened and is worth another try.
    pub(super) fn reconcile(&self, mesh: &Mesh) -> bool {
        let Some(options) = &self.gateway else { return false };
        let mut state = self.state();
        let ours = mesh.all_listeners().filter(|listener| listener.gateway == options.gateway);
        let wanted: BTreeMap<ListenerId, &Arc<Listener>> = ours.map(|l| (id_of(l), l)).collect();
        let moved: Vec<ListenerId> = wanted
            .keys()
            .filter(|id| {
                let at = |open: &&Open| {
                    options.ports != BindPorts::Any && open.address.port() != bound(options, &wanted, **id)
                };
                state.open.get(id).as_ref().is_some_and(at)
            })
            .copied()
            .collect();
        // Another listener came to where this one was bound for want of a privilege.
        moved.into_iter().for_each(|id| self.retire(&mut state, id));
        let is_gone = |id: &&ListenerId| matches!(id, ListenerId::Gateway { .. }) && !wanted.contains_key(id);
        let gone: BTreeSet<_> =
            state.open.keys().chain(state.failed.keys()).filter(is_gone).copied().collect();
        for id in gone {
            state.failed.remove(&id);
            self.retire(&mut state, id);
        }
        for (id, listener) in &wanted {
            let (id, ListenerId::Gateway { transport, port }) = (*id, *id) else { continue };
            if state.open.contains_key(&id) {
                continue;
            }
            let listen = Listen::At(transport, SocketAddr::new(options.address, bound(options, &wanted, id)));
            let serve = Serve::Gateway(Arc::new(GatewayPort { gateway: options.gateway.clone(), port }));
            if let Err(finding) = self.open(&mut state, id, (listen, Work::Traffic(serve)), &listener.source)
            {
                tracing::warn!(%finding, "listener not opened");
            }
        }
        !state.failed.is_empty()
    }

    /// Whether every listener of the gateway is open or said to be impossible, and one is open. Without a gateway there is
    /// nothing to wait for.
    pub(super) fn are_open(&self, mesh: &Mesh) -> bool {
        let Some(options) = &self.gateway else { return true };
        let state = self.state();
        let mut ours = mesh.all_listeners().filter(|listener| listener.gateway == options.gateway).map(id_of);
        let is_open = |id: &ListenerId| matches!(id, ListenerId::Gateway { .. });
        state.open.keys().any(is_open)
            && ours.all(|id| state.open.contains_key(&id) || state.failed.contains_key(&id))
    }

    fn open(
        &self,
        state: &mut State,
        id: ListenerId,
        (listen, work): (Listen, Work),
        source: &SourceRef,
    ) -> Result<(ListenerId, SocketAddr), Box<Finding>> {
        let wanted = if let Listen::At(_, address) = &listen { Some(*address) } else { None };
        let (address, sockets) = match sockets(listen, state.workers.len()) {
            Ok(opened) => opened,
            Err(problem) => {
                let finding = unavailable(source, wanted, &problem);
                state.failed.insert(id, finding.clone());
                return Err(Box::new(finding));
            }
        };
        state.failed.remove(&id);
        let drain = Drain::default();
        for (worker, socket) in state.workers.iter().zip(sockets) {
            worker.open(Opening { socket, work: work.clone(), drain: self.proxy.and(&drain) });
        }
        state.open.insert(id, Open { address, drain });
        Ok((id, address))
    }

    fn retire(&self, state: &mut State, id: ListenerId) {
        if let Some(open) = state.open.remove(&id) {
            // Without a supervisor the proxy is at its end, and dropping the drain ends the listener too.
            let _ = self.retire.send(open.drain);
        }
    }
}

/// Where a listener is to be bound beside the others of its gateway.
fn bound(options: &GatewayOptions, wanted: &BTreeMap<ListenerId, &Arc<Listener>>, id: ListenerId) -> u16 {
    let ListenerId::Gateway { transport, port } = id else { return 0 };
    let same = |other: &ListenerId| match other {
        ListenerId::Gateway { transport: of, port } if *of == transport => Some(*port),
        _ => None,
    };
    options.ports.bound(port, &wanted.keys().filter_map(same).collect())
}

fn id_of(listener: &Arc<Listener>) -> ListenerId {
    let udp = listener.protocol == ListenerProtocol::Udp;
    let transport = if udp { Transport::Udp } else { Transport::Tcp };
    ListenerId::Gateway { transport, port: listener.port }
}

/// One socket for each worker, all at the same address.
fn sockets(listen: Listen, workers: usize) -> io::Result<(SocketAddr, Vec<Socket>)> {
    let shared = workers > 1;
    let mut sockets = Vec::with_capacity(workers);
    let address = match listen {
        Listen::At(Transport::Tcp, at) => {
            let first = listen_tcp(at, shared)?;
            let address = first.local_addr()?;
            sockets.push(Socket::Tcp(first));
            for _ in 1..workers {
                sockets.push(Socket::Tcp(listen_tcp(address, shared)?));
            }
            address
        }
        Listen::At(Transport::Udp, at) => {
            let first = bind_udp(at, shared)?;
            let address = first.local_addr()?;
            sockets.push(Socket::Udp(first));
            for _ in 1..workers {
                sockets.push(Socket::Udp(bind_udp(address, shared)?));
            }
            address
        }
        Listen::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            for _ in 1..workers {
                sockets.push(Socket::Tcp(listener.try_clone()?));
            }
            let address = listener.local_addr()?;
            sockets.push(Socket::Tcp(listener));
            address
        }
        // The sessions of a UDP socket live with one worker: its datagrams must not be spread over several.
        Listen::Udp(socket) => {
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            sockets.push(Socket::Udp(socket));
            address
        }
    };
    Ok((address, sockets))
}

fn unavailable(source: &SourceRef, address: Option<SocketAddr>, problem: &io::Error) -> Finding {
    let place = address.map_or_else(|| "the socket".to_owned(), |address| format!("{address}"));
    let finding = Finding::error(
        Reason::PortUnavailable,
        source,
        FieldPath::root(),
        format!("cannot listen at {place}: {problem}"),
    );
    match problem.kind() {
        io::ErrorKind::AddrInUse => finding.suggest("end the program that holds the port, or choose another"),
        io::ErrorKind::PermissionDenied => finding.suggest("choose a port from 1024 up"),
        _ => finding,
    }
}
