//! The destination's side: only mesh peers enter, except where the workload is permissive; then the application.

mod undeclared;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Version;
use mesh_model::{AppProtocol, ConnectionFacts, Mesh, ObjectName, Reason, Transport};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::Context;
use super::flow::Flow;
use super::forward::carry;
use crate::dialer::UpstreamStream;
use crate::drain::Signal;
use crate::http::Downstream;
use crate::scope::Scope;
use crate::tcp::{Abort, Rewound};
use crate::telemetry::flow::Protocol;
use crate::tls::{FirstBytes, Hello, MESH_H1, MESH_H2, MESH_TCP, read_first};
use crate::upstream::{Connect, Security, Speaks, Upstream};

/// Whether connections without mesh TLS may enter.
#[derive(Debug, Clone, Default)]
pub enum Plaintext {
    /// They may: authorization sees a client without identity.
    Permissive,
    /// They are refused.
    #[default]
    Strict,
    /// They may until this is set. Those that are accepted later are refused.
    Until(Arc<AtomicBool>),
}

impl Plaintext {
    fn enters(&self) -> bool {
        match self {
            Self::Permissive => true,
            Self::Strict => false,
            Self::Until(end) => !end.load(Ordering::Acquire),
        }
    }
}

/// One inbound port of a workload.
#[derive(Debug, Clone)]
pub struct InboundPort {
    /// The workload.
    pub workload: ObjectName,
    /// Where its application listens, as seen from where it runs. `None` keeps the address that the client
    /// dialled, for connections that were redirected.
    pub application: Option<SocketAddr>,
    /// Whether plain text enters whatever the mesh says of the workload.
    pub plaintext: Plaintext,
}

/// A connection whose beginning was read.
struct Arrived {
    stream: Rewound<TcpStream>,
    facts: ConnectionFacts,
    application: SocketAddr,
    /// Where the client's connection ends here, which is what services name.
    local: SocketAddr,
    client: SocketAddr,
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
    let Ok((destination, application)) = destination(&stream, &port) else {
        return cx.refuse(Reason::NoRoute, &peer, &"the proxy's own port was dialled");
    };
    let Ok(local) = stream.local_addr() else { return };
    let began = Instant::now();
    let permissive = port.plaintext.enters()
        || cx.mesh.current().workload(&port.workload).is_some_and(|w| w.plaintext.at(application.port()));
    // Where plain text may enter, a client that waits for the server must not wait for us.
    let first = if permissive { cx.times.detect } else { cx.times.handshake };
    let read = read_first(&mut stream, began + first, began + cx.times.handshake).await;
    let (first, ahead) = match read {
        Ok(read) => read,
        Err(problem) => return cx.refuse(Reason::MalformedRequest, &peer, &problem),
    };
    let sni = if let FirstBytes::Tls(hello) = &first { hello.sni.clone() } else { None };
    let facts = ConnectionFacts { source: peer.ip(), destination, peer: None, sni };
    let silent = ahead.is_empty();
    let arrived =
        Arrived { stream: Rewound::new(ahead, stream), facts, application, local, client: peer, drain };
    match first {
        FirstBytes::Tls(hello) if marked(&hello) => meshed(&cx, &port, arrived).await,
        _ if permissive => plain(&cx, &port, arrived).await,
        _ if silent => {}
        _ => {
            arrived.stream.abort();
            cx.refuse(Reason::IdentityRequired, &peer, &"only mesh TLS enters here");
        }
    }
}

fn marked(hello: &Hello) -> bool {
    [MESH_H1, MESH_H2, MESH_TCP].into_iter().any(|mark| hello.offers(mark))
}

/// The address that policies see and the one of the application.
fn destination(stream: &TcpStream, port: &InboundPort) -> std::io::Result<(SocketAddr, SocketAddr)> {
    let local = stream.local_addr()?;
    let local = mesh_rt::net::canonical(local);
    Ok(match port.application {
        Some(application) => (SocketAddr::new(local.ip(), application.port()), application),
        // Who dials this port itself would have the proxy dial it again, without end.
        None => {
            let dialled = crate::capture::destination(stream).map_err(std::io::Error::other)?;
            (dialled, dialled)
        }
    })
}

/// Mutual TLS: the handshake proves the peer, then its mark says what is inside.
async fn meshed(cx: &Context, port: &InboundPort, arrived: Arrived) {
    let Arrived { stream, mut facts, application, local, client, drain } = arrived;
    let acceptor = TlsAcceptor::from(cx.tls.server());
    let before = cx.peers.version();
    let stream = match cx.in_time(acceptor.accept(stream)).await {
        Ok(stream) => stream,
        Err(problem) => return cx.refuse(Reason::IdentityRequired, &facts.source, &problem),
    };
    let connection = stream.get_ref().1;
    facts.peer = mesh_ca::tls::peer_identity(connection);
    let hop = match connection.alpn_protocol() {
        Some(MESH_H1) => Some(Version::HTTP_11),
        Some(MESH_H2) => Some(Version::HTTP_2),
        _ => None,
    };
    if facts.peer.is_none() || connection.alpn_protocol().is_none() {
        return cx.refuse(Reason::IdentityRequired, &facts.source, &"the peer proved no identity");
    }
    let stream = match cx.peers.client(stream, before) {
        Ok(stream) => stream,
        Err(problem) => return cx.refuse(Reason::IdentityRequired, &facts.source, &problem),
    };
    // A peer's application may have dialled past its proxy's reading of HTTP; its requests are still read here, or
    // it could say who it is in place of its certificate.
    let at = At { port, application, client, drain };
    match declared(&cx.mesh.current(), [facts.destination, local]) {
        _ if hop.is_some() => requests(cx, at, stream, Downstreams { facts, hop, tls: true }).await,
        Declared::Http => requests(cx, at, stream, Downstreams { facts, hop, tls: true }).await,
        Declared::Nothing => undeclared::serve(cx, at, stream, (facts, true)).await,
        Declared::Opaque => opaque(cx, at, stream, facts).await,
    }
}

/// Where a connection leads.
#[derive(Clone)]
struct At<'p> {
    port: &'p InboundPort,
    application: SocketAddr,
    client: SocketAddr,
    drain: Signal,
}

/// What requests on a connection have in common.
struct Downstreams {
    facts: ConnectionFacts,
    /// What the mark of a hop between proxies says is spoken.
    hop: Option<Version>,
    tls: bool,
}

/// Serves HTTP on a connection.
async fn requests<D>(cx: &Context, at: At<'_>, stream: D, of: Downstreams)
where
    D: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Downstreams { facts, hop, tls } = of;
    let workload = cx.mesh.current().workload(&at.port.workload).cloned();
    let Some(workload) = workload else {
        return cx.refuse(Reason::PolicyPending, &facts.source, &"the workload is not known");
    };
    let scope = Scope::Inbound { workload, application: at.application };
    let downstream = Downstream { facts, scope, mesh_hop: hop.is_some(), tls, agreed: hop };
    super::http::http(cx, stream, downstream, at.drain).await;
}

/// What the services that lead to an address say about the protocol there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Declared {
    Http,
    Nothing,
    Opaque,
}

/// What is declared for one of these addresses. HTTP wins: a request that is read is safe everywhere.
fn declared(mesh: &Mesh, addresses: [SocketAddr; 2]) -> Declared {
    let ours =
        |ip: SocketAddr| addresses.iter().any(|a| a.ip().to_canonical() == ip.ip() && a.port() == ip.port());
    let ports = mesh.all_services().flat_map(|s| s.ports.iter().map(move |p| (s, p)));
    let here = ports.filter(|(service, port)| {
        let set = mesh.endpoints(&service.name, port.transport, port.port);
        port.transport == Transport::Tcp && set.is_some_and(|set| set.all().any(|e| ours(e.address)))
    });
    let mut found = Declared::Nothing;
    for (_, port) in here {
        match port.protocol {
            protocol if protocol.is_http() => return Declared::Http,
            AppProtocol::Detect => {}
            _ => found = Declared::Opaque,
        }
    }
    found
}

/// A connection without mesh TLS at a permissive port: HTTP where its first bytes say so.
async fn plain(cx: &Context, port: &InboundPort, arrived: Arrived) {
    let Arrived { stream, facts, application, local, client, drain } = arrived;
    let at = At { port, application, client, drain };
    match declared(&cx.mesh.current(), [facts.destination, local]) {
        Declared::Opaque => opaque(cx, at, stream, facts).await,
        // TLS of the application's own may be spoken where HTTP is declared.
        Declared::Http | Declared::Nothing => undeclared::serve(cx, at, stream, (facts, false)).await,
    }
}

/// Authorizes a connection whose requests are not seen, and joins it to the application.
async fn opaque<D>(cx: &Context, at: At<'_>, downstream: D, facts: ConnectionFacts)
where
    D: AsyncRead + AsyncWrite + Abort + Unpin,
{
    let Some((upstream, flow)) = join(cx, &at, &downstream, &facts).await else { return };
    let revoked = cx.revoked(&at.port.workload, &facts);
    carry(cx, flow, downstream, upstream, (at.drain, revoked)).await;
}

/// Authorizes an opaque connection and connects to the application; a refused one is reset and counted.
async fn join(
    cx: &Context,
    at: &At<'_>,
    downstream: &impl Abort,
    facts: &ConnectionFacts,
) -> Option<(UpstreamStream, Flow)> {
    let of = (Protocol::Tcp, at.client);
    let mut flow = Flow::inbound(cx, &at.port.workload, of, facts.peer.as_ref());
    if let Err(reason) = cx.admit(&at.port.workload, facts) {
        flow.refused(reason);
        downstream.abort();
        let client = facts.peer.as_ref().map_or_else(|| facts.source.to_string(), ToString::to_string);
        cx.refuse(reason, &client, &"authorization");
        return None;
    }
    let (security, speaks) = (Security::Application, Speaks::Opaque);
    flow.joining(at.application);
    let connected = cx.dialer.connect(&Upstream { address: at.application, security, speaks }).await;
    match connected {
        Ok(upstream) => Some((upstream, flow)),
        Err(problem) => {
            flow.refused(problem.reason());
            downstream.abort();
            cx.refuse(problem.reason(), &facts.source, &problem);
            None
        }
    }
}
