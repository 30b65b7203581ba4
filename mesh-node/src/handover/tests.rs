//! What two processes say to each other, good and bad. Namespaces are numbers here; sockets in real ones are in
//! `tests/handover.rs`.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use mesh_rt::passing::{AsyncPackets, PacketListener};
use tempfile::TempDir;

use super::message::{Answer, Question};
use super::*;

/// A socket of our own for two unrelated numbers.
fn sockets() -> Sockets {
    let listen = || mesh_rt::net::listen_tcp("127.0.0.1:0".parse().unwrap(), false).unwrap();
    Sockets { outbound: listen(), inbound: listen() }
}

fn place(number: u64) -> NamespaceId {
    serde_json::from_value(serde_json::json!([4, number])).unwrap()
}

fn socket(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("handover/sockets")
}

/// A process that serves the pods with these numbers, and one that comes after it.
async fn two(folder: &TempDir, served: &[u64]) -> (Handover, Handover) {
    let mut first = Handover::within(folder.path()).await.unwrap();
    assert!(first.predecessor.is_none());
    for number in served {
        first.entered(place(*number), sockets()).await;
    }
    first.settle().await;
    let second = Handover::within(folder.path()).await.unwrap();
    assert!(second.predecessor.is_some(), "the first one is not found");
    (first, second)
}

async fn ask(of: &mut Handover, question: Question) -> (Answer, usize) {
    let (answer, passed) = of.predecessor.as_mut().unwrap().ask(question).await.unwrap();
    (answer, passed.len())
}

/// Until something holds that another task brings about.
async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_is_served_is_given_and_what_is_asked_for_is_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let (first, mut second) = two(&folder, &[1]).await;
    assert_eq!(ask(&mut second, Question::Take { namespace: place(1) }).await, (Answer::Given, 2));
    assert_eq!(ask(&mut second, Question::Take { namespace: place(2) }).await, (Answer::Nothing, 0));
    assert!(first.is_claimed(place(1)) && first.is_claimed(place(2)) && !first.is_claimed(place(3)));
    assert!(!first.is_served(place(1)), "it was only asked for");
    second.entered(place(1), sockets()).await;
    assert!(first.is_served(place(1)) && !first.is_replaced());
    second.settle().await;
    assert!(first.is_replaced());
    first.left(place(1));
    assert_eq!(ask(&mut second, Question::Take { namespace: place(1) }).await, (Answer::Nothing, 0));
}

#[tokio::test]
async fn the_first_goes_on_when_the_second_dies_and_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let (first, mut second) = two(&folder, &[1]).await;
    ask(&mut second, Question::Take { namespace: place(1) }).await;
    drop(second);
    until(|| !first.is_claimed(place(1))).await;
    // One that had come so far as to answer in the first one's place.
    let mut third = Handover::within(folder.path()).await.unwrap();
    third.settle().await;
    drop(third);
    until(|| !first.is_replaced()).await;
    until(|| AsyncPackets::connect(&socket(&folder)).is_ok()).await;
    let mut fourth = Handover::within(folder.path()).await.unwrap();
    assert_eq!(ask(&mut fourth, Question::Take { namespace: place(1) }).await, (Answer::Given, 2));
}

#[tokio::test]
async fn the_second_gives_back_to_one_that_stays_and_not_to_one_that_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let (first, mut second) = two(&folder, &[1]).await;
    second.entered(place(1), sockets()).await;
    assert!(second.goes_back().await);
    assert!(!first.is_served(place(1)) && !second.goes_back().await, "it has no predecessor any more");
    let mut third = Handover::within(folder.path()).await.unwrap();
    third.entered(place(1), sockets()).await;
    first.awaits_successor(&[place(1)]).await;
    assert!(!third.goes_back().await);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_ends_waits_for_its_successor_but_not_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Handover::within(folder.path()).await.unwrap();
    first.settle().await;
    let began = tokio::time::Instant::now();
    first.awaits_successor(&[]).await;
    assert_eq!(began.elapsed(), Duration::ZERO, "without pods there is nothing to wait for");
    first.awaits_successor(&[place(1)]).await;
    assert_eq!(began.elapsed(), COME);
}

#[tokio::test(start_paused = true)]
async fn with_one_that_is_silent_nothing_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    drop(Handover::within(folder.path()).await.unwrap());
    let _silent = PacketListener::bind(&socket(&folder)).unwrap();
    let began = tokio::time::Instant::now();
    let handover = Handover::within(folder.path()).await.unwrap();
    assert!(handover.predecessor.is_none());
    assert_eq!(began.elapsed(), message::PATIENCE);
}

#[tokio::test]
async fn with_another_version_nothing_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    drop(Handover::within(folder.path()).await.unwrap());
    let later = PacketListener::bind(&socket(&folder)).unwrap();
    let answering = tokio::spawn(async move {
        let peer = later.accept().await.unwrap();
        let greeting = peer.receive().await.unwrap().unwrap();
        peer.send(br#"{"version":2,"more":[]}"#, &[]).await.unwrap();
        greeting.bytes
    });
    let handover = Handover::within(folder.path()).await.unwrap();
    assert!(handover.predecessor.is_none());
    assert_eq!(answering.await.unwrap(), br#"{"version":1}"#, "the greeting never changes");
}

#[tokio::test]
async fn whoever_asks_badly_is_left_and_others_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (first, mut second) = two(&folder, &[1]).await;
    let greeting = br#"{"version":1}"#.as_slice();
    let cases: [&[&[u8]]; 4] = [
        &[br#"{"version":7}"#],
        &[b"hello"],
        &[greeting, b"give"],
        &[greeting, br#"{"Take":{"namespace":[1]}}"#],
    ];
    for words in cases {
        let peer = AsyncPackets::connect(&socket(&folder)).unwrap();
        for word in words {
            peer.send(word, &[]).await.unwrap();
        }
        let heard = async { while peer.receive().await.is_ok_and(|packet| packet.is_some()) {} };
        tokio::time::timeout(Duration::from_secs(9), heard).await.expect("it is not left");
    }
    assert_eq!(ask(&mut second, Question::Take { namespace: place(1) }).await, (Answer::Given, 2));
    assert!(first.is_claimed(place(1)));
}

#[tokio::test]
async fn a_folder_in_which_others_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    open(folder.path(), 0o775);
    assert!(matches!(Handover::within(folder.path()).await, Err(PlaceError::Open { mode: 0o775, .. })));
    open(folder.path(), 0o755);
    Handover::within(folder.path()).await.unwrap();
    open(&folder.path().join("handover"), 0o750);
    assert!(matches!(Handover::within(folder.path()).await, Err(PlaceError::Open { mode: 0o750, .. })));
    std::fs::remove_dir(folder.path().join("handover")).unwrap();
    std::os::unix::fs::symlink("/tmp", folder.path().join("handover")).unwrap();
    assert!(matches!(Handover::within(folder.path()).await, Err(PlaceError::Unusable { .. })));
}

/// Asks, and says what comes back: nothing at all.
const STRANGER: &str = "import socket, sys\n\
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
    s.connect(sys.argv[1])\n\
    s.send(b'{\"version\":1}')\n\
    print(len(s.recv(100)))";

#[tokio::test]
async fn another_user_gets_nothing_even_where_the_folder_lets_it_in() {
    if !rustix::process::geteuid().is_root() {
        return testkit::skip("only root may start a process of another user");
    }
    let folder = tempfile::tempdir().unwrap();
    let (first, _second) = two(&folder, &[1]).await;
    for path in [folder.path(), &folder.path().join("handover"), &socket(&folder)] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    }
    let mut stranger = Command::new("python3");
    stranger.args(["-c", STRANGER]).arg(socket(&folder)).uid(65_534).gid(65_534);
    let output = tokio::task::spawn_blocking(move || stranger.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // It may be left before it has asked.
    let problem = String::from_utf8_lossy(&output.stderr);
    let is_left = ["BrokenPipeError", "ConnectionResetError"].iter().any(|name| problem.contains(name));
    assert!(said.trim() == "0" || is_left, "{output:?}");
    assert!(!first.is_claimed(place(1)));
}
