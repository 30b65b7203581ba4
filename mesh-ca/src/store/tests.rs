//! Sealing under damage, and replacing a file while the disk fails or the power goes.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq};
use proptest::{collection::vec, num::u8::ANY};

use super::*;

const PURPOSE: &str = "test";

fn key() -> SealingKey {
    SealingKey::from_hex(&"0123456789abcdef".repeat(4)).unwrap()
}

proptest::proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_was_sealed_opens(content in vec(ANY, 0..5000), generation: u64) {
        let sealed = seal(&content, &key(), PURPOSE, generation);
        let opened = open(&sealed, &key(), PURPOSE).unwrap();
        prop_assert_eq!((&*opened.content, opened.generation), (&content, generation));
    }

    #[test]
    fn no_changed_bit_opens(content in vec(ANY, 0..200), place: usize, bit in 0u8..8) {
        let mut sealed = seal(&content, &key(), PURPOSE, 1);
        let place = place % sealed.len();
        sealed[place] ^= 1 << bit;
        prop_assert!(open(&sealed, &key(), PURPOSE).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in vec(ANY, 0..300), magic: bool) {
        if magic {
            bytes.splice(..0, seal(b"", &key(), PURPOSE, 1).into_iter().take(26));
        }
        prop_assert!(open(&bytes, &key(), PURPOSE).is_err());
    }
}

#[test]
fn a_wrong_key_is_told_from_damage_and_from_other_files() {
    let sealed = seal(b"content", &key(), PURPOSE, 1);
    let fails = |bytes: &[u8], key: &SealingKey, purpose| open(bytes, key, purpose).unwrap_err();
    assert_eq!(fails(&sealed, &SealingKey::generate(), PURPOSE), UnsealError::WrongKey);
    assert_eq!(fails(&sealed, &key(), "other"), UnsealError::Damaged);
    for length in 1..sealed.len() {
        let found = fails(&sealed[..length], &key(), PURPOSE);
        assert!(matches!(found, UnsealError::Truncated(_) | UnsealError::Damaged), "{length}: {found}");
    }
    assert_eq!(fails(b"", &key(), PURPOSE), UnsealError::NotSealed);
    assert_eq!(fails(b"-----BEGIN", &key(), PURPOSE), UnsealError::NotSealed);
    let mut newer = sealed.clone();
    newer[9] = 2;
    assert_eq!(fails(&newer, &key(), PURPOSE), UnsealError::Version(2));
    assert_eq!(fails(&vec![0; 17 << 20], &key(), PURPOSE), UnsealError::TooLong(17 << 20));
}

#[test]
fn two_sealings_of_one_content_differ_and_show_nothing_of_it() {
    let content = b"a canary that sings in clear text";
    let (one, two) = (seal(content, &key(), PURPOSE, 1), seal(content, &key(), PURPOSE, 1));
    assert_ne!(one, two);
    assert!(!one.windows(8).any(|window| content.windows(8).any(|secret| secret == window)));
}

#[test]
fn key_files_are_private_complete_and_never_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let made = KeyFile::load_or_create(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(KeyFile::load_or_create(&path).unwrap().to_hex(), made.to_hex());
    let exists = KeyFile::create(&path).unwrap_err().to_string();
    assert!(exists.starts_with(&format!("{}: cannot create", path.display())), "{exists}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
    let exposed = KeyFile::load(&path).unwrap_err().to_string();
    assert!(exposed.ends_with("readable by everybody (mode 604): set it to 600"), "{exposed}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    for (text, said) in [("abc", "64 hexadecimal digits"), (&"00".repeat(32), "trivial")] {
        std::fs::write(&path, text).unwrap();
        let refused = KeyFile::load(&path).unwrap_err().to_string();
        assert!(refused.contains(&path.display().to_string()) && refused.contains(said), "{refused}");
    }
}

/// The machine's disk, which fails at the n-th change, as a full one does: half of the bytes are written.
struct Failing {
    at: usize,
    count: Arc<AtomicUsize>,
}

impl Failing {
    fn step(&self) -> io::Result<()> {
        let step = self.count.fetch_add(1, Ordering::SeqCst);
        if step == self.at { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Disk for Failing {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Err(full) = self.step() {
            RealDisk.write(path, &bytes[..bytes.len() / 2])?;
            return Err(full);
        }
        RealDisk.write(path, bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.step().and_then(|()| RealDisk.sync(path))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.step().and_then(|()| RealDisk.sync_directory(path))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step().and_then(|()| RealDisk.link(from, to))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step().and_then(|()| RealDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }
}

#[test]
fn a_full_disk_at_any_step_loses_nothing() {
    let mut failures = 0;
    for at in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        FileStore::new(&path).save(b"first").unwrap();
        FileStore::new(&path).save(b"second").unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let failing = FileStore::on(&path, Failing { at, count: count.clone() });
        let saved = failing.save(b"third");
        let found = FileStore::new(&path).load().unwrap().unwrap();
        if saved.is_ok() {
            assert_eq!(found, b"third");
            break;
        }
        failures += 1;
        // Only the last step, making the new name durable, may fail with the new bytes in place.
        let last = count.load(Ordering::SeqCst) == 6;
        assert_eq!(found, if last { &b"third"[..] } else { b"second" }, "step {at}");
        let said = saved.unwrap_err().to_string();
        assert!(said.contains(&directory.path().display().to_string()), "{said}");
        let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap()).collect();
        assert_eq!(names.len(), 2, "step {at} leaves the store and the generation before");
        FileStore::new(&path).save(b"fourth").unwrap();
        assert_eq!(FileStore::new(&path).load().unwrap().unwrap(), b"fourth");
    }
    assert_eq!(failures, 6, "write, sync, link, rename, rename, sync of the directory");
}

/// A disk that forgets what was not made durable: contents without a sync, names without one of the directory.
#[derive(Default)]
struct Forgetful(Mutex<Model>);

#[derive(Default, Clone)]
struct Model {
    /// Content of each file, and whether it was made durable.
    files: Vec<(Vec<u8>, bool)>,
    names: BTreeMap<PathBuf, usize>,
    /// The names made durable, and each state of the names since: a crash may keep any of them.
    possible: Vec<BTreeMap<PathBuf, usize>>,
    /// What a crash after each operation may leave under the path: every possible content.
    crashes: Vec<Vec<Option<Vec<u8>>>>,
    watched: PathBuf,
}

impl Model {
    fn named(&mut self) {
        self.possible.push(self.names.clone());
    }

    fn crash(&mut self) {
        let mut left = Vec::new();
        for names in &self.possible {
            match names.get(&self.watched).map(|file| &self.files[*file]) {
                None => left.push(None),
                Some((content, true)) => left.push(Some(content.clone())),
                Some((content, false)) => {
                    left.extend(
                        [0, content.len() / 2, content.len()].map(|end| Some(content[..end].to_vec())),
                    );
                }
            }
        }
        self.crashes.push(left);
    }
}

impl Forgetful {
    fn change<T>(&self, change: impl FnOnce(&mut Model) -> io::Result<T>) -> io::Result<T> {
        let mut model = self.0.lock().unwrap();
        let done = change(&mut model);
        model.crash();
        done
    }

    fn file(model: &Model, path: &Path) -> io::Result<usize> {
        model.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for Arc<Forgetful> {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.change(|model| {
            model.files.push((bytes.to_vec(), false));
            let file = model.files.len() - 1;
            model.names.insert(path.to_owned(), file);
            model.named();
            Ok(())
        })
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.change(|model| {
            let file = Forgetful::file(model, path)?;
            model.files[file].1 = true;
            Ok(())
        })
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        self.change(|model| {
            model.possible = vec![model.names.clone()];
            Ok(())
        })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|model| {
            let file = Forgetful::file(model, from)?;
            model.names.insert(to.to_owned(), file);
            model.named();
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|model| {
            let file = Forgetful::file(model, from)?;
            model.names.remove(from);
            model.names.insert(to.to_owned(), file);
            model.named();
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|model| {
            let removed = model.names.remove(path);
            model.named();
            removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let model = self.0.lock().unwrap();
        Forgetful::file(&model, path).map(|file| model.files[file].0.clone())
    }
}

#[test]
fn a_power_cut_at_any_step_leaves_a_whole_generation() {
    let path = PathBuf::from("/store");
    let disk = Arc::new(Forgetful::default());
    disk.0.lock().unwrap().watched = path.clone();
    disk.0.lock().unwrap().possible.push(BTreeMap::new());
    let store = FileStore::on(&path, disk.clone());
    let mut before: Option<Vec<u8>> = None;
    for content in [&b"generation one"[..], b"generation two", b"generation three"] {
        disk.0.lock().unwrap().crashes.clear();
        store.save(content).unwrap();
        let crashes = disk.0.lock().unwrap().crashes.clone();
        assert!(crashes.len() >= 6);
        for (step, left) in crashes.iter().enumerate() {
            for found in left {
                let whole = *found == before || found.as_deref() == Some(content);
                assert!(whole, "step {step}: {found:?}");
            }
        }
        let last: Vec<_> = crashes.last().unwrap().iter().collect();
        assert_eq!(last, [&Some(content.to_vec())], "what save returned for stays");
        before = Some(content.to_vec());
    }
}
