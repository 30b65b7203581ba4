//! The destination's side: only mesh peers enter, except where the workload is permissive; then the application.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use mesh_model::{ConnectionFacts, Mesh, ObjectName, Reason};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::Context;
use super::forward::carry;
use crate::detect::{Spoken, judge};
use crate::drain::Signal;
use crate::http::Downstream;
use crate::scope::Scope;
use crate::tcp::{Abort, Rewound};
use crate::tls::{FirstBytes, Hello, MESH_H2, MESH_TCP, read_first};
use crate::upstream::{Connect, Security, Speaks, Upstream};

/// Whether connections without mesh TLS may enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Plaintext {
    /// They may: authorization sees a client without identity.
    Permissive,
    /// They are refused.
    #[default]
    Strict,
}

/// One inbound port of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundPort {
    /// The workload.
    pub workload: ObjectName,
    /// Where its application listens, as seen from where it runs. `None` keeps the address that the client
    /// dialled, for connections that were redirected.
    pub application: Option<SocketAddr>,
    /// Whether plain text enters.
    pub plaintext: Plaintext,
}

/// A connection whose beginning was read.
struct Arrived {
    stream: Rewound<TcpStream>,
    facts: ConnectionFacts,
    application: SocketAddr,
    /// Where the client's connection ends here, which is what services name.
    local: SocketAddr,
    drain: Signal,
}

/// Serves one inbound connection to its end.
pub(crate) async fn serve(
    cx: Rc<Context>,
    port: Arc<InboundPort>,
    mut stream: TcpStream,
    peer: SocketAddr,
    drain: Signal,
) {
    let Ok((destination, application)) = destination(&stream, &port) else { return };
    let Ok(local) = stream.local_addr() else { return };
    let began = Instant::now();
    // Where plain text may enter, a client that waits for the server must not wait for us.
    let first = if port.plaintext == Plaintext::Strict { cx.times.handshake } else { cx.times.detect };
    let read = read_first(&mut stream, began + first, began + cx.times.handshake).await;
    let (first, ahead) = match read {
        Ok(read) => read,
        Err(problem) => return cx.refuse(Reason::MalformedRequest, &peer, &problem),
    };
    let sni = if let FirstBytes::Tls(hello) = &first { hello.sni.clone() } else { None };
    let facts = ConnectionFacts { source: peer.ip().to_canonical(), destination, peer: None, sni };
    let arrived = Arrived { stream: Rewound::new(ahead.clone(), stream), facts, application, local, drain };
    match first {
        FirstBytes::Tls(hello) if marked(&hello) => meshed(&cx, &port, arrived).await,
        _ if port.plaintext == Plaintext::Permissive => plain(&cx, &port, arrived, &ahead).await,
        _ if ahead.is_empty() => {}
        _ => {
            arrived.stream.abort();
            cx.refuse(Reason::IdentityRequired, &peer, &"only mesh TLS enters here");
        }
    }
}

fn marked(hello: &Hello) -> bool {
    hello.offers(MESH_H2) || hello.offers(MESH_TCP)
}

/// The address that policies see and the one of the application.
fn destination(stream: &TcpStream, port: &InboundPort) -> std::io::Result<(SocketAddr, SocketAddr)> {
    let local = stream.local_addr()?;
    let local = SocketAddr::new(local.ip().to_canonical(), local.port());
    Ok(match port.application {
        Some(application) => (SocketAddr::new(local.ip(), application.port()), application),
        None => {
            let dialled = mesh_rt::net::original_destination(stream).unwrap_or(local);
            (dialled, dialled)
        }
    })
}

/// Mutual TLS: the handshake proves the peer, then its mark says what is inside.
async fn meshed(cx: &Context, port: &InboundPort, arrived: Arrived) {
    let Arrived { stream, mut facts, application, local, drain } = arrived;
    let acceptor = TlsAcceptor::from(cx.tls.server());
    let stream = match cx.in_time(acceptor.accept(stream)).await {
        Ok(stream) => stream,
        Err(problem) => return cx.refuse(Reason::IdentityRequired, &facts.source, &problem),
    };
    let connection = stream.get_ref().1;
    facts.peer = mesh_ca::tls::peer_identity(connection);
    let http = connection.alpn_protocol() == Some(MESH_H2);
    if facts.peer.is_none() || connection.alpn_protocol().is_none() {
        return cx.refuse(Reason::IdentityRequired, &facts.source, &"the peer proved no identity");
    }
    // A peer's application may have dialled past its proxy's reading of HTTP; its requests are still read here, or
    // it could say who it is in place of its certificate.
    if !http && !declares_http(&cx.mesh.current(), [facts.destination, local]) {
        return opaque(cx, port, stream, (facts, application, drain)).await;
    }
    let Some(scope) = scope(cx, port, application) else {
        return cx.refuse(Reason::PolicyPending, &facts.source, &"the workload is not known");
    };
    super::http::http(cx, stream, Downstream { facts, scope, mesh_hop: http, tls: true }, drain).await;
}

/// Whether a service says that HTTP is spoken at one of these addresses.
fn declares_http(mesh: &Mesh, addresses: [SocketAddr; 2]) -> bool {
    let ours =
        |ip: SocketAddr| addresses.iter().any(|a| a.ip().to_canonical() == ip.ip() && a.port() == ip.port());
    mesh.all_services().any(|service| {
        service.ports.iter().filter(|port| port.protocol.is_http()).any(|port| {
            let set = mesh.endpoints(&service.name, port.transport, port.port);
            set.is_some_and(|set| set.all().any(|endpoint| ours(endpoint.address)))
        })
    })
}

/// A connection without mesh TLS at a permissive port: HTTP where its first bytes say so.
async fn plain(cx: &Context, port: &InboundPort, arrived: Arrived, first: &[u8]) {
    let Arrived { stream, facts, application, drain, .. } = arrived;
    let spoken = judge(first).unwrap_or(Spoken::Opaque);
    let scope = scope(cx, port, application).filter(|_| spoken != Spoken::Opaque);
    match scope {
        Some(scope) => {
            let downstream = Downstream { facts, scope, mesh_hop: false, tls: false };
            super::http::http(cx, stream, downstream, drain).await;
        }
        None => opaque(cx, port, stream, (facts, application, drain)).await,
    }
}

/// Authorizes a connection whose requests are not seen, and joins it to the application.
async fn opaque<D>(
    cx: &Context,
    port: &InboundPort,
    downstream: D,
    (facts, application, drain): (ConnectionFacts, SocketAddr, Signal),
) where
    D: tokio::io::AsyncRead + tokio::io::AsyncWrite + Abort + Unpin,
{
    if let Err(reason) = cx.admit(&port.workload, &facts) {
        downstream.abort();
        let client = facts.peer.as_ref().map_or_else(|| facts.source.to_string(), ToString::to_string);
        return cx.refuse(reason, &client, &"authorization");
    }
    let upstream = Upstream { address: application, security: Security::Application, speaks: Speaks::Opaque };
    match cx.dialer.connect(&upstream).await {
        Ok(upstream) => carry(cx, downstream, upstream, (drain, cx.revoked(&port.workload, &facts))).await,
        Err(problem) => {
            downstream.abort();
            cx.refuse(problem.reason(), &facts.source, &problem);
        }
    }
}

fn scope(cx: &Context, port: &InboundPort, application: SocketAddr) -> Option<Scope> {
    let workload = Arc::clone(cx.mesh.current().workload(&port.workload)?);
    Some(Scope::Inbound { workload, application })
}
