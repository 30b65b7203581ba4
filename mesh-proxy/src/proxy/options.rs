//! What a proxy is made of. Built by whoever starts one; nothing is read from the environment here.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use mesh_ca::tls::PeerTls;
use mesh_model::listener::unprivileged_port;
use mesh_model::{ObjectName, Transport};
use mesh_rt::{SharedClock, SystemClock};

use crate::capture::Namespace;
use crate::dialer::{DialApplication, SameNetwork};
use crate::drain::DrainTimes;
use crate::http::Limits;
use crate::names::{NameServer, Settings};
use crate::role::Times;
use crate::role::inbound::InboundPort;
use crate::role::outbound::OutboundPort;
use crate::snapshot::SharedMesh;
use crate::telemetry::Telemetry;
use crate::tls::SystemRoots;

/// Where the ports of a gateway's listeners are bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BindPorts {
    /// At ports that the system chooses.
    Any,
    /// At the listener's port.
    AsWritten,
    /// At the listener's port, or above 10000 when it is below 1024 and so needs a privilege.
    #[default]
    Unprivileged,
}

impl BindPorts {
    /// The port to bind for a port of a gateway that has these; 0 lets the system choose.
    pub fn bound(self, port: u16, ports: &BTreeSet<u16>) -> u16 {
        match self {
            Self::Any => 0,
            Self::AsWritten => port,
            Self::Unprivileged => unprivileged_port(port, ports),
        }
    }
}

/// A gateway whose listeners a proxy opens, as the snapshot has them.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// The gateway.
    pub gateway: ObjectName,
    /// The address to bind.
    pub address: IpAddr,
    /// The ports to bind.
    pub ports: BindPorts,
}

/// Where a listener listens.
#[derive(Debug)]
pub enum Listen {
    /// At this address, opened by the proxy; port 0 lets the system choose.
    At(Transport, SocketAddr),
    /// On a TCP listener that is open already, perhaps in another network namespace.
    Tcp(TcpListener),
    /// On a UDP socket that is open already.
    Udp(UdpSocket),
}

/// A listener towards a workload.
#[derive(Debug)]
pub struct InboundListener {
    /// Where.
    pub listen: Listen,
    /// What is behind it.
    pub port: InboundPort,
}

/// A listener for what applications dial.
#[derive(Debug)]
pub struct OutboundListener {
    /// Where.
    pub listen: Listen,
    /// How its connections are treated.
    pub port: OutboundPort,
}

/// A listener for what applications ask about names.
#[derive(Debug)]
pub struct NamesListener {
    /// Where.
    pub listen: Listen,
    /// Who answers.
    pub server: Arc<NameServer>,
}

impl NamesListener {
    /// Those of a pod: over UDP and TCP, on the loopback addresses of the families in which its servers are asked.
    pub fn of_pod(server: &Arc<NameServer>, settings: &Settings, port: u16) -> Vec<Self> {
        let at = |address: IpAddr| {
            [Transport::Udp, Transport::Tcp].map(|transport| Self {
                listen: Listen::At(transport, SocketAddr::new(address, port)),
                server: Arc::clone(server),
            })
        };
        settings.loopbacks().into_iter().flat_map(at).collect()
    }
}

/// A network namespace that is not the process's own, in which a proxy works.
#[derive(Debug, Clone)]
pub struct Network {
    /// The namespace.
    pub namespace: Namespace,
    /// Marks the proxy's connections, so that its own rules leave them alone. Needs NET_ADMIN.
    pub mark: u32,
}

/// What a proxy is made of.
pub struct ProxyOptions {
    /// Names its threads.
    pub name: String,
    /// The snapshot that decides.
    pub mesh: SharedMesh,
    /// Identity and trust.
    pub identity: PeerTls,
    /// Where its connections are made; `None` is the process's own network. Listeners there are opened by the caller.
    pub network: Option<Network>,
    /// How applications behind inbound listeners are reached.
    pub application: Arc<dyn DialApplication>,
    /// The system's root certificates.
    pub system: Arc<SystemRoots>,
    /// The clock.
    pub clock: SharedClock,
    /// Where it tells of its traffic.
    pub telemetry: Telemetry,
    /// Deadlines of connections.
    pub times: Times,
    /// Limits of HTTP towards clients.
    pub http: Limits,
    /// Longest time for an upstream connection and its handshake.
    pub connect_limit: Duration,
    /// Most downstream connections; `None` is half of the process's descriptors.
    pub connections: Option<usize>,
    /// Threads that serve.
    pub workers: usize,
    /// How it drains.
    pub drain: DrainTimes,
    /// The gateway it serves, if any.
    pub gateway: Option<GatewayOptions>,
    /// The workloads it stands before.
    pub inbound: Vec<InboundListener>,
    /// The applications it stands behind.
    pub outbound: Vec<OutboundListener>,
    /// Where it answers questions for names.
    pub names: Vec<NamesListener>,
}

impl ProxyOptions {
    /// A proxy of one worker without listeners.
    pub fn new(name: impl Into<String>, mesh: SharedMesh, identity: PeerTls) -> Self {
        Self {
            name: name.into(),
            mesh,
            identity,
            network: None,
            application: Arc::new(SameNetwork),
            system: Arc::default(),
            clock: SystemClock::shared(),
            telemetry: Telemetry::default(),
            times: Times::default(),
            http: Limits::default(),
            connect_limit: Duration::from_secs(5),
            connections: None,
            workers: 1,
            drain: DrainTimes::default(),
            gateway: None,
            inbound: Vec::new(),
            outbound: Vec::new(),
            names: Vec::new(),
        }
    }

    /// The same proxy as a gateway on every address.
    #[must_use]
    pub fn gateway(mut self, gateway: ObjectName, ports: BindPorts) -> Self {
        let address = Ipv6Addr::UNSPECIFIED.into();
        self.gateway = Some(GatewayOptions { gateway, address, ports });
        self
    }
}

/// Half of the descriptors that the process may open: the other half is for upstreams.
pub(super) fn descriptors_share() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit / 2).unwrap_or(usize::MAX)).max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileged_ports_are_bound_ten_thousand_above() {
        let all = [80, 443, 1023, 1024, 8080];
        let bound = |ports: BindPorts| all.map(|port| ports.bound(port, &all.into()));
        assert_eq!(bound(BindPorts::Unprivileged), [10_080, 10_443, 11_023, 1024, 8080]);
        assert_eq!(bound(BindPorts::AsWritten), [80, 443, 1023, 1024, 8080]);
        assert_eq!(bound(BindPorts::Any), [0; 5]);
    }
}
