//! The mesh's own resources over the wire, and a start from the last-good snapshot alone.

use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use mesh_model::{Delta, Kind, Mesh, ObjectName, Origin, Resource, ResourceKey, Service, SourceRef};
use mesh_rt::ManualClock;
use mesh_xds::client::{Client, ClientConfig, ClientState};
use mesh_xds::lastgood::{LastGood, Plain, Recorder, Store, WriteState};
use mesh_xds::native::{self, FEATURES, MeshConsumer, Publisher};
use mesh_xds::proto::Node;
use mesh_xds::server::{Peers, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::Server;

fn service(name: &str, address: &str) -> Resource {
    let name = ObjectName::new("shop", name);
    Resource::Service(Arc::new(Service {
        key: ResourceKey::local(Kind::Service, name.clone()),
        source: SourceRef::new("Service", name.clone(), Origin::Builtin),
        name,
        addresses: vec![address.parse().expect("an address")],
        ports: vec![],
        retry_budget: None,
        hostname: None,
        session: None,
    }))
}

/// A proxy: what it holds, how it is connected, how its snapshot file is doing.
struct Proxy {
    mesh: watch::Receiver<Mesh>,
    deltas: Arc<Mutex<Vec<usize>>>,
    written: watch::Receiver<WriteState>,
    tasks: [tokio::task::JoinHandle<()>; 2],
    state: watch::Receiver<ClientState>,
}

impl Proxy {
    fn start(address: std::net::SocketAddr, store: Store, last: Option<&LastGood>) -> Self {
        let restored = last.map(|last| native::restore(last).expect("valid")).unwrap_or_default();
        let mesh = watch::Sender::new(Mesh::default().apply(&restored));
        let (watched, deltas) = (mesh.subscribe(), Arc::new(Mutex::new(Vec::new())));
        let counted = deltas.clone();
        let apply = move |delta: Delta| {
            counted.lock().expect("not poisoned").push(delta.set.len() + delta.removed.len());
            mesh.send_modify(|mesh| *mesh = mesh.apply(&delta));
        };
        let clock = ManualClock::at(UNIX_EPOCH + Duration::from_secs(1000));
        let (recorder, writer) = Recorder::new(store, clock, last);
        let config = ClientConfig {
            restored: last.map(LastGood::versions).unwrap_or_default(),
            longest_pause: Duration::from_millis(100),
            ..ClientConfig::new(Node::with_features("p", "test", FEATURES))
        };
        let consumer = MeshConsumer::new(apply).recorded(recorder);
        let (client, state) = Client::new(config, move || TcpStream::connect(address), consumer);
        let written = writer.state();
        let tasks = [
            tokio::spawn(writer.run(state.clone(), std::future::pending())),
            tokio::spawn(client.run(std::future::pending())),
        ];
        Self { mesh: watched, deltas, written, tasks, state }
    }

    async fn until_holds(&mut self, resource: &Resource) {
        let holds = |mesh: &Mesh| mesh.resource(resource.key()) == Some(resource);
        let waiting = self.mesh.wait_for(holds);
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("in time").expect("it runs");
    }

    async fn until_synced(&mut self) {
        let waiting = self.state.wait_for(|state| state.synced);
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("in time").expect("it runs");
    }

    async fn until_written(&mut self) {
        let waiting = self.written.wait_for(|state| state.saved.is_some());
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("in time").expect("it runs");
    }

    async fn kill(self) {
        for task in self.tasks {
            task.abort();
            _ = task.await;
        }
    }
}

fn mesh_config() -> ServerConfig {
    ServerConfig { peers: Peers::Anyone, ..ServerConfig::default() }
}

#[tokio::test]
async fn a_proxy_starts_from_its_snapshot_alone_and_then_asks_for_differences_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = || Store::new(folder.path().join("last-good"), Arc::new(Plain));
    let server = Server::start(mesh_config(), None).await;
    let mut publisher = Publisher::new();
    let mut publish = |cache: &mesh_xds::ResourceCache, set: Vec<Resource>| {
        let (steps, refused) = publisher.changes(&Delta { set, removed: vec![] });
        assert!(refused.is_empty());
        cache.apply(steps).sequence
    };
    publish(&server.cache, vec![service("cart", "240.0.0.1"), service("pay", "240.0.0.2")]);
    let mut proxy = Proxy::start(server.address, store(), None);
    proxy.until_holds(&service("pay", "240.0.0.2")).await;
    proxy.until_written().await;
    let held: Vec<Resource> = proxy.mesh.borrow().resources().cloned().collect();
    proxy.kill().await;
    server.service.close();

    // Controller and proxy are gone; the proxy comes back alone.
    let now = UNIX_EPOCH + Duration::from_secs(1030);
    let last = store().load(now).expect("an intact file").expect("a file");
    assert_eq!(last.age(now), Duration::from_secs(30));
    let nobody = Server::start(mesh_config(), None).await;
    let alone = Proxy::start(nobody.address, store(), Some(&last));
    assert_eq!(alone.mesh.borrow().resources().cloned().collect::<Vec<_>>(), held);
    alone.kill().await;

    // The controller comes back with one change; only that travels.
    let cache = mesh_xds::ResourceCache::new();
    publish(&cache, vec![service("cart", "240.0.0.1"), service("pay", "240.0.0.9")]);
    cache.mark_synced();
    let server = Server::over(cache, mesh_config(), None, ([127, 0, 0, 1], 0).into()).await;
    let mut proxy = Proxy::start(server.address, store(), Some(&last));
    proxy.until_holds(&service("pay", "240.0.0.9")).await;
    proxy.until_synced().await;
    assert_eq!(*proxy.deltas.lock().expect("not poisoned"), [1]);
}

#[tokio::test]
async fn one_edited_object_is_one_resource_in_the_proxy() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(mesh_config(), None).await;
    let mut publisher = Publisher::new();
    let all: Vec<Resource> = (0..100).map(|n| service(&format!("s{n}"), "240.0.0.1")).collect();
    server.cache.apply(publisher.changes(&Delta { set: all, removed: vec![] }).0);
    let store = Store::new(folder.path().join("last-good"), Arc::new(Plain));
    let mut proxy = Proxy::start(server.address, store, None);
    proxy.until_synced().await;
    let edited = service("s42", "240.0.0.2");
    server.cache.apply(publisher.changes(&Delta { set: vec![edited.clone()], removed: vec![] }).0);
    proxy.until_holds(&edited).await;
    let removed = vec![edited.key().clone()];
    server.cache.apply(publisher.changes(&Delta { set: vec![], removed }).0);
    let gone = proxy.mesh.wait_for(|mesh| mesh.resource(edited.key()).is_none());
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("in time").expect("it runs");
    assert_eq!(*proxy.deltas.lock().expect("not poisoned"), [100, 1, 1]);
}
