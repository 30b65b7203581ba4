//! A pod that is served: what enters and leaves, and how it is left.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_model::{Outside, Workload};
use mesh_node::places::Places;
use mesh_node::plan::{Leaving, Seat, plan};
use mesh_node::pod::{INBOUND_PORT, clean};

use crate::world::*;

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
    let deadline = std::time::Instant::now() + SOON;
    while repeats(&mut later) {
        assert!(std::time::Instant::now() < deadline, "what leaves passes the proxy, which is gone");
    }
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
    pod.close_plaintext();
    assert!(world.peer.dial(POD, 8080).is_err(), "plain text enters a strict pod");
    assert!(!pod.is_open() && repeats(&mut kept), "a connection that was let in is cut");
    assert_eq!(world.peer.dial(POD, 8081).unwrap().1, "10.99.0.1", "the node asks at the port of a probe");
    let strict = world.enter(true);
    assert!(!strict.is_open() && strict.has_successor(), "two processes serve the pod");
}

#[test]
fn what_the_mesh_does_not_know_is_reached_while_the_pod_may() {
    let Some(world) = World::new() else { return };
    world.peer.serve(9000);
    let _pod = world.enter(true);
    for (outside, reached) in [(Outside::Allowed, true), (Outside::Denied, false), (Outside::Allowed, true)] {
        world.publish(Arc::new(Workload { outside, ..workload(true) }));
        assert_eq!(world.pod.dial(PEER, 9000).is_ok(), reached, "{outside:?}");
    }
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
fn the_rules_of_a_process_that_came_meanwhile_are_not_taken_away() {
    let Some(world) = World::new() else { return };
    world.pod.serve(8080);
    world.peer.serve(9000);
    let first = world.enter(true);
    let (under_way, _) = world.pod.dial(PEER, 9000).unwrap();
    let leaving = std::thread::spawn(move || wait(first.release()));
    let deadline = std::time::Instant::now() + SOON;
    while world.peer.dial(POD, 8080).is_err() {
        assert!(std::time::Instant::now() < deadline, "connections are still captured");
    }
    let _second = world.enter(true);
    drop(under_way);
    leaving.join().unwrap();
    assert_eq!(world.tables(), 1);
    assert!(world.peer.dial(POD, 8080).is_err(), "plain text enters past the second process");
}

#[test]
fn rules_of_a_process_that_was_killed_are_taken_away() {
    let Some(world) = World::new() else { return };
    world.pod.serve(8080);
    let pod = world.enter(true);
    assert_eq!(world.tables(), 1);
    clean(&world.namespace()).unwrap();
    assert_eq!(world.tables(), 1, "rules are taken from a process that lives");
    drop(pod);
    while world.namespace().listeners(INBOUND_PORT).unwrap() > 0 {}
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
