//! Tests of the snapshot file: whole or an error, replaced as one, old or new but never between.

use std::sync::Arc;

use mesh_rt::{Clock, ManualClock};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tokio::sync::watch;

use super::*;
use crate::client::ClientState;

fn held(name: &str, body: &str) -> Held {
    let body = Bytes::copy_from_slice(body.as_bytes());
    Held { key: Key::new("type/a".into(), name), version: Version::of(&body), body }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn store(folder: &tempfile::TempDir, sealer: impl Sealer) -> Store {
    Store::new(folder.path().join("last-good"), Arc::new(sealer))
}

#[test]
fn a_snapshot_survives_and_every_damage_is_an_error() {
    let resources = vec![held("x", "1"), held("y", "22")];
    let bytes = write(at(1000), &resources);
    assert_eq!(read(&bytes), Ok(LastGood { saved: at(1000), resources }));
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "{length} bytes were enough");
    }
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x40;
        assert!(read(&damaged).is_err(), "byte {place} does not matter");
    }
    assert!(matches!(read(&[&bytes[..], b"x"].concat()), Err(FormatError::Truncated { .. })));
}

#[test]
fn each_damage_has_its_own_error() {
    let bytes = write(at(1), &[held("x", "1")]);
    let with = |place: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[place] = byte;
        read(&bytes)
    };
    assert_eq!(
        read(b"key: value, but not ours, padded to a length over that of the head"),
        Err(FormatError::Magic)
    );
    assert_eq!(with(11, 9), Err(FormatError::Format(9)));
    assert_eq!(with(bytes.len() - 1, b'2'), Err(FormatError::Checksum));
    let expected = (HEAD + DIGEST) as u64;
    assert_eq!(read(&bytes[..9]), Err(FormatError::Truncated { actual: 9, expected }));
    let twice = write(at(1), &[held("x", "1"), held("x", "2")]);
    assert_eq!(read(&twice), Err(FormatError::Duplicate(held("x", "").key)));
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x5EED),
        ..ProptestConfig::with_cases(512)
    })]

    #[test]
    fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), length in any::<u64>()) {
        _ = read(&bytes);
        let mut file = [&MAGIC[..], &FORMAT.to_be_bytes(), &[0xff; 8], &length.to_be_bytes()].concat();
        file.extend_from_slice(&[0; DIGEST]);
        file.extend_from_slice(&bytes);
        prop_assert!(read(&file).is_err());
    }
}

#[test]
fn a_sealed_file_opens_with_its_key_only_and_shows_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let sealed = store(&folder, AesGcm::new(&[1; 32]));
    sealed.save(at(5), &[held("secret-name", "secret-body")]).expect("it is written");
    let bytes = std::fs::read(sealed.path()).expect("the file");
    assert!(!bytes.windows(6).any(|window| window == b"secret"));
    assert_eq!(sealed.load(at(5)).expect("it opens").map(|last| last.resources.len()), Some(1));
    let other = store(&folder, AesGcm::new(&[2; 32])).load(at(5));
    assert!(matches!(other, Err(StoreError::Seal(_))), "{other:?}");
    assert!(matches!(store(&folder, Plain).load(at(5)), Err(StoreError::Format(FormatError::Magic))));
    for length in [0, 7, 8, 15, 30, bytes.len() - 1] {
        std::fs::write(sealed.path(), &bytes[..length]).expect("written");
        assert!(matches!(sealed.load(at(5)), Err(StoreError::Seal(_))), "{length}");
    }
    sealed.save(at(5), &[held("x", "1")]).expect("it is written");
    let again = std::fs::read(sealed.path()).expect("the file");
    sealed.save(at(5), &[held("x", "1")]).expect("it is written");
    assert_ne!(again, std::fs::read(sealed.path()).expect("the file"), "a nonce was used twice");
}

#[test]
fn size_and_age_are_limited_and_a_missing_file_is_no_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder, Plain).limited(200, Duration::from_secs(60));
    assert!(store.load(at(0)).expect("nothing there").is_none());
    store.save(at(100), &[held("x", "1")]).expect("small");
    let last = store.load(at(160)).expect("fresh").expect("there");
    assert_eq!((last.age(at(160)), last.age(at(50))), (Duration::from_secs(60), Duration::ZERO));
    assert!(matches!(store.load(at(161)), Err(StoreError::TooOld { .. })));
    let large = store.save(at(100), &[held("x", &"v".repeat(200))]);
    assert!(matches!(large, Err(StoreError::TooLarge { .. })), "{large:?}");
    assert!(store.load(at(100)).expect("the one before").is_some());
    std::fs::write(store.path(), [0; 201]).expect("written");
    assert!(matches!(store.load(at(0)), Err(StoreError::TooLarge { bytes: 201, allowed: 200 })));
}

#[test]
fn a_write_that_fails_leaves_the_file_before_and_nothing_beside_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder, Plain);
    store.save(at(1), &[held("x", "1")]).expect("it is written");
    let mode = std::fs::metadata(store.path()).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others can read keys");
    std::fs::create_dir(store.path().with_file_name("last-good.new")).expect("in the way");
    assert!(matches!(store.save(at(2), &[held("x", "2")]), Err(StoreError::Io(_))));
    assert_eq!(store.load(at(2)).expect("readable").expect("there").resources, [held("x", "1")]);
    std::fs::remove_dir(store.path().with_file_name("last-good.new")).expect("ours");
    std::fs::write(store.path().with_file_name("last-good.new"), b"left by a crash").expect("written");
    store.save(at(3), &[held("x", "3")]).expect("a leftover is no obstacle");
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).expect("a folder").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["last-good"]);
}

/// A recorder with its running writer.
struct Recording {
    recorder: Recorder,
    store: Store,
    clock: Arc<ManualClock>,
    state: watch::Receiver<WriteState>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
    _client: watch::Sender<ClientState>,
    folder: tempfile::TempDir,
}

impl Recording {
    fn start(restored: Option<&LastGood>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder, Plain);
        let clock = ManualClock::at(at(1000));
        let (recorder, writer) = Recorder::new(store.clone(), clock.clone(), restored);
        let state = writer.state();
        let client = watch::Sender::new(ClientState::restored(None));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let shutdown = async { _ = stopped.await };
        let task = tokio::spawn(writer.run(client.subscribe(), shutdown));
        Self { recorder, store, clock, state, stop: Some(stop), task, _client: client, folder }
    }

    fn note(&mut self, set: &[Held], removed: &[&str]) {
        let set = set.iter().map(|held| (&held.key.name, &held.version, &held.body));
        let removed: Vec<Arc<str>> = removed.iter().map(|name| Arc::from(*name)).collect();
        self.recorder.note(&"type/a".into(), set, &removed);
    }

    async fn until(&mut self, holds: impl FnMut(&WriteState) -> bool) {
        let waiting = self.state.wait_for(holds);
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("in time").expect("it runs");
    }

    fn names(&self) -> Option<Vec<String>> {
        let last = self.store.load(self.clock.wall()).expect("whole")?;
        Some(last.resources.iter().map(|held| held.key.name.to_string()).collect())
    }

    async fn stop(&mut self) {
        drop(self.stop.take());
        (&mut self.task).await.expect("it ends");
    }
}

#[tokio::test]
async fn the_file_follows_published_steps_only() {
    let restored = LastGood { saved: at(900), resources: vec![held("old", "1"), held("gone", "1")] };
    let mut recording = Recording::start(Some(&restored));
    recording.note(&[held("new", "1")], &["gone"]);
    recording.recorder.publish();
    recording.until(|state| state.saved == Some(at(1000))).await;
    assert_eq!(recording.names(), Some(vec!["new".into(), "old".into()]));
    recording.note(&[held("half of a step", "1")], &[]);
    recording.stop().await;
    assert_eq!(recording.names(), Some(vec!["new".into(), "old".into()]));
}

#[tokio::test]
async fn the_last_state_is_written_at_the_end() {
    let mut recording = Recording::start(None);
    for n in 0..100 {
        recording.note(&[held(&format!("r{n:02}"), "1")], &[]);
        recording.recorder.publish();
        tokio::task::yield_now().await;
    }
    recording.stop().await;
    assert_eq!(recording.names().map(|names| names.len()), Some(100));
}

#[tokio::test]
async fn a_process_that_learned_nothing_leaves_the_file_alone() {
    let mut recording = Recording::start(None);
    recording.store.save(at(999), &[held("x", "1")]).expect("written");
    recording.stop().await;
    assert_eq!(recording.names(), Some(vec!["x".into()]));
}

#[tokio::test]
async fn a_failed_write_is_reported_and_the_next_change_tries_again() {
    let mut recording = Recording::start(None);
    let obstacle = recording.folder.path().join("last-good.new");
    std::fs::create_dir(&obstacle).expect("in the way");
    recording.note(&[held("x", "1")], &[]);
    recording.recorder.publish();
    recording.until(|state| state.error.is_some()).await;
    assert_eq!(recording.names(), None);
    std::fs::remove_dir(&obstacle).expect("ours");
    recording.recorder.publish();
    recording.until(|state| state.error.is_none()).await;
    assert_eq!(recording.names(), Some(vec!["x".into()]));
}
