//! A small mesh on loopback: an authority, resources as values, and proxies around them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_ca::tls::PeerTls;
use mesh_ca::{Authority, SvidSource};
use mesh_model::backend::{Backend, Target};
use mesh_model::{
    AppProtocol, Attachment, Delta, Endpoint, EndpointChunk, Kind, Listener, ListenerProtocol, ListenerTls,
    ObjectName, Origin, Resource, ResourceKey, Route, RouteKind, Rule, Service, ServicePort, SourceRef,
    SpiffeId, Transport, TrustDomain, Workload,
};
use mesh_proxy::proxy::{
    BindPorts, InboundListener, Listen, ListenerId, OutboundListener, Proxy, ProxyHandle, ProxyOptions,
};
use mesh_proxy::role::inbound::{InboundPort, Plaintext};
use mesh_proxy::role::outbound::{Destination, OutboundPort, Unknown};
use mesh_proxy::snapshot::SharedMesh;
use mesh_rt::SystemClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const LOCALHOST: &str = "127.0.0.1:0";

/// An authority and the snapshot that all proxies of a test share.
pub(crate) struct World {
    pub(crate) authority: Arc<Authority>,
    pub(crate) mesh: SharedMesh,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of("cluster.local")
    }

    pub(crate) fn of(trust_domain: &str) -> Self {
        let trust_domain: TrustDomain = trust_domain.parse().expect("a trust domain");
        let authority = Authority::in_memory(trust_domain, SystemClock::shared()).expect("an authority");
        Self { authority, mesh: SharedMesh::default() }
    }

    pub(crate) fn id(&self, account: &str) -> SpiffeId {
        SpiffeId::for_service_account(&self.authority.trust_domain(), "shop", account).expect("an identity")
    }

    pub(crate) fn identity(&self, account: &str) -> PeerTls {
        let svid = self.authority.issue_svid(&self.id(account)).expect("an identity");
        PeerTls::new(SvidSource::new(svid, SystemClock::shared()), self.authority.trust())
    }

    pub(crate) fn options(&self, account: &str) -> ProxyOptions {
        ProxyOptions::new(account, self.mesh.clone(), self.identity(account))
    }

    pub(crate) fn set(&self, resources: impl IntoIterator<Item = Resource>) {
        let delta = Delta { set: resources.into_iter().collect(), removed: Vec::new() };
        self.mesh.publish(self.mesh.current().apply(&delta));
    }

    pub(crate) fn remove(&self, key: &ResourceKey) {
        let delta = Delta { set: Vec::new(), removed: vec![key.clone()] };
        self.mesh.publish(self.mesh.current().apply(&delta));
    }

    /// A workload behind an inbound proxy, a service for it, and where its proxy listens.
    pub(crate) fn sidecar(
        &self,
        name: &str,
        application: SocketAddr,
        protocol: AppProtocol,
    ) -> (ProxyHandle, SocketAddr) {
        self.set([workload(self, name), service(name, protocol)]);
        let mut options = self.options(name);
        options.inbound.push(inbound(name, application, Plaintext::Strict));
        let proxy = Proxy::start(options).expect("threads");
        let address = proxy.addresses()[&ListenerId::Inbound(0)];
        self.set([endpoints(name, [(address, Some(self.id(name)))])]);
        (proxy, address)
    }

    /// A proxy in front of a client of this service, and where the client dials.
    pub(crate) fn client(&self, account: &str, service: &str) -> (ProxyHandle, SocketAddr) {
        let mut options = self.options(account);
        options.outbound.push(outbound(service));
        let proxy = Proxy::start(options).expect("threads");
        let address = proxy.addresses()[&ListenerId::Outbound(0)];
        (proxy, address)
    }

    /// A gateway whose ports the system chooses.
    pub(crate) fn gateway(&self, workers: usize) -> ProxyHandle {
        let mut options = self.options("edge-mesh").gateway(name("edge"), BindPorts::Any);
        options.workers = workers;
        Proxy::start(options).expect("threads")
    }
}

pub(crate) fn inbound(workload: &str, application: SocketAddr, plaintext: Plaintext) -> InboundListener {
    let port = InboundPort { workload: name(workload), application: Some(application), plaintext };
    InboundListener { listen: Listen::At(Transport::Tcp, LOCALHOST.parse().expect("address")), port }
}

pub(crate) fn outbound(service: &str) -> OutboundListener {
    let destination = Destination::Service { service: name(service), port: 80 };
    let port = OutboundPort { namespace: Arc::from("shop"), destination, unknown: Unknown::Deny };
    OutboundListener { listen: Listen::At(Transport::Tcp, LOCALHOST.parse().expect("address")), port }
}

pub(crate) fn name(name: &str) -> ObjectName {
    ObjectName::new("shop", name)
}

pub(crate) fn source(kind: &str, object: &str) -> SourceRef {
    SourceRef::new(kind, name(object), Origin::Builtin)
}

pub(crate) fn workload(world: &World, account: &str) -> Resource {
    Resource::Workload(Arc::new(Workload {
        key: ResourceKey::local(Kind::Workload, name(account)),
        source: source("Pod", account),
        name: name(account),
        labels: BTreeMap::from([(Arc::from("app"), Arc::from(account))]),
        identity: world.id(account),
        addresses: Vec::new(),
        plaintext: mesh_model::Plaintext::default(),
        on_node: None,
        outside: mesh_model::Outside::Allowed,
    }))
}

pub(crate) fn service(object: &str, protocol: AppProtocol) -> Resource {
    let port = |transport| ServicePort { name: Arc::from(""), port: 80, transport, protocol };
    Resource::Service(Arc::new(Service {
        key: ResourceKey::local(Kind::Service, name(object)),
        source: source("Service", object),
        name: name(object),
        addresses: Vec::new(),
        ports: vec![port(Transport::Tcp), port(Transport::Udp)],
        retry_budget: None,
        hostname: None,
        session: None,
    }))
}

pub(crate) fn endpoints(
    service: &str,
    addresses: impl IntoIterator<Item = (SocketAddr, Option<SpiffeId>)>,
) -> Resource {
    endpoints_of(service, Transport::Tcp, addresses)
}

pub(crate) fn endpoints_of(
    service: &str,
    transport: Transport,
    addresses: impl IntoIterator<Item = (SocketAddr, Option<SpiffeId>)>,
) -> Resource {
    let endpoint = |(address, identity)| Endpoint {
        address,
        identity,
        workload: Arc::from(service),
        ready: true,
        zone: None,
        hostname: None,
    };
    let part = if transport == Transport::Tcp { "80/0" } else { "80-udp/0" };
    Resource::EndpointChunk(Arc::new(EndpointChunk {
        key: ResourceKey::local_part(Kind::EndpointChunk, name(service), part),
        source: source("EndpointSlice", service),
        service: name(service),
        port: 80,
        transport,
        endpoints: addresses.into_iter().map(endpoint).collect(),
    }))
}

/// A listener of the gateway `edge`.
pub(crate) fn listener(
    part: &str,
    port: u16,
    protocol: ListenerProtocol,
    (hostname, tls): (&str, Option<ListenerTls>),
) -> Listener {
    Listener {
        key: ResourceKey::local_part(Kind::Listener, name("edge"), part),
        source: source("Gateway", "edge"),
        gateway: name("edge"),
        name: Arc::from(part),
        port,
        protocol,
        hostname: hostname.parse().expect("a hostname"),
        tls,
        backend_certificate: None,
        filters: Vec::new(),
        tracing: None,
    }
}

/// A route of one rule from a listener to services by weight.
pub(crate) fn route(object: &str, kind: RouteKind, on: &Listener, backends: &[(&str, u32)]) -> Resource {
    let backend = |(service, weight): &(&str, u32)| Backend {
        target: Target::Service { service: name(service), port: 80 },
        weight: *weight,
        filters: Vec::new(),
    };
    Resource::Route(Arc::new(Route {
        key: ResourceKey::local_part(Kind::Route, name(object), kind.as_str()),
        source: source(kind.as_str(), object),
        kind,
        created: 0,
        attachments: vec![Attachment::Listener(on.key.clone())],
        hostnames: Vec::new(),
        rules: vec![Rule { backends: backends.iter().map(backend).collect(), ..Rule::default() }],
        held: false,
    }))
}

/// A free port of this machine, and where it is.
pub(crate) fn listening() -> (TcpListener, SocketAddr) {
    let listener = mesh_rt::net::listen_tcp(LOCALHOST.parse().expect("address"), false).expect("a port");
    let listener = TcpListener::from_std(listener).expect("a runtime");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// An application that greets, then sends back what it gets until the client's end, then says goodbye.
pub(crate) async fn echo(greeting: &'static str) -> SocketAddr {
    let (listener, address) = listening();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                write.write_all(greeting.as_bytes()).await?;
                tokio::io::copy(&mut read, &mut write).await?;
                write.write_all(b"bye").await?;
                write.shutdown().await
            });
        }
    });
    address
}

/// What a TCP client gets that sends some text and ends; `Err` when the connection is reset or cut.
pub(crate) async fn ask(address: SocketAddr, text: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let exchange = async {
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    in_time(exchange).await
}

/// A limit for what must come soon, so that a lost answer fails its test and does not hang it.
pub(crate) async fn in_time<T>(step: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), step).await.expect("it takes too long")
}

/// Waits until something is so.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    in_time(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// How often connections were refused for a reason.
pub(crate) fn refused(metrics: &str, reason: &str) -> u64 {
    let line = format!("mesh_connections_refused_total{{reason=\"{reason}\"}} ");
    metrics.lines().find_map(|l| l.strip_prefix(&line)).and_then(|n| n.parse().ok()).unwrap_or(0)
}
