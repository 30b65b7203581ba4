//! The gateways of a local mesh: one proxy for each gateway that has a listener.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mesh_model::{Finding, Listener, ListenerProtocol, Mesh, ObjectName, Transport};
use mesh_proxy::proxy::{BindPorts, GatewayOptions, Proxy, ProxyHandle, ProxyOptions};
use tokio_util::sync::CancellationToken;

use super::member::Member;
use super::place::gateway_identity;
use super::replica::Shared;

/// How long the last connections of a gateway may take.
const LAST: Duration = Duration::from_secs(2);

/// A gateway that runs.
pub(crate) struct RunningGateway {
    /// Its place in the mesh.
    pub(crate) member: Member,
    proxy: ProxyHandle,
    stop: CancellationToken,
}

impl RunningGateway {
    fn start(shared: &Shared, gateway: &ObjectName) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let identity = gateway_identity(&shared.control.authority.trust_domain(), gateway)?;
        let node = format!("gateway-{}-{}", gateway.namespace, gateway.name);
        let member = Member::join(&shared.control, &node, identity, &stop)?;
        let mut options = ProxyOptions::new(node, member.mesh.clone(), member.tls.clone());
        options.telemetry = shared.telemetry.clone();
        options.clock = shared.control.clock.clone();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        options.gateway =
            Some(GatewayOptions { gateway: gateway.clone(), address, ports: BindPorts::Unprivileged });
        Ok(Self { member, proxy: Proxy::start(options)?, stop })
    }

    /// Where a listener is bound.
    pub(crate) fn address(&self, listener: &Listener) -> Option<SocketAddr> {
        self.proxy.gateway_address(transport(listener), listener.port)
    }

    /// What could not be opened.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.proxy.findings()
    }

    /// Ends it gently.
    pub(crate) async fn stop(self) {
        self.proxy.drain();
        if tokio::time::timeout(LAST, self.proxy.stopped()).await.is_err() {
            self.proxy.stop();
            self.proxy.stopped().await;
        }
        self.stop.cancel();
    }
}

/// Starts gateways that have come and stops those that have gone.
pub(crate) fn reconcile(
    shared: &Shared,
    mesh: &Mesh,
    running: &mut BTreeMap<ObjectName, RunningGateway>,
) -> anyhow::Result<()> {
    let wanted: BTreeSet<_> = mesh.all_listeners().map(|listener| listener.gateway.clone()).collect();
    let gone: Vec<_> = running.keys().filter(|name| !wanted.contains(*name)).cloned().collect();
    for gateway in gone.iter().filter_map(|name| running.remove(name)) {
        tokio::task::spawn_local(gateway.stop());
    }
    for name in wanted {
        if !running.contains_key(&name) {
            running.insert(name.clone(), RunningGateway::start(shared, &name)?);
        }
    }
    Ok(())
}

/// The URL of a listener, for people: HTTP as such, others by protocol.
pub(crate) fn url(listener: &Listener, address: SocketAddr) -> String {
    let scheme = match listener.protocol {
        ListenerProtocol::Http => "http",
        ListenerProtocol::Https => "https",
        ListenerProtocol::Tcp => "tcp",
        ListenerProtocol::Tls => "tls",
        ListenerProtocol::Udp => "udp",
    };
    format!("{scheme}://{address}")
}

fn transport(listener: &Listener) -> Transport {
    if listener.protocol == ListenerProtocol::Udp { Transport::Udp } else { Transport::Tcp }
}
