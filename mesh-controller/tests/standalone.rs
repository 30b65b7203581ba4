//! The control plane over files, spoken to as a proxy speaks: a join token for a certificate, then discovery.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mesh_ca::grpc::{self, ALPN};
use mesh_ca::rotate::Remote;
use mesh_ca::tls::{PeerTls, client_config};
use mesh_ca::{Policy, Rotation, SvidSource, TrustBundle, TrustBundles, TrustSource};
use mesh_controller::serve::{Event, Standalone, StandaloneConfig};
use mesh_model::{Delta, Kind, SpiffeId, TrustDomain};
use mesh_rt::{Clock as _, SystemClock};
use mesh_xds::client::{Client, ClientConfig, Consumer, Update};
use mesh_xds::key::TypeUrl;
use mesh_xds::native::MeshConsumer;
use mesh_xds::proto::Node;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

const PROCESS: &str = "apiVersion: local.mesh.io/v1alpha1\nkind: Process\nmetadata: {name: web, labels: {app: web}}\n\
                       spec: {command: [demo], serviceAccountName: shop-web}\n";

fn route(name: &str, weight: u32) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  \
         parentRefs: [{{group: \"\", kind: Service, name: web}}]\n  \
         rules: [{{backendRefs: [{{name: web, port: 80, weight: {weight}}}]}}]\n"
    )
}

/// A control plane over a folder of its own.
struct Plane {
    source: tempfile::TempDir,
    state: tempfile::TempDir,
    address: std::net::SocketAddr,
    identity: SpiffeId,
    events: mpsc::UnboundedReceiver<Event>,
    readiness: std::net::SocketAddr,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Plane {
    async fn start(files: &[(&str, String)]) -> Self {
        let (source, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, text) in files {
            std::fs::write(source.path().join(name), text).unwrap();
        }
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let config = StandaloneConfig {
            source: source.path().to_owned(),
            state: Some(state.path().to_owned()),
            listen: any,
            readiness: Some(any),
            trust_domain: TrustDomain::default(),
            lives: Policy::default(),
        };
        let standalone = Standalone::start(config, SystemClock::shared()).unwrap();
        let (address, identity) = (standalone.address(), standalone.identity().clone());
        let (tell, mut events) = mpsc::unbounded_channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        tokio::spawn(async move {
            let ended = async { drop(stopped.await) };
            standalone.run(move |event| drop(tell.send(event)), ended).await.unwrap();
        });
        let Some(Event::Serving { readiness: Some(readiness), .. }) = events.recv().await else { panic!() };
        Self { source, state, address, identity, events, readiness, _stop: stop }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.source.path().join(name), text).unwrap();
    }

    fn token(&self, account: &str) -> std::path::PathBuf {
        self.state.path().join("tokens/default").join(account)
    }

    /// Roots as a proxy finds them.
    fn trust(&self) -> Arc<TrustSource> {
        let roots = CertificateDer::pem_file_iter(self.state.path().join("roots.pem")).unwrap();
        let roots: Vec<_> = roots.map(|root| root.unwrap()).collect();
        let bundle = TrustBundle::new(TrustDomain::default(), roots, 0).unwrap();
        let bundles: TrustBundles = [bundle].into_iter().collect();
        TrustSource::new(bundles)
    }

    /// Joins with the account's token.
    async fn join(&self, account: &str) -> Result<PeerTls, mesh_ca::csr::RequestError> {
        let tls = PeerTls::new(SvidSource::empty(SystemClock::shared()), self.trust());
        let path = self.token(account);
        let read = move || std::fs::read_to_string(&path).map(Zeroizing::new);
        let remote = Remote::at(self.address, self.identity.clone(), &tls).unwrap().with_token(read);
        Rotation::new(Arc::clone(&tls.source), Arc::clone(&tls.trust), remote).renew().await?;
        Ok(tls)
    }

    /// Follows discovery under an identity.
    fn follow(&self, tls: &PeerTls) -> mpsc::UnboundedReceiver<Delta> {
        let config = client_config(tls, vec![self.identity.clone()], &[ALPN]).unwrap();
        let address = self.address;
        let connect = move || grpc::dial(address, Arc::clone(&config));
        let (sender, receiver) = mpsc::unbounded_channel();
        let consumer = MeshConsumer::new(move |delta| drop(sender.send(delta)));
        let (client, _) = Client::new(
            ClientConfig::new(Node::with_features("test", "local", mesh_xds::native::FEATURES)),
            connect,
            consumer,
        );
        tokio::spawn(async move { client.run(std::future::pending()).await });
        receiver
    }
}

async fn next<T>(receiver: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), receiver.recv()).await.expect("within 10 s").unwrap()
}

/// Collects deltas until a resource of this name has come.
async fn until(deltas: &mut mpsc::UnboundedReceiver<Delta>, name: &str) -> Vec<String> {
    let mut keys = Vec::new();
    while !keys.iter().any(|key| key == name) {
        keys.extend(next(deltas).await.set.iter().map(|resource| resource.key().to_string()));
    }
    keys
}

fn service() -> String {
    "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}\n"
        .to_owned()
}

#[tokio::test]
async fn an_account_joins_with_its_token_and_an_edit_is_one_resource() {
    let files = [
        ("p.yaml", PROCESS.to_owned()),
        ("s.yaml", service()),
        ("a.yaml", route("a", 1)),
        ("b.yaml", route("b", 1)),
    ];
    let plane = Plane::start(&files).await;
    let tls = plane.join("shop-web").await.unwrap();
    assert_eq!(
        tls.source.current().unwrap().id().to_string(),
        "spiffe://cluster.local/ns/default/sa/shop-web"
    );
    let mut deltas = plane.follow(&tls);
    until(&mut deltas, "local/default/Route/b").await;
    plane.write("a.yaml", &format!("# an edit\n{}", route("a", 2)));
    let delta = next(&mut deltas).await;
    let keys: Vec<_> = delta.set.iter().map(|resource| resource.key().to_string()).collect();
    assert_eq!((keys, delta.removed.len()), (vec!["local/default/Route/a".to_owned()], 0));
    std::fs::remove_file(plane.source.path().join("b.yaml")).unwrap();
    let gone = next(&mut deltas).await;
    assert_eq!((gone.set.len(), gone.removed[0].to_string()), (0, "local/default/Route/b".to_owned()));
}

#[tokio::test]
async fn a_used_token_is_replaced_and_only_its_owner_can_read_it() {
    let plane = Plane::start(&[("p.yaml", PROCESS.to_owned())]).await;
    let path = plane.token("shop-web");
    let first = std::fs::read_to_string(&path).unwrap();
    plane.join("shop-web").await.unwrap();
    let second = std::fs::read_to_string(&path).unwrap();
    assert_ne!(first, second);
    plane.join("shop-web").await.expect("the new token is good for another proxy");
    std::fs::write(&path, first).unwrap();
    assert!(plane.join("shop-web").await.is_err(), "a used token let another key in");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = plane.state.path().join("tokens");
    assert_eq!((mode(&plane.token("shop-web")) & 0o077, mode(&folder)), (0, 0o700));
    assert!(!plane.token("somebody").exists());
}

#[tokio::test]
async fn keys_of_certificates_reach_gateways_only() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/client-certificates/in.yaml");
    let objects = std::fs::read_to_string(golden).unwrap();
    let plane =
        Plane::start(&[("g.yaml", objects), ("p.yaml", PROCESS.to_owned()), ("s.yaml", service())]).await;
    let certificate = format!("local/default/{}/web", Kind::Certificate.as_str());
    let mut edge = plane.follow(&plane.join("edge-mesh").await.unwrap());
    let received = until(&mut edge, "local/default/Listener/edge/plain").await;
    assert!(received.contains(&certificate), "{received:?}");
    let mut web = plane.follow(&plane.join("shop-web").await.unwrap());
    let received = until(&mut web, "local/default/Listener/edge/plain").await;
    assert!(!received.contains(&certificate), "{received:?}");
}

#[tokio::test]
async fn findings_are_told_with_their_place_and_when_they_are_resolved() {
    let mut plane = Plane::start(&[("a.yaml", route("a", 1))]).await;
    let Event::Findings(findings) = next(&mut plane.events).await else { panic!() };
    let file = plane.source.path().join("a.yaml");
    let prefix = format!("error[MESH0203] {}:5:16: HTTPRoute default/a: spec.parentRefs[0]:", file.display());
    assert!(findings[0].to_string().starts_with(&prefix), "{}", findings[0]);
    plane.write("s.yaml", &service());
    loop {
        let Event::Findings(findings) = next(&mut plane.events).await else { panic!() };
        if !findings.iter().any(|finding| finding.to_string().contains("HTTPRoute")) {
            break;
        }
    }
}

#[tokio::test]
async fn readiness_and_metrics_answer_plain_requests() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let plane = Plane::start(&[("p.yaml", PROCESS.to_owned())]).await;
    let get = async |path: &str| {
        let mut stream = tokio::net::TcpStream::connect(plane.readiness).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    assert!(get("/ready").await.starts_with("HTTP/1.1 200 "));
    let metrics = get("/metrics").await;
    assert!(metrics.contains("mesh_controller_resources{kind=\"Workload\"} 1\n"), "{metrics}");
    assert!(metrics.contains("mesh_controller_findings{severity=\"error\"} 0\n"), "{metrics}");
    assert!(get("/else").await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn lives_that_make_no_sense_beside_each_other_are_named() {
    let source = tempfile::tempdir().unwrap();
    let day = Duration::from_secs(24 * 3600);
    let config = StandaloneConfig {
        source: source.path().to_owned(),
        state: None,
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        readiness: None,
        trust_domain: TrustDomain::default(),
        lives: Policy::of(day, 15 * day),
    };
    let error = Standalone::start(config, SystemClock::shared()).err().expect("the root is too short-lived");
    assert!(error.to_string().contains("a root must live 16 times as long as a leaf"), "{error}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = mesh_rt::net::listen_tcp((Ipv4Addr::LOCALHOST, 0).into(), false).unwrap();
    let source = tempfile::tempdir().unwrap();
    let listen = taken.local_addr().unwrap();
    let config = StandaloneConfig {
        source: source.path().to_owned(),
        state: None,
        listen,
        readiness: None,
        trust_domain: TrustDomain::default(),
        lives: Policy::default(),
    };
    let error = Standalone::start(config, SystemClock::shared()).err().expect("the port is taken");
    assert!(error.to_string().starts_with(&format!("{listen} cannot be listened on")), "{error}");
}

/// A proxy that cannot use some of what it is sent, as one of an older version cannot.
struct Picky(Arc<AtomicBool>);

impl Consumer for Picky {
    type Item = ();

    fn decode(&mut self, _: &TypeUrl, name: &str, _: &bytes::Bytes) -> Result<(), String> {
        let refuses = name.contains("/Route/a") && self.0.load(Ordering::SeqCst);
        if refuses { Err("no such filter".to_owned()) } else { Ok(()) }
    }

    fn apply(&mut self, _: Update<()>) {}
}

#[tokio::test]
async fn what_a_proxy_refuses_is_a_finding_about_its_object_until_it_is_repaired() {
    let files = [("p.yaml", PROCESS.to_owned()), ("s.yaml", service()), ("a.yaml", route("a", 1))];
    let mut plane = Plane::start(&files).await;
    let tls = plane.join("shop-web").await.unwrap();
    let config = client_config(&tls, vec![plane.identity.clone()], &[ALPN]).unwrap();
    let (address, refusing) = (plane.address, Arc::new(AtomicBool::new(true)));
    let node = Node::with_features("proxy-1", "local", mesh_xds::native::FEATURES);
    let connect = move || grpc::dial(address, Arc::clone(&config));
    let (client, _) = Client::new(ClientConfig::new(node), connect, Picky(Arc::clone(&refusing)));
    tokio::spawn(async move { client.run(std::future::pending()).await });
    let began = SystemClock.monotonic();
    let finding = loop {
        let Event::Findings(findings) = next(&mut plane.events).await else { continue };
        if let Some(found) = findings.iter().find(|f| f.reason == mesh_model::Reason::RefusedByProxy) {
            break found.clone();
        }
    };
    let took = SystemClock.monotonic() - began;
    assert!(took < Duration::from_secs(2), "{took:?}");
    let text = finding.to_string();
    for part in ["HTTPRoute default/a", "no such filter", "proxy-1", "sa/shop-web", "a.yaml"] {
        assert!(text.contains(part), "{text}");
    }
    refusing.store(false, Ordering::SeqCst);
    plane.write("a.yaml", &route("a", 2));
    loop {
        let Event::Findings(findings) = next(&mut plane.events).await else { continue };
        if findings.iter().all(|f| f.reason != mesh_model::Reason::RefusedByProxy) {
            break;
        }
    }
}
