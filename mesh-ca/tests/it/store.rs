//! The authority on a disk: restarts, wrong keys, damage, and a disk that is really full.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use mesh_ca::rotate::{InProcess, Keep};
use mesh_ca::store::{FileStore, SealingKey, Store, StoreError};
use mesh_ca::{Authority, AuthorityError, Policy, Rotation, SvidSource, TrustBundles, TrustSource};
use mesh_rt::ManualClock;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::pki::{id, start};

const LEAF: Duration = Duration::from_secs(600);
/// Tells the re-executed test which directory to work in.
const LIMITED: &str = "MESH_CA_TEST_FULL_DISK";

fn key() -> SealingKey {
    SealingKey::from_hex(&"0123456789abcdef".repeat(4)).unwrap()
}

fn open_with(
    path: &Path,
    key: SealingKey,
    clock: &Arc<ManualClock>,
) -> Result<Arc<Authority>, AuthorityError> {
    let trust_domain = "cluster.local".parse().unwrap();
    Authority::open(trust_domain, Policy::scaled(LEAF), clock.clone(), FileStore::new(path), key)
}

fn open(path: &Path, clock: &Arc<ManualClock>) -> Arc<Authority> {
    open_with(path, key(), clock).unwrap()
}

#[test]
fn a_restart_keeps_the_roots_and_the_rotation_that_is_under_way() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), start());
    let path = directory.path().join("ca");
    let authority = open(&path, &clock);
    let first = authority.bundle();
    assert_eq!(open(&path, &clock).bundle(), first);
    authority.rotate_root().unwrap();
    let restarted = open(&path, &clock);
    assert_eq!(restarted.bundle(), authority.bundle());
    clock.advance(LEAF);
    restarted.tick().unwrap();
    clock.advance(LEAF + Duration::from_secs(2));
    restarted.tick().unwrap();
    let last = open(&path, &clock).bundle();
    assert_eq!((last.roots().len(), last.sequence()), (1, 3));
    assert_ne!(last.roots().next(), first.roots().next());
}

#[test]
fn a_wrong_key_refuses_to_start_and_changes_nothing() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), start());
    let path = directory.path().join("ca");
    open(&path, &clock);
    let before = std::fs::read(&path).unwrap();
    let refused = open_with(&path, SealingKey::generate(), &clock).unwrap_err().to_string();
    let said = format!("{}: the key does not open it: it was sealed with another one", path.display());
    assert_eq!(refused, said);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn damage_is_named_with_the_file_and_nothing_is_overwritten() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), start());
    let path = directory.path().join("ca");
    open(&path, &clock).rotate_root().unwrap();
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let cases = [
        (good[..good.len() / 2].to_vec(), "the content is damaged"),
        (good[..40].to_vec(), "the content is truncated: 40 bytes are left"),
        (Vec::new(), "this is not a sealed store"),
        (b"{}".to_vec(), "this is not a sealed store"),
        (flipped, "the content is damaged"),
    ];
    for (bytes, reason) in cases {
        std::fs::write(&path, &bytes).unwrap();
        let refused = open_with(&path, key(), &clock).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("{}: {reason}", path.display())), "{refused}");
        assert!(refused.contains("the generation before is in"), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "the evidence stays");
    }
    std::fs::copy(directory.path().join("ca.previous"), &path).unwrap();
    assert_eq!(open(&path, &clock).bundle().roots().len(), 1, "restored by hand");
}

#[test]
fn a_store_of_another_trust_domain_is_refused() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), start());
    let path = directory.path().join("ca");
    open(&path, &clock);
    let store = FileStore::new(&path);
    let other = Authority::open("elsewhere".parse().unwrap(), Policy::scaled(LEAF), clock, store, key());
    assert!(other.unwrap_err().to_string().contains("sealed for another purpose"));
}

/// A store that cannot be written, and one time cannot be read.
struct ReadOnly(Vec<u8>);

impl Store for ReadOnly {
    fn load(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(Some(self.0.clone()).filter(|bytes| !bytes.is_empty()))
    }

    fn save(&self, _: &[u8]) -> Result<(), StoreError> {
        let source = std::io::ErrorKind::ReadOnlyFilesystem.into();
        Err(StoreError::Io { path: PathBuf::from("/ro/ca"), operation: "write", source })
    }

    fn name(&self) -> String {
        "/ro/ca".to_owned()
    }
}

#[test]
fn a_store_that_cannot_be_written_delays_rotation_and_never_issuing() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), start());
    let path = directory.path().join("ca");
    let bundle = open(&path, &clock).bundle();
    let store = ReadOnly(std::fs::read(&path).unwrap());
    let policy = Policy::scaled(LEAF);
    let trust_domain = || "cluster.local".parse().unwrap();
    let authority = Authority::open(trust_domain(), policy, clock.clone(), store, key()).unwrap();
    let refused = authority.rotate_root().unwrap_err().to_string();
    assert!(refused.starts_with("/ro/ca: cannot write: "), "{refused}");
    assert_eq!(authority.bundle(), bundle, "what could not be saved is not published");
    clock.advance(LEAF * 2);
    assert!(authority.tick().is_err(), "the next issuer is due and cannot be saved");
    let svid = authority.issue_svid(&id("cart")).unwrap();
    assert!(mesh_ca::tls::verify_svid(&svid, &authority.trust().current(), clock_now(&clock)).is_ok());
    let fresh = Authority::open(trust_domain(), policy, clock, ReadOnly(vec![]), key());
    assert!(fresh.is_err(), "a root that cannot be saved is never used");
}

fn clock_now(clock: &Arc<ManualClock>) -> std::time::SystemTime {
    mesh_rt::Clock::wall(&**clock)
}

#[tokio::test]
async fn a_proxy_that_starts_alone_is_who_it_was() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), start());
    let path = directory.path().join("identity");
    let keep = || Keep::new(FileStore::new(&path), key());
    let trust_domain = "cluster.local".parse().unwrap();
    let authority = Authority::with_policy(trust_domain, Policy::scaled(LEAF), clock.clone()).unwrap();
    let begin = |expected: &str| {
        let (source, trust) = (SvidSource::empty(clock.clone()), TrustSource::new(TrustBundles::default()));
        let issuance = InProcess::new(authority.clone(), id("cart"));
        let rotation = Rotation::new(source.clone(), trust.clone(), issuance).expecting(id(expected));
        (rotation, source, trust)
    };
    let (rotation, source, trust) = begin("cart");
    rotation.keeping(keep()).unwrap().renew().await.unwrap();
    let (again, restored, trusted) = begin("cart");
    drop(again.keeping(keep()).unwrap());
    assert_eq!(restored.current().unwrap().chain(), source.current().unwrap().chain());
    assert_eq!(trusted.current(), trust.current());
    let (other, nobody, _) = begin("thief");
    drop(other.keeping(keep()).unwrap());
    assert!(nobody.current().is_none(), "the identity of somebody else is not used");
    let stranger = Keep::new(FileStore::new(&path), SealingKey::generate());
    let refused = begin("cart").0.keeping(stranger).err().unwrap().to_string();
    assert!(refused.ends_with("it was sealed with another one"), "{refused}");
    clock.advance(LEAF + Duration::from_secs(1));
    let (late, expired, _) = begin("cart");
    drop(late.keeping(keep()).unwrap());
    assert!(expired.current().is_none(), "an expired one is not used");
}

/// On a full disk: rotation is refused and names the file, issuing goes on, the file is whole.
fn survive_full_disk(path: &Path) {
    let clock = start();
    let before = std::fs::read(path).unwrap();
    let authority = open(path, &clock);
    let refused = authority.rotate_root().unwrap_err();
    assert!(matches!(refused, AuthorityError::Store(StoreError::Io { .. })), "{refused}");
    assert!(refused.to_string().contains(&path.display().to_string()), "{refused}");
    authority.issue_svid(&id("cart")).unwrap();
    assert_eq!(authority.bundle().roots().len(), 1);
    assert_eq!(std::fs::read(path).unwrap(), before);
    assert_eq!(open(path, &clock).bundle(), authority.bundle());
}

/// In a namespace of its own: a tmpfs of 1 MB, filled up to a few pages. False where mounting is forbidden.
fn on_a_small_tmpfs(directory: &Path) -> bool {
    let mounted = unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| {
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        })
        .and_then(|()| mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some("size=1m")));
    if mounted.is_err() {
        return false;
    }
    let (path, filler) = (directory.join("ca"), directory.join("filler"));
    open(&path, &start());
    let size = std::fs::metadata(&path).unwrap().len();
    for free in 0..size.div_ceil(4096) {
        std::fs::write(&filler, vec![1; 1 << 20]).unwrap_err();
        let filled = std::fs::metadata(&filler).unwrap().len();
        let file = std::fs::OpenOptions::new().write(true).open(&filler).unwrap();
        file.set_len((filled - free * 4096) & !4095).unwrap();
        survive_full_disk(&path);
    }
    std::fs::remove_file(&filler).unwrap();
    open(&path, &start()).rotate_root().unwrap();
    assert_eq!(open(&path, &start()).bundle().roots().len(), 2);
    true
}

/// Without privileges: this test again in a process that may write no byte to a file.
fn under_a_file_size_limit() {
    let directory = tempfile::tempdir().unwrap();
    open(&directory.path().join("ca"), &start());
    let again = Command::new("sh")
        .args([
            "-c",
            r#"trap "" XFSZ; ulimit -f 0; exec "$0" --exact store::a_full_disk_loses_nothing | cat"#,
        ])
        .arg(std::env::current_exe().unwrap())
        .env(LIMITED, directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(said.contains("test result: ok. 1 passed"), "{said}");
}

#[test]
#[allow(clippy::disallowed_methods)] // the test talks to itself in another process
fn a_full_disk_loses_nothing() {
    if let Some(directory) = std::env::var_os(LIMITED) {
        return survive_full_disk(&Path::new(&directory).join("ca"));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    // The thread's own mount namespace ends with the thread.
    let mounted = std::thread::spawn(move || on_a_small_tmpfs(&path)).join().unwrap();
    if !mounted {
        under_a_file_size_limit();
    }
}
