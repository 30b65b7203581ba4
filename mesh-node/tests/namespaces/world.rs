//! Two network namespaces: a "pod" and a "peer" that is its gateway, with a link between them. Their files are links to
//! those of threads, so nothing is mounted and nothing is left.

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
use mesh_node::plan::Seat;
use mesh_node::pod::{Pod, Shared, Sockets};
use mesh_proxy::drain::DrainTimes;
use mesh_proxy::snapshot::SharedMesh;
use mesh_proxy::telemetry::Telemetry;
use mesh_rt::SystemClock;

pub(crate) const POD: [u8; 4] = [10, 99, 0, 2];
pub(crate) const PEER: [u8; 4] = [10, 99, 0, 1];
pub(crate) const SOON: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(500);

/// A thread in a network namespace of its own, which does what it is asked.
pub(crate) struct Room {
    jobs: Sender<Box<dyn FnOnce() + Send>>,
    pub(crate) file: PathBuf,
}

impl Room {
    pub(crate) fn new() -> Self {
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

    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        self.jobs.send(Box::new(move || drop(tell.send(work())))).unwrap();
        told.recv().unwrap()
    }

    pub(crate) fn ip(&self, line: &'static str) {
        let done = self.run(move || Command::new("ip").args(line.split(' ')).status());
        assert!(done.unwrap().success(), "ip {line}");
    }

    /// An application that tells each client its address and then repeats what it says.
    pub(crate) fn serve(&self, port: u16) {
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
    pub(crate) fn dial(&self, to: [u8; 4], port: u16) -> std::io::Result<(TcpStream, String)> {
        // A proxy that waits for mutual TLS says nothing.
        self.dial_for(SILENCE, to, port)
    }

    pub(crate) fn dial_for(
        &self,
        patience: Duration,
        to: [u8; 4],
        port: u16,
    ) -> std::io::Result<(TcpStream, String)> {
        let stream = self.run(move || TcpStream::connect_timeout(&(to, port).into(), SOON))?;
        stream.set_read_timeout(Some(patience))?;
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
pub(crate) fn repeats(stream: &mut TcpStream) -> bool {
    let mut heard = [0; 5];
    stream.write_all(b"hello").is_ok() && stream.read_exact(&mut heard).is_ok() && heard == *b"hello"
}

pub(crate) struct World {
    pub(crate) pod: Room,
    pub(crate) peer: Room,
    pub(crate) shared: Shared,
    pub(crate) tls: PeerTls,
}

impl World {
    /// None where the machine does not let a test make namespaces; then it is said.
    pub(crate) fn new() -> Option<Self> {
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
            names: None,
        };
        Some(Self { pod, peer, shared, tls })
    }

    pub(crate) fn enter(&self, confirmed: bool) -> Pod {
        self.enter_at(Sockets::open(&self.namespace()).unwrap(), confirmed)
    }

    pub(crate) fn enter_at(&self, sockets: Sockets, confirmed: bool) -> Pod {
        let workload = Arc::new(workload(confirmed));
        self.publish(Arc::clone(&workload));
        let namespace = self.namespace();
        let seat = Seat { namespace: namespace.id().unwrap(), workload };
        Pod::enter(&self.shared, seat, (namespace, sockets), self.tls.clone()).unwrap()
    }

    /// A mesh in which nothing else is.
    pub(crate) fn publish(&self, workload: Arc<Workload>) {
        let set = vec![Resource::Workload(workload)];
        self.shared.mesh.publish(Mesh::default().apply(&Delta { set, removed: Vec::new() }));
    }

    pub(crate) fn namespace(&self) -> Namespace {
        Namespace::open(&self.pod.file).unwrap().unwrap()
    }

    pub(crate) fn tables(&self) -> usize {
        let listed = self.pod.run(|| Command::new("nft").args(["list", "tables"]).output()).unwrap();
        String::from_utf8_lossy(&listed.stdout).matches("mesh-node").count()
    }
}

pub(crate) fn workload(confirmed: bool) -> Workload {
    let name = ObjectName::new("shop", "cart");
    Workload {
        key: ResourceKey::local(Kind::Workload, name.clone()),
        source: SourceRef::new("Pod", name.clone(), Origin::Builtin),
        name,
        labels: BTreeMap::new(),
        identity: "spiffe://cluster.local/ns/shop/sa/cart".parse().unwrap(),
        addresses: vec![IpAddr::from(POD)],
        plaintext: Plaintext::default(),
        on_node: Some(OnNode { node: Arc::from("n"), confirmed, probes: [8081].into(), keeps_names: false }),
        outside: mesh_model::Outside::Allowed,
    }
}

pub(crate) fn wait(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}
