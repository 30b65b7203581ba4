//! The client's side: from the address that an application dialled to a service, its routes and an endpoint.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use mesh_model::engine::{Place, route_connection};
use mesh_model::{
    AppProtocol, ConnectionFacts, Endpoint, Mesh, ObjectName, Reason, Service, SpiffeId, Transport, Workload,
};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::flow::Flow;
use super::forward::{Carries, carry, forward};
use super::{Context, HEALTH_PORT};
use crate::capture::destination;
use crate::detect::{Spoken, detect};
use crate::drain::Signal;
use crate::http::Downstream;
use crate::scope::Scope;
use crate::tcp::{Abort, Rewound};
use crate::telemetry::flow::Protocol;
use crate::upstream::{Connect, Security, Speaks, Upstream};

/// What happens to connections whose destination the mesh does not know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Unknown {
    /// They are refused.
    Deny,
    /// They go where they wanted, as they are; never to the proxy's own loopback.
    #[default]
    PassThrough,
    /// As the mesh says of this workload ([`mesh_model::Outside`]); while it says nothing they wait.
    OfWorkload(ObjectName),
}

/// Where the connections of an outbound listener want to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Where the client dialled before it was redirected.
    Dialled,
    /// To this service port: a listener of its own, where nothing can be redirected.
    Service {
        /// The service.
        service: ObjectName,
        /// Its port.
        port: u16,
    },
}

/// One outbound listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundPort {
    /// The namespace of the applications behind it: routes of consumers look at it.
    pub namespace: Arc<str>,
    /// Where its connections want to go.
    pub destination: Destination,
    /// What happens to unknown destinations.
    pub unknown: Unknown,
}

/// What a destination is.
enum Found {
    Endpoint(Endpoint),
    Nobody(SocketAddr),
    Service(Arc<Service>, u16),
    Workload(SocketAddr, SpiffeId),
}

/// Serves one outbound connection to its end.
pub(crate) async fn serve(
    cx: Rc<Context>,
    port: Arc<OutboundPort>,
    stream: TcpStream,
    peer: SocketAddr,
    drain: Signal,
) {
    let found = match find(&cx.mesh.current(), &port, &stream) {
        Ok(found) => found,
        Err(reason) => {
            stream.abort();
            return cx.refuse(reason, &peer, &"the connection has no destination");
        }
    };
    let flow = || Flow::outbound(&cx, &port.namespace, (Protocol::Tcp, peer));
    let served = match found {
        Found::Endpoint(endpoint) => {
            let security = endpoint.identity.map_or(Security::Plain, Security::Mesh);
            direct(&cx, (flow(), stream), (endpoint.address, security), drain).await
        }
        Found::Workload(address, identity) => {
            direct(&cx, (flow(), stream), (address, Security::Mesh(identity)), drain).await
        }
        Found::Nobody(address) => outside(&cx, &port, (flow(), stream), address, drain).await,
        Found::Service(service, dialled) => {
            to_service(&cx, &port, (stream, peer), (service, dialled), drain).await
        }
    };
    if let Err((reason, why)) = served {
        cx.refuse(reason, &peer, &why);
    }
}

fn find(mesh: &Mesh, port: &OutboundPort, stream: &TcpStream) -> Result<Found, Reason> {
    let address = match &port.destination {
        Destination::Service { service, port } => {
            let service = mesh.service(service).ok_or(Reason::BackendNotFound)?;
            return Ok(Found::Service(Arc::clone(service), *port));
        }
        Destination::Dialled => destination(stream).map_err(|_| Reason::NoRoute)?,
    };
    if let Some(service) = mesh.service_at(&address.ip()) {
        let known = service.port(address.port(), Transport::Tcp).is_some();
        return known.then(|| Found::Service(Arc::clone(service), address.port())).ok_or(Reason::NoRoute);
    }
    // The health port is that of a sidecar.
    let captured =
        |w: &&Arc<Workload>| w.is_met_with_tls() && (w.on_node.is_some() || address.port() != HEALTH_PORT);
    if let Some(workload) = mesh.workload_at(&address.ip()).filter(captured) {
        return Ok(Found::Workload(address, workload.identity.clone()));
    }
    Ok(endpoint_at(mesh, address).map_or(Found::Nobody(address), Found::Endpoint))
}

/// An endpoint that was dialled by its own address, past its service. What is outside of the mesh stays unknown: that some
/// route leads there opens no way past the route.
fn endpoint_at(mesh: &Mesh, address: SocketAddr) -> Option<Endpoint> {
    let inside = mesh.all_services().filter(|service| service.hostname.is_none());
    let ports = inside.flat_map(|s| s.ports.iter().map(move |p| (s, p)));
    let sets = ports.filter_map(|(s, p)| mesh.endpoints(&s.name, p.transport, p.port));
    sets.flat_map(|set| set.all()).find(|endpoint| endpoint.address == address).cloned()
}

async fn to_service(
    cx: &Context,
    port: &OutboundPort,
    (mut stream, peer): (TcpStream, SocketAddr),
    (service, dialled): (Arc<Service>, u16),
    drain: Signal,
) -> Result<(), (Reason, String)> {
    let declared = service.port(dialled, Transport::Tcp).map_or(AppProtocol::Detect, |p| p.protocol);
    let (spoken, ahead) = match declared {
        AppProtocol::Detect => {
            let by = Instant::now() + cx.times.detect;
            detect(&mut stream, by).await.map_err(|e| (Reason::MalformedRequest, e.to_string()))?
        }
        declared if declared.is_http() => (Spoken::Http1, bytes::Bytes::new()),
        _ => (Spoken::Opaque, bytes::Bytes::new()),
    };
    if spoken != Spoken::Opaque {
        let local = stream.local_addr().map_err(|e| (Reason::MalformedRequest, e.to_string()))?;
        let ip = service.addresses.first().copied().unwrap_or_else(|| local.ip());
        let destination = SocketAddr::new(ip, dialled);
        let facts = ConnectionFacts { source: peer.ip(), destination, peer: None, sni: None };
        let (client, namespace) = (facts.source, Arc::clone(&port.namespace));
        let scope = Scope::Outbound { client, service, port: dialled, namespace };
        let downstream = Downstream { facts, scope, mesh_hop: false, tls: false, agreed: None };
        super::http::http(cx, Rewound::new(ahead, stream), downstream, drain).await;
        return Ok(());
    }
    let stream = Rewound::new(ahead, stream);
    let place = Place::Service { service: &service, port: dialled, client_namespace: &port.namespace };
    let routed = route_connection(&cx.mesh.current(), place, Transport::Tcp);
    let tls = declared == AppProtocol::Tls;
    let carries = Carries::Application { client: peer.ip(), tls };
    let protocol = if tls { Protocol::Tls } else { Protocol::Tcp };
    let flow = Flow::outbound(cx, &port.namespace, (protocol, peer));
    forward(cx, (flow, stream), Ok(routed), carries, (drain, std::future::pending())).await
}

async fn direct(
    cx: &Context,
    (flow, stream): (Flow, TcpStream),
    (address, security): (SocketAddr, Security),
    drain: Signal,
) -> Result<(), (Reason, String)> {
    let upstream = Upstream { address, security, speaks: Speaks::Opaque };
    join(cx, (flow, stream), upstream, drain).await
}

async fn outside(
    cx: &Context,
    port: &OutboundPort,
    (mut flow, stream): (Flow, TcpStream),
    address: SocketAddr,
    drain: Signal,
) -> Result<(), (Reason, String)> {
    let denied = match &port.unknown {
        Unknown::Deny => true,
        Unknown::PassThrough => false,
        Unknown::OfWorkload(name) => is_denied(cx, name).await,
    };
    if denied || !may_pass(address.ip()) {
        flow.refused(Reason::NoRoute);
        stream.abort();
        return Err((Reason::NoRoute, format!("nothing in the mesh is at {address}")));
    }
    let upstream = Upstream { address, security: Security::Plain, speaks: Speaks::Opaque };
    join(cx, (flow, stream), upstream, drain).await
}

/// What the mesh says of a workload, which it may not know in its first moments.
async fn is_denied(cx: &Context, name: &ObjectName) -> bool {
    let said = cx.until(|mesh| mesh.workload(name).map(|workload| !workload.outside.is_allowed()));
    tokio::time::timeout(cx.times.handshake, said).await.unwrap_or(true)
}

/// The proxy's loopback holds its own admin port and other workloads' sockets: nobody is passed there.
fn may_pass(address: IpAddr) -> bool {
    let address = address.to_canonical();
    !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}

async fn join(
    cx: &Context,
    (mut flow, stream): (Flow, TcpStream),
    upstream: Upstream,
    drain: Signal,
) -> Result<(), (Reason, String)> {
    flow.upstream(&upstream);
    match cx.dialer.connect(&upstream).await {
        Ok(connected) => {
            carry(cx, flow, stream, connected, (drain, std::future::pending())).await;
            Ok(())
        }
        Err(problem) => {
            flow.refused(problem.reason());
            stream.abort();
            Err((problem.reason(), problem.to_string()))
        }
    }
}
