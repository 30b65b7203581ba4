//! UDP in the three roles: which upstream a new client's datagrams go to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use mesh_model::engine::{Place, route_connection};
use mesh_model::{ConnectionFacts, Reason, Transport};
use tokio::net::UdpSocket;

use super::Context;
use super::flow::Flow;
use super::forward::{backend, endpoint};
use super::gateway::GatewayPort;
use super::inbound::InboundPort;
use super::outbound::{Destination, OutboundPort};
use crate::drain::Signal;
use crate::telemetry::flow::Protocol;
use crate::udp;
use crate::worker::Serve;

/// Serves the datagrams of one socket until its drain ends.
pub(crate) async fn serve(cx: Rc<Context>, socket: UdpSocket, serve: Serve, drain: Signal) {
    let Ok(local) = socket.local_addr() else { return };
    let (idle, context) = (cx.times.udp_idle, Rc::clone(&cx));
    let open = move |client: SocketAddr| {
        let (cx, serve) = (Rc::clone(&context), serve.clone());
        let client = mesh_rt::net::canonical(client);
        async move {
            let of = (Protocol::Udp, client);
            let mut flow = match &serve {
                Serve::Gateway(port) => Flow::at_gateway(&cx, &port.gateway, of, None),
                Serve::Inbound(port) => Flow::inbound(&cx, &port.workload, of, None),
                Serve::Outbound(port) => Flow::outbound(&cx, &port.namespace, of),
            };
            let opened = match &serve {
                Serve::Gateway(port) => at_gateway(&cx, &mut flow, port).await,
                Serve::Inbound(port) => to_application(&cx, &mut flow, port, (local, client)).await,
                Serve::Outbound(port) => to_service(&cx, &mut flow, port).await,
            };
            // However long a session lasts, nothing but silence ends it.
            flow.refused(opened.as_ref().err().copied().unwrap_or(Reason::Accepted));
            let opened = opened.inspect_err(|reason| cx.refuse(*reason, &client, &"datagrams lead nowhere"));
            opened.map(|socket| (socket, flow))
        }
    };
    udp::serve(socket, idle, drain, open, |client, reason| {
        cx.refuse(reason, &mesh_rt::net::canonical(client), &"the session gave way to a newer one");
    })
    .await;
}

async fn at_gateway(cx: &Context, flow: &mut Flow, port: &GatewayPort) -> Result<UdpSocket, Reason> {
    let place = Place::Gateway { gateway: &port.gateway, port: port.port, sni: None };
    to_endpoint(cx, flow, place).await
}

async fn to_service(cx: &Context, flow: &mut Flow, port: &OutboundPort) -> Result<UdpSocket, Reason> {
    let Destination::Service { service, port: dialled } = &port.destination else {
        return Err(Reason::NoRoute);
    };
    let mesh = cx.mesh.current();
    let service = mesh.service(service).ok_or(Reason::BackendNotFound)?;
    to_endpoint(cx, flow, Place::Service { service, port: *dialled, client_namespace: &port.namespace }).await
}

async fn to_endpoint(cx: &Context, flow: &mut Flow, place: Place<'_>) -> Result<UdpSocket, Reason> {
    let mesh = cx.mesh.current();
    let routed = route_connection(&mesh, place, Transport::Udp);
    flow.routed(&routed);
    let backend = backend(cx, &routed)?;
    flow.going_to(&backend.0);
    let chosen = endpoint(cx, &mesh, &backend, Transport::Udp, &[])?;
    flow.chosen(&chosen);
    let address = chosen.endpoint.address;
    let any: IpAddr =
        if address.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let connected = async {
        let socket = UdpSocket::from_std(mesh_rt::net::bind_udp(SocketAddr::new(any, 0), false)?)?;
        socket.connect(address).await.map(|()| socket)
    };
    connected.await.map_err(|_: std::io::Error| Reason::UpstreamConnect)
}

/// The destination's side. Datagrams prove no identity: a policy that asks for one refuses them.
async fn to_application(
    cx: &Context,
    flow: &mut Flow,
    port: &InboundPort,
    (local, client): (SocketAddr, SocketAddr),
) -> Result<UdpSocket, Reason> {
    let application = port.application.ok_or(Reason::NoRoute)?;
    let destination = SocketAddr::new(local.ip(), application.port());
    let facts = ConnectionFacts { source: client.ip(), destination, peer: None, sni: None };
    cx.admit(&port.workload, &facts)?;
    flow.joining(application);
    cx.application.dial_udp(application).await.map_err(|_| Reason::UpstreamConnect)
}
