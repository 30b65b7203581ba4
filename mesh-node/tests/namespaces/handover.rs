//! One process takes the place of another: both are pods of this process that share nothing but the folder in which
//! they meet.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mesh_capture::NamespaceId;
use mesh_node::handover::Handover;
use mesh_node::pod::{INBOUND_PORT, OUTBOUND_PORT, Pod, Sockets};
use mesh_rt::passing::PacketListener;

use crate::world::*;

/// A process that serves the pod.
struct Process {
    handover: Handover,
    pod: Pod,
}

impl Process {
    /// Takes the place of the one that serves the pod; `taken` says whether there must be one.
    async fn start(world: &World, folder: &std::path::Path, taken: bool) -> Self {
        let mut handover = Handover::within(folder).await.unwrap();
        let sockets = handover.take(&world.namespace()).await;
        assert_eq!(sockets.is_some(), taken);
        let sockets = sockets.unwrap_or_else(|| Sockets::open(&world.namespace()).unwrap());
        let offered = sockets.try_clone().unwrap();
        let pod = world.enter_at(sockets, false);
        handover.entered(here(world), offered).await;
        handover.settle().await;
        Self { handover, pod }
    }

    /// Ends as soon as its connections have.
    async fn end(self, here: NamespaceId) {
        self.handover.awaits_successor(&[here]).await;
        assert!(self.handover.is_served(here), "nobody takes its place");
        self.handover.left(here);
        self.pod.leave_to_others().await;
    }
}

fn here(world: &World) -> NamespaceId {
    world.namespace().id().unwrap()
}

/// New connections in both directions, one after the other, until it is told to stop; how many there were, and those
/// that failed.
fn load(world: &Arc<World>, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<(usize, Vec<String>)> {
    let (world, stop) = (Arc::clone(world), Arc::clone(stop));
    std::thread::spawn(move || {
        let (mut all, mut failed) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            for (from, to, port) in [(&world.peer, POD, 8080), (&world.pod, PEER, 9000)] {
                all += 1;
                match from.dial_for(SOON, to, port).map(|(mut stream, _)| repeats(&mut stream)) {
                    Ok(true) => {}
                    Ok(false) => failed.push(format!("{port}: not repeated")),
                    Err(error) => failed.push(format!("{port}: {error}")),
                }
            }
        }
        (all, failed)
    })
}

#[test]
fn ten_processes_follow_each_other_and_no_connection_is_refused_or_cut() {
    let Some(world) = World::new() else { return };
    let world = Arc::new(world);
    world.pod.serve(8080);
    world.peer.serve(9000);
    let folder = tempfile::tempdir().unwrap();
    let stop = Arc::default();
    wait(async {
        let mut process = Process::start(&world, folder.path(), false).await;
        let (mut inwards, _) = world.peer.dial_for(SOON, POD, 8080).unwrap();
        let (mut outwards, _) = world.pod.dial_for(SOON, PEER, 9000).unwrap();
        let loading = [load(&world, &stop), load(&world, &stop)];
        let mut ending = Vec::new();
        for _ in 0..10 {
            let next = Process::start(&world, folder.path(), true).await;
            let earlier = std::mem::replace(&mut process, next);
            ending.push(tokio::spawn(earlier.end(here(&world))));
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert!(repeats(&mut inwards) && repeats(&mut outwards), "a stream of before is cut");
        }
        stop.store(true, Ordering::Relaxed);
        let told =
            tokio::task::spawn_blocking(move || loading.map(|load| load.join().unwrap())).await.unwrap();
        for (all, failed) in told {
            assert!(failed.is_empty() && all > 50, "{} of {all} failed: {failed:?}", failed.len());
        }
        assert_eq!(world.namespace().listeners(INBOUND_PORT).unwrap(), 1, "it is still the first socket");
        assert!(!ending[0].is_finished(), "the streams are carried by the first process");
        drop((inwards, outwards));
        for earlier in ending {
            earlier.await.unwrap();
        }
        assert_eq!(world.tables(), 1, "the rules are those of the last process");
    });
}

#[test]
fn what_waits_to_be_accepted_when_a_process_ends_is_served_by_the_next_one() {
    let Some(world) = World::new() else { return };
    world.pod.serve(8080);
    let folder = tempfile::tempdir().unwrap();
    wait(async {
        // It has set its rules and accepts nothing more: as one does whose end has come.
        let first = Process::start(&world, folder.path(), false).await;
        let sockets = Handover::within(folder.path()).await.unwrap().take(&world.namespace()).await.unwrap();
        let Process { handover, pod } = first;
        handover.left(here(&world));
        pod.leave_to_others().await;
        let waiting = world.peer.run(|| std::net::TcpStream::connect((std::net::Ipv4Addr::from(POD), 8080)));
        let waiting = waiting.unwrap();
        waiting.set_read_timeout(Some(SOON)).unwrap();
        let second = world.enter_at(sockets, false);
        let reading = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::with_capacity(1, &waiting).read_line(&mut line).unwrap();
            (line, waiting)
        });
        let (heard, mut waiting) = reading.await.unwrap();
        assert_eq!(heard.trim(), "10.99.0.2");
        assert!(repeats(&mut waiting));
        drop(second);
    });
}

#[test]
fn sockets_of_another_pod_or_at_other_ports_are_not_taken() {
    let Some(world) = World::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    wait(async {
        let at = folder.path().join("handover");
        drop(Handover::within(folder.path()).await.unwrap());
        let listener = PacketListener::bind(&at.join("sockets")).unwrap();
        let good = Sockets::open(&world.namespace()).unwrap();
        let peer = mesh_capture::Namespace::open(&world.peer.file).unwrap().unwrap();
        let foreign = Sockets::open(&peer).unwrap();
        let pairs = [
            ([good.outbound.as_fd(), good.inbound.as_fd()], true),
            ([good.outbound.as_fd(), foreign.inbound.as_fd()], false),
            ([good.inbound.as_fd(), good.outbound.as_fd()], false),
        ];
        for (sockets, is_taken) in pairs {
            let giving = async {
                let peer = listener.accept().await.unwrap();
                peer.receive().await.unwrap().unwrap();
                peer.send(br#"{"version":1}"#, &[]).await.unwrap();
                peer.receive().await.unwrap().unwrap();
                peer.send(br#""Given""#, &sockets).await.unwrap();
                peer
            };
            let taking = async {
                let mut handover = Handover::within(folder.path()).await.unwrap();
                handover.take(&world.namespace()).await
            };
            let (_peer, taken) = tokio::join!(giving, taking);
            assert_eq!(taken.is_some(), is_taken);
        }
        assert!(world.namespace().owns(good.outbound.as_fd(), OUTBOUND_PORT).unwrap());
    });
}
