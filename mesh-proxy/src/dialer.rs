//! Upstream connections: to endpoints in plain text, over mesh TLS or TLS by policy, and to the application
//! behind a sidecar. Which upstream a request needs is decided before.

mod stream;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mesh_model::tls::{BackendTls, Certificate};
use mesh_model::{ResourceKey, SpiffeId};
use mesh_rt::SharedClock;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;

use crate::capture::SocketBroker;
use crate::tcp::tune;
use crate::tls::{MESH_H1, MESH_H2, MESH_TCP, MeshTls, Peers, SystemRoots, backend_config};
use crate::upstream::{Connect, ConnectError, Security, Speaks, Upstream};

pub use stream::UpstreamStream;

/// A connection, or another socket, on its way.
pub type Dialing<'a, T = TcpStream> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Reaches applications: inside the workload's network namespace where traffic is captured, else over loopback.
pub trait DialApplication: fmt::Debug + Send + Sync + 'static {
    /// Connects to an application's address, as seen from where it runs.
    fn dial(&self, address: SocketAddr) -> Dialing<'_>;

    /// A UDP socket connected to an application's address, as seen from where it runs.
    fn dial_udp(&self, address: SocketAddr) -> Dialing<'_, UdpSocket>;
}

/// Applications that share the proxy's own network.
#[derive(Debug, Clone, Copy, Default)]
pub struct SameNetwork;

impl DialApplication for SameNetwork {
    fn dial(&self, address: SocketAddr) -> Dialing<'_> {
        Box::pin(TcpStream::connect(address))
    }

    fn dial_udp(&self, address: SocketAddr) -> Dialing<'_, UdpSocket> {
        Box::pin(async move {
            let any: IpAddr =
                if address.is_ipv6() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
            let socket = UdpSocket::from_std(mesh_rt::net::bind_udp(SocketAddr::new(any, 0), false)?)?;
            socket.connect(address).await.map(|()| socket)
        })
    }
}

impl DialApplication for SocketBroker {
    fn dial(&self, address: SocketAddr) -> Dialing<'_> {
        Box::pin(async move { Ok(self.connect_tcp(address).await?) })
    }

    fn dial_udp(&self, address: SocketAddr) -> Dialing<'_, UdpSocket> {
        Box::pin(async move { Ok(self.connect_udp(address).await?) })
    }
}

/// What a dialer is made of.
#[derive(Clone)]
pub struct DialerParts {
    /// Identity and trust.
    pub mesh: Arc<MeshTls>,
    /// The worker's verified peers.
    pub peers: Peers,
    /// The system's roots, for policies that ask for them.
    pub system: Arc<SystemRoots>,
    /// How the application is reached.
    pub application: Arc<dyn DialApplication>,
    /// The mark of connections that are not to be captured.
    pub mark: Option<u32>,
    /// By which certificates are judged.
    pub clock: SharedClock,
    /// Longest time for connection and handshake together.
    pub limit: Duration,
}

/// Makes the upstream connections of one worker.
#[derive(Clone)]
pub struct Dialer(Rc<Inner>);

struct Inner {
    parts: DialerParts,
    policies: RefCell<HashMap<PolicyKey, Policy>>,
}

/// A policy, what is spoken, and the certificate that is shown.
type PolicyKey = (ResourceKey, Speaks, Option<ResourceKey>);

/// A policy and its configuration, while policy and certificate are the same ones.
struct Policy {
    policy: Arc<BackendTls>,
    certificate: Option<Arc<Certificate>>,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Policies kept; beyond that they are built anew.
const MOST: usize = 1024;

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("application", &self.0.parts.application).finish_non_exhaustive()
    }
}

impl Dialer {
    /// A dialer of this worker.
    pub fn new(parts: DialerParts) -> Self {
        Self(Rc::new(Inner { parts, policies: RefCell::default() }))
    }

    async fn open(&self, upstream: &Upstream) -> Result<UpstreamStream, ConnectError> {
        let address = upstream.address;
        let stream = match upstream.security {
            Security::Application => self.0.parts.application.dial(address).await,
            Security::Mesh(_) | Security::Plain | Security::Tls(..) => {
                connect(address, self.0.parts.mark).await
            }
        };
        let failed = |problem| ConnectError::Io { address, problem };
        let stream = stream.map_err(failed)?;
        tune(&stream).map_err(failed)?;
        match &upstream.security {
            Security::Application | Security::Plain => Ok(UpstreamStream::plain(stream)),
            Security::Mesh(expected) => self.mesh(stream, upstream, expected).await,
            Security::Tls(policy, shown) => self.policy(stream, upstream, (policy, shown.as_ref())).await,
        }
    }

    async fn mesh(
        &self,
        stream: TcpStream,
        upstream: &Upstream,
        expected: &SpiffeId,
    ) -> Result<UpstreamStream, ConnectError> {
        let address = upstream.address;
        let unusable = |problem: &dyn fmt::Display| identity(address, problem);
        let config = self.0.parts.mesh.client(expected, upstream.speaks).map_err(|e| unusable(&e))?;
        let name = mesh_ca::tls::peer_name();
        let before = self.0.parts.peers.version();
        let secured = TlsConnector::from(config).connect(name, stream).await;
        let secured = secured.map_err(|problem| handshake(address, problem))?;
        match (upstream.speaks, secured.get_ref().1.alpn_protocol()) {
            (Speaks::Http1, Some(MESH_H1))
            | (Speaks::Http2, Some(MESH_H2))
            | (Speaks::Opaque, Some(MESH_TCP)) => {}
            (Speaks::Http1, Some(MESH_H2)) => return Err(ConnectError::OnlyHttp2(address)),
            _ => return Err(unusable(&"the peer is no proxy of the mesh: it did not take the mark")),
        }
        let trusted = self.0.parts.peers.server(secured, before).map_err(|e| unusable(&e))?;
        Ok(UpstreamStream::mesh(trusted))
    }

    async fn policy(
        &self,
        stream: TcpStream,
        upstream: &Upstream,
        policy: (&Arc<BackendTls>, Option<&Arc<Certificate>>),
    ) -> Result<UpstreamStream, ConnectError> {
        let address = upstream.address;
        let (config, name) =
            self.policy_config(policy, upstream.speaks).map_err(|e| identity(address, &e))?;
        let secured = TlsConnector::from(config).connect(name, stream).await;
        let secured = secured.map_err(|problem| handshake(address, problem))?;
        let chosen = secured.get_ref().1.alpn_protocol();
        if upstream.speaks == Speaks::Http2 && chosen != Some(b"h2") {
            return Err(identity(address, &"the backend does not speak HTTP/2 inside TLS"));
        }
        Ok(UpstreamStream::tls(secured))
    }

    fn policy_config(
        &self,
        (policy, shown): (&Arc<BackendTls>, Option<&Arc<Certificate>>),
        speaks: Speaks,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), crate::tls::BackendTlsError> {
        let key = (policy.key.clone(), speaks, shown.map(|shown| shown.key.clone()));
        let same = |found: &&Policy| {
            let certificate = match (&found.certificate, shown) {
                (Some(known), Some(shown)) => Arc::ptr_eq(known, shown),
                (known, shown) => known.is_none() && shown.is_none(),
            };
            certificate && Arc::ptr_eq(&found.policy, policy)
        };
        let mut policies = self.0.policies.borrow_mut();
        if let Some(found) = policies.get(&key).filter(same) {
            return Ok((Arc::clone(&found.config), found.name.clone()));
        }
        let (system, clock) = (&self.0.parts.system, &self.0.parts.clock);
        let (config, name) = backend_config(policy, shown.map(|shown| &**shown), speaks, system, clock)?;
        if policies.len() >= MOST {
            policies.clear();
        }
        let (policy, certificate) = (Arc::clone(policy), shown.cloned());
        let entry = Policy { policy, certificate, config: Arc::clone(&config), name: name.clone() };
        policies.insert(key, entry);
        Ok((config, name))
    }
}

async fn connect(address: SocketAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let Some(mark) = mark else { return TcpStream::connect(address).await };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    mesh_rt::net::mark(&socket, mark)?;
    socket.connect(address).await
}

impl Connect for Dialer {
    type Io = UpstreamStream;

    async fn connect(&self, upstream: &Upstream) -> Result<UpstreamStream, ConnectError> {
        let opened = tokio::time::timeout(self.0.parts.limit, self.open(upstream)).await;
        opened.unwrap_or(Err(ConnectError::TimedOut(upstream.address)))
    }
}

fn identity(address: SocketAddr, problem: &dyn fmt::Display) -> ConnectError {
    ConnectError::Identity { address, problem: problem.to_string() }
}

/// TLS errors say that the peer proved nothing; others that the connection broke.
fn handshake(address: SocketAddr, problem: io::Error) -> ConnectError {
    match problem.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        true => identity(address, &problem),
        false => ConnectError::Io { address, problem },
    }
}
