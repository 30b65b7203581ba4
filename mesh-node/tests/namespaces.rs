//! A pod that is served, in network namespaces of the test's own: a "pod" and a "peer" that is its gateway, with a link
//! between them. Files of namespaces are links to those of threads, so nothing is mounted and nothing is left.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "applications, which know no seams"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use mesh_ca::tls::PeerTls;
use mesh_ca::{Authority, SvidSource};
use mesh_capture::Namespace;
use mesh_model::{
    Delta, Kind, Mesh, ObjectName, OnNode, Origin, Plaintext, Resource, ResourceKey, SourceRef, Workload,
};
use mesh_node::places::Places;
use mesh_node::plan::{Leaving, Seat, plan};
use mesh_node::pod::{INBOUND_PORT, Pod, Shared, clean};
use mesh_proxy::drain::DrainTimes;
use mesh_proxy::snapshot::SharedMesh;
use mesh_proxy::telemetry::Telemetry;
use mesh_rt::SystemClock;

const POD: [u8; 4] = [10, 99, 0, 2];
const PEER: [u8; 4] = [10, 99, 0, 1];
const SOON: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(500);

/// A thread in a network namespace of its own, which does what it is asked.
struct Room {
    jobs: Sender<Box<dyn FnOnce() + Send>>,
    file: PathBuf,
}

impl Room {
    fn new() -> Self {
        let (jobs, orders) = channel::<Box<dyn FnOnce() + Send>>();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let thread = rustix::thread::gettid().as_raw_nonzero();
            tell.send(PathBuf::from(format!("/proc/self/task/{thread}/ns/net"))).unwrap();
            orders.into_iter().for_each(|job| job());
        });
        Self { jobs, file: told.recv().unwrap() }
    }

    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        self.jobs.send(Box::new(move || drop(tell.send(work())))).unwrap();
        told.recv().unwrap()
    }

    fn ip(&self, line: &'static str) {
        let done = self.run(move || Command::new("ip").args(line.split(' ')).status());
        assert!(done.unwrap().success(), "ip {line}");
    }

    /// An application that tells each client its address and then repeats what it says.
    fn serve(&self, port: u16) {
        self.run(move || {
            let listener = mesh_rt::net::listen_tcp(SocketAddr::from(([0, 0, 0, 0], port)), false).unwrap();
            listener.set_nonblocking(false).unwrap();
            std::thread::spawn(move || {
                while let Ok((mut stream, peer)) = listener.accept() {
                    std::thread::spawn(move || {
                        writeln!(stream, "{}", peer.ip()).ok();
                        std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).ok();
                    });
                }
            });
        });
    }

    /// A connection, and the address that the application there sees.
    fn dial(&self, to: [u8; 4], port: u16) -> std::io::Result<(TcpStream, String)> {
        let stream = self.run(move || TcpStream::connect_timeout(&(to, port).into(), SOON))?;
        // A proxy that waits for mutual TLS says nothing.
        stream.set_read_timeout(Some(SILENCE))?;
        let mut line = String::new();
        BufReader::with_capacity(1, &stream).read_line(&mut line)?;
        if line.is_empty() {
            Err(ErrorKind::UnexpectedEof.into())
        } else {
            Ok((stream, line.trim().to_owned()))
        }
    }
}

/// Whether the application repeats what it is told.
fn repeats(stream: &mut TcpStream) -> bool {
    let mut heard = [0; 5];
    stream.write_all(b"hello").is_ok() && stream.read_exact(&mut heard).is_ok() && heard == *b"hello"
}

struct World {
    pod: Room,
    peer: Room,
    shared: Shared,
    tls: PeerTls,
}

impl World {
    /// None where the machine does not let a test make namespaces; then it is said.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            testkit::skip("only root may make network namespaces and enter them");
            return None;
        }
        let (pod, peer) = (Room::new(), Room::new());
        let target = std::fs::read_link(&pod.file).unwrap();
        assert!(target.to_string_lossy().starts_with("net:"));
        let thread: String = pod.file.to_string_lossy().split('/').nth(4).unwrap().to_owned();
        let link = format!("link add link0 type veth peer name eth0 netns {thread}");
        let made = peer.run(move || Command::new("ip").args(link.split(' ')).status());
        assert!(made.unwrap().success());
        for line in ["link set lo up", "address add 10.99.0.1/24 dev link0", "link set link0 up"] {
            peer.ip(line);
        }
        let lines = [
            "link set lo up",
            "address add 10.99.0.2/24 dev eth0",
            "link set eth0 up",
            "route add default via 10.99.0.1",
        ];
        lines.into_iter().for_each(|line| pod.ip(line));
        let clock = SystemClock::shared();
        let authority = Authority::in_memory("cluster.local".parse().unwrap(), clock.clone()).unwrap();
        let svid = authority.issue_svid(&workload(false).identity).unwrap();
        let tls = PeerTls::new(SvidSource::new(svid, clock), authority.trust());
        let shared = Shared {
            mesh: SharedMesh::default(),
            telemetry: Telemetry::default(),
            drain: DrainTimes { lame_duck: Duration::ZERO, deadline: Duration::from_secs(60) },
            connections: 100,
            addresses: BTreeSet::new(),
        };
        Some(Self { pod, peer, shared, tls })
    }

    fn enter(&self, confirmed: bool) -> Pod {
        let workload = Arc::new(workload(confirmed));
        let set = vec![Resource::Workload(Arc::clone(&workload))];
        self.shared.mesh.publish(Mesh::default().apply(&Delta { set, removed: Vec::new() }));
        let namespace = self.namespace();
        let seat = Seat { namespace: namespace.id().unwrap(), workload };
        Pod::enter(&self.shared, seat, namespace, self.tls.clone()).unwrap()
    }

    fn namespace(&self) -> Namespace {
        Namespace::open(&self.pod.file).unwrap().unwrap()
    }

    fn tables(&self) -> usize {
        let listed = self.pod.run(|| Command::new("nft").args(["list", "tables"]).output()).unwrap();
        String::from_utf8_lossy(&listed.stdout).matches("mesh-node").count()
    }
}

fn workload(confirmed: bool) -> Workload {
    let name = ObjectName::new("shop", "cart");
    Workload {
        key: ResourceKey::local(Kind::Workload, name.clone()),
        source: SourceRef::new("Pod", name.clone(), Origin::Builtin),
        name,
        labels: BTreeMap::new(),
        identity: "spiffe://cluster.local/ns/shop/sa/cart".parse().unwrap(),
        addresses: vec![IpAddr::from(POD)],
        plaintext: Plaintext::default(),
        on_node: Some(OnNode { node: Arc::from("n"), confirmed, probes: [8081].into() }),
    }
}

fn wait(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

#[test]
fn what_is_under_way_goes_on_and_what_leaves_later_keeps_the_pods_address() {
    let Some(world) = World::new() else { return };
    world.pod.serve(8080);
    world.peer.serve(9000);
    let (mut inwards, _) = world.peer.dial(POD, 8080).unwrap();
    let (mut outwards, _) = world.pod.dial(PEER, 9000).unwrap();
    let pod = world.enter(false);
    assert!(repeats(&mut inwards) && repeats(&mut outwards), "connections that began before are cut");
    assert_eq!(world.namespace().listeners(INBOUND_PORT).unwrap(), 1);
    let (mut later, seen) = world.pod.dial(PEER, 9000).unwrap();
    assert_eq!(seen, "10.99.0.2");
    assert!(repeats(&mut later));
    drop(pod);
    assert!(!repeats(&mut later), "what leaves passes the proxy, which is gone");
}

#[test]
fn plain_text_enters_until_clients_know_better_and_then_from_the_node_at_probes_only() {
    let Some(world) = World::new() else { return };
    world.pod.serve(8080);
    world.pod.serve(8081);
    let mut pod = world.enter(false);
    assert!(pod.is_open());
    let (mut kept, seen) = world.peer.dial(POD, 8080).unwrap();
    assert_eq!(seen, "10.99.0.2", "the proxy asks the application from inside the pod");
    pod.close_plaintext().unwrap();
    assert!(!pod.is_open() && repeats(&mut kept), "a connection that was let in is cut");
    assert!(world.peer.dial(POD, 8080).is_err(), "plain text enters a strict pod");
    assert_eq!(world.peer.dial(POD, 8081).unwrap().1, "10.99.0.1", "the node asks at the port of a probe");
    let strict = world.enter(true);
    assert!(!strict.is_open() && strict.has_successor(), "two processes serve the pod");
}

#[test]
fn a_pod_that_leaves_is_as_it_was_and_its_connections_come_to_their_end() {
    let Some(world) = World::new() else { return };
    world.pod.serve(8080);
    world.peer.serve(9000);
    let pod = world.enter(true);
    assert_eq!(world.tables(), 1);
    assert!(world.peer.dial(POD, 8080).is_err());
    let (mut under_way, _) = world.pod.dial(PEER, 9000).unwrap();
    let leaving = std::thread::spawn(move || wait(pod.release()));
    let deadline = std::time::Instant::now() + SOON;
    while world.peer.dial(POD, 8080).is_err() {
        assert!(std::time::Instant::now() < deadline, "connections are still captured");
    }
    assert!(!leaving.is_finished(), "it does not wait");
    assert!(repeats(&mut under_way), "a captured connection is cut");
    drop(under_way);
    leaving.join().unwrap();
    assert_eq!((world.tables(), world.namespace().listeners(INBOUND_PORT).unwrap()), (0, 0));
    assert_eq!(world.peer.dial(POD, 8080).unwrap().1, "10.99.0.1");
}

#[test]
fn rules_of_a_process_that_was_killed_are_taken_away() {
    let Some(world) = World::new() else { return };
    world.pod.serve(8080);
    drop(world.enter(true));
    assert_eq!(world.tables(), 1);
    clean(&world.namespace()).unwrap();
    assert_eq!(world.tables(), 0);
    assert!(world.peer.dial(POD, 8080).is_ok());
}

#[test]
fn namespaces_are_found_by_address_and_one_that_goes_is_left() {
    let Some(world) = World::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let link =
        |name: &str, room: &Room| std::os::unix::fs::symlink(&room.file, folder.path().join(name)).unwrap();
    link("pod", &world.pod);
    link("peer", &world.peer);
    std::fs::write(folder.path().join("not-yet-mounted"), "").unwrap();
    let mut places = Places::of(folder.path());
    let found = places.look(&BTreeSet::new()).unwrap();
    let here = world.namespace().id().unwrap();
    assert_eq!((found.len(), &found[&here]), (2, &BTreeSet::from([IpAddr::from(POD)])));
    assert_eq!(places.open(here).unwrap().unwrap().id().unwrap(), here);
    let workload = Arc::new(workload(false));
    let wanted = [(workload.name.clone(), Arc::clone(&workload))].into();
    assert_eq!(plan(&wanted, &BTreeMap::new(), &found).enter[&workload.name], here);
    std::fs::remove_file(folder.path().join("pod")).unwrap();
    let found = places.look(&[here].into()).unwrap();
    let served = [(workload.name.clone(), Seat { namespace: here, workload: Arc::clone(&workload) })].into();
    assert_eq!(plan(&wanted, &served, &found).leave[&workload.name], Leaving::Gone);
    assert!(places.open(here).unwrap().is_none());
}
