//! The controller's port with everything behind it, clients that keep the rules, and clients that keep none.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use mesh_ca::attest::{Attestors, LocalTokenAttestor, PeerSvidAttestor, TokenKey};
use mesh_ca::grpc::{self, ALPN};
use mesh_ca::tls::{PeerTls, client_config, peer_name};
use mesh_ca::{Authority, SvidSource, TrustBundle, TrustSource};
use mesh_controller::controller::Controller;
use mesh_controller::serve::{Services, serve};
use mesh_controller::source::FileSource;
use mesh_controller::translate::Settings;
use mesh_model::{Delta, SpiffeId, TrustDomain};
use mesh_rt::{Clock as _, SystemClock};
use mesh_xds::client::{Client, ClientConfig as Following};
use mesh_xds::native::{FEATURES, MeshConsumer};
use mesh_xds::proto::Node;
use rcgen::{CertificateParams, DistinguishedName, Issuer, KeyPair};
use rustls::ClientConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

const OBJECTS: &str = include_str!("../golden/client-certificates/in.yaml");
const MORE: &str = "\n---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: other}
spec: {gatewayClassName: mesh, listeners: [{name: plain, port: 81, protocol: HTTP}]}
---
apiVersion: local.mesh.io/v1alpha1
kind: Process
metadata: {name: web, labels: {app: web}}
spec: {command: [demo], serviceAccountName: shop-web}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: edited}
spec:
  parentRefs: [{group: \"\", kind: Service, name: web}]
  rules: [{backendRefs: [{name: web, port: 80, weight: WEIGHT}]}]
";

/// How long whoever keeps the rules waits at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running controller, its authority, and an issuer that it trusts although an attacker has the key.
pub(crate) struct Port {
    pub(crate) at: SocketAddr,
    pub(crate) identity: SpiffeId,
    pub(crate) authority: Arc<Authority>,
    pub(crate) tokens: TokenKey,
    pub(crate) leaked: Issuer<'static, KeyPair>,
    controller: Controller,
    edits: u32,
    good: mpsc::UnboundedReceiver<Delta>,
}

impl Port {
    pub(crate) async fn open() -> Self {
        let trust_domain = TrustDomain::default();
        let authority = Authority::in_memory(trust_domain.clone(), SystemClock::shared()).unwrap();
        let (leaked, root) = issuer();
        let roots = authority.bundle().roots().cloned().chain([root]).collect();
        let bundle = TrustBundle::new(trust_domain.clone(), roots, 1).unwrap();
        let identity = account("controller");
        let svid = SvidSource::new(authority.issue_svid(&identity).unwrap(), SystemClock::shared());
        let own = PeerTls::new(svid, TrustSource::new([bundle].into_iter().collect()));
        let [tokens, theirs] = [(); 2].map(|()| TokenKey::from_hex(&"5a".repeat(32)).unwrap());
        let mut controller = Controller::new(Settings::default(), SystemClock::shared());
        controller.take(objects(0));
        let attestors = Attestors::new([
            Arc::new(LocalTokenAttestor::new(theirs, SystemClock::shared())) as Arc<_>,
            Arc::new(PeerSvidAttestor) as Arc<_>,
        ]);
        let services =
            Services { ads: controller.ads(), authority: Arc::clone(&authority), attestors, nodes: None };
        let listener = mesh_rt::net::listen_tcp((Ipv4Addr::LOCALHOST, 0).into(), false).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move { serve(listener, &own, services, std::future::pending()).await.unwrap() });
        let (_, good) = mpsc::unbounded_channel();
        let mut port = Self { at, identity, authority, tokens, leaked, controller, edits: 0, good };
        port.good = port.follow("shop-web");
        port.until_told("edited").await;
        port
    }

    /// Whether a proxy that was there before is told of an edit, and one that comes now is told everything.
    pub(crate) async fn serves(&mut self) {
        self.edits += 1;
        self.controller.take(objects(self.edits));
        self.until_told("edited").await;
        let mut newcomer = self.follow("shop-web");
        until_told(&mut newcomer, "edited").await;
    }

    async fn until_told(&mut self, name: &str) {
        until_told(&mut self.good, name).await;
    }

    /// TLS with an identity of the authority.
    pub(crate) fn tls(&self, account_name: &str) -> PeerTls {
        let svid = self.authority.issue_svid(&account(account_name)).unwrap();
        PeerTls::new(SvidSource::new(svid, SystemClock::shared()), self.authority.trust())
    }

    /// TLS without a certificate.
    pub(crate) fn anonymous(&self) -> PeerTls {
        PeerTls::new(SvidSource::empty(SystemClock::shared()), self.authority.trust())
    }

    pub(crate) fn config(&self, tls: &PeerTls) -> Arc<ClientConfig> {
        client_config(tls, vec![self.identity.clone()], &[ALPN]).unwrap()
    }

    /// Follows discovery as a proxy does.
    fn follow(&self, account_name: &str) -> mpsc::UnboundedReceiver<Delta> {
        let (config, address) = (self.config(&self.tls(account_name)), self.at);
        let connect = move || grpc::dial(address, Arc::clone(&config));
        let (sender, receiver) = mpsc::unbounded_channel();
        let consumer = MeshConsumer::new(move |delta| drop(sender.send(delta)));
        let node = Node::with_features("good", "local", FEATURES);
        let (client, _) = Client::new(Following::new(node), connect, consumer);
        tokio::spawn(async move { client.run(std::future::pending()).await });
        receiver
    }

    /// A connection of bytes that the server believes to be HTTP/2.
    pub(crate) async fn raw(&self, config: Arc<ClientConfig>) -> io::Result<Tls> {
        TlsConnector::from(config).connect(peer_name(), TcpStream::connect(self.at).await?).await
    }

    /// A channel for calls over one connection.
    pub(crate) async fn channel(&self, config: Arc<ClientConfig>) -> Result<Channel, String> {
        let mut stream = Some(self.raw(config).await.map_err(|error| error.to_string())?);
        let connector = tower::service_fn(move |_| {
            let stream = stream.take().ok_or_else(|| io::Error::other("one connection only"));
            async move { stream.map(hyper_util::rt::TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://controller");
        endpoint.connect_with_connector(connector).await.map_err(|error| error.to_string())
    }
}

pub(crate) type Tls = tokio_rustls::client::TlsStream<TcpStream>;

async fn until_told(receiver: &mut mpsc::UnboundedReceiver<Delta>, name: &str) {
    let told = async {
        while let Some(delta) = receiver.recv().await {
            if delta.set.iter().any(|resource| resource.key().to_string().ends_with(name)) {
                return;
            }
        }
        panic!("the stream of a good proxy is over");
    };
    tokio::time::timeout(PATIENCE, told).await.expect("a good proxy waits too long");
}

fn objects(edit: u32) -> mesh_controller::source::Snapshot {
    let text = format!("{OBJECTS}{}", MORE.replace("WEIGHT", &(edit + 1).to_string()));
    FileSource::from_text("objects.yaml", text.as_bytes()).snapshot()
}

pub(crate) fn account(name: &str) -> SpiffeId {
    SpiffeId::for_service_account(&TrustDomain::default(), "default", name).unwrap()
}

/// A root and its key.
pub(crate) fn issuer() -> (Issuer<'static, KeyPair>, rustls_pki_types::CertificateDer<'static>) {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "root");
    set_life(&mut params, [-24, 24]);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap().der().clone();
    (Issuer::new(params, key), root)
}

/// From and to, in hours from now.
pub(crate) fn set_life(params: &mut CertificateParams, hours: [i64; 2]) {
    let at = |hours: i64| {
        let (now, distance): (SystemTime, _) =
            (SystemClock.wall(), Duration::from_secs(hours.unsigned_abs() * 3600));
        if hours < 0 { now - distance } else { now + distance }
    };
    [params.not_before, params.not_after] = hours.map(|hours| at(hours).into());
}

/// What every part of the process has logged so far.
pub(crate) fn log() -> String {
    let kept = kept().lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&kept).into_owned()
}

/// Keeps warnings from now on.
pub(crate) fn keep_log() {
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::WARN);
    let _ = subscriber.with_writer(|| Kept).try_init();
}

fn kept() -> &'static Mutex<Vec<u8>> {
    static KEPT: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    KEPT.get_or_init(Mutex::default)
}

struct Kept;

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        kept().lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
