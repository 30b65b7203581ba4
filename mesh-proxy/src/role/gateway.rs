//! The edge: from a gateway's port to its listeners by protocol and server name, their routes and a backend.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use mesh_model::engine::{Place, route_connection};
use mesh_model::{ConnectionFacts, Listener, ListenerProtocol, ListenerTls, ObjectName, Reason, Transport};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::Context;
use super::flow::Flow;
use super::forward::{Carries, forward};
use crate::drain::Signal;
use crate::http::Downstream;
use crate::scope::Scope;
use crate::tcp::{Abort, Rewound};
use crate::telemetry::flow::Protocol;
use crate::tls::{FirstBytes, read_first};

/// One port of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayPort {
    /// The gateway.
    pub gateway: ObjectName,
    /// The port that matching and redirects use, wherever it is bound.
    pub port: u16,
}

type Refusal = (Reason, String);

/// Serves one connection of a gateway to its end.
pub(crate) async fn serve(
    cx: Rc<Context>,
    port: Arc<GatewayPort>,
    stream: TcpStream,
    peer: SocketAddr,
    drain: Signal,
) {
    let mesh = cx.mesh.current();
    let first = mesh.listeners(&port.gateway, Transport::Tcp, port.port).first().cloned();
    let served = match first.as_ref().map(|listener| (listener, listener.protocol)) {
        Some((_, ListenerProtocol::Https | ListenerProtocol::Tls)) => {
            by_name(&cx, &port, stream, peer, drain).await
        }
        Some((_, ListenerProtocol::Http)) => {
            let downstream = downstream(&port, (&stream, peer), None);
            super::http::http(&cx, stream, downstream, drain).await;
            Ok(())
        }
        Some((listener, ListenerProtocol::Tcp)) => {
            let routed = route_connection(&mesh, place(&port, None), Transport::Tcp);
            let removed = removed(&cx, listener);
            let flow = Flow::at_gateway(&cx, &port.gateway, (Protocol::Tcp, peer), None);
            forward(&cx, (flow, stream), Ok(routed), Carries::Plain(&port), (drain, removed)).await
        }
        Some((_, ListenerProtocol::Udp)) | None => Err((Reason::NoRoute, "no listener is here".to_owned())),
    };
    if let Err((reason, why)) = served {
        cx.refuse(reason, &peer, &why);
    }
}

fn place<'a>(port: &'a GatewayPort, sni: Option<&'a str>) -> Place<'a> {
    Place::Gateway { gateway: &port.gateway, port: port.port, sni }
}

/// Chooses the listener by server name. A connection that belongs to none ends without an alert: what it
/// began is not TLS that we could speak in that name.
async fn by_name(
    cx: &Context,
    port: &GatewayPort,
    mut stream: TcpStream,
    peer: SocketAddr,
    drain: Signal,
) -> Result<(), Refusal> {
    let by = Instant::now() + cx.times.handshake;
    let read = read_first(&mut stream, by, by).await;
    let (first, ahead) = read.map_err(|problem| (Reason::MalformedRequest, problem.to_string()))?;
    let hello = match first {
        FirstBytes::Tls(hello) => hello,
        FirstBytes::Other if ahead.is_empty() => return Ok(()),
        FirstBytes::Other => {
            stream.abort();
            return Err((Reason::MalformedRequest, "the connection does not begin with TLS".to_owned()));
        }
    };
    let mesh = cx.mesh.current();
    let sni = hello.sni.clone().unwrap_or_default();
    let listeners = mesh.listeners(&port.gateway, Transport::Tcp, port.port);
    let Some(listener) = listeners.iter().find(|listener| listener.hostname.matches(&sni)).cloned() else {
        stream.abort();
        return Err((Reason::NoRoute, format!("no listener serves the name {sni:?}")));
    };
    let mut downstream = downstream(port, (&stream, peer), Some(Arc::clone(&sni)));
    let stream = Rewound::new(ahead, stream);
    let flow = || Flow::at_gateway(cx, &port.gateway, (Protocol::Tls, peer), Some(&sni));
    if listener.tls == Some(ListenerTls::Passthrough) {
        let routed = route_connection(&mesh, place(port, Some(&sni)), Transport::Tcp);
        let ending = (drain, removed(cx, &listener));
        return forward(cx, (flow(), stream), Ok(routed), Carries::Tls, ending).await;
    }
    let terminated = cx.terminations.config(&mesh, &listener);
    let config = match terminated {
        Ok(config) => config,
        Err(problem) => {
            stream.abort();
            return Err((Reason::InvalidCertificateRef, problem.to_string()));
        }
    };
    let stream = cx.in_time(TlsAcceptor::from(config).accept(stream)).await;
    let stream = stream.map_err(|problem| (Reason::MalformedRequest, problem.to_string()))?;
    if listener.protocol == ListenerProtocol::Https {
        downstream.agreed = super::http::agreed(stream.get_ref().1.alpn_protocol());
        super::http::http(cx, stream, downstream, drain).await;
        return Ok(());
    }
    let routed = route_connection(&mesh, place(port, Some(&sni)), Transport::Tcp);
    let ending = (drain, removed(cx, &listener));
    forward(cx, (flow(), stream), Ok(routed), Carries::Plain(port), ending).await
}

/// What HTTP has to know of a connection.
fn downstream(
    port: &GatewayPort,
    (stream, peer): (&TcpStream, SocketAddr),
    sni: Option<Arc<str>>,
) -> Downstream {
    let local = stream.local_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |local| local.ip().to_canonical());
    let destination = SocketAddr::new(local, port.port);
    let facts = ConnectionFacts { source: peer.ip(), destination, peer: None, sni: sni.clone() };
    let tls = sni.is_some();
    let scope = Scope::Gateway { gateway: port.gateway.clone(), port: port.port, sni };
    Downstream { facts, scope, mesh_hop: false, tls, agreed: None }
}

/// Ends when a listener is no longer in the snapshot.
async fn removed(cx: &Context, listener: &Listener) -> Reason {
    let key = &listener.key;
    cx.until(|mesh| mesh.resource(key).is_none().then_some(Reason::NoRoute)).await
}
