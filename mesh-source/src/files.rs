//! Files to a snapshot: which files count, and what stays in force while one of them is broken. Watching is
//! elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_model::{Finding, Reason};

use super::aim::{Aims, add};
use super::load::{Cache, Loaded, at_file, deduplicated};
use crate::store::{ObjectStore, Stored};
use mesh_yaml as yaml;

/// Deepest folder below the one that was named.
const MAX_FOLDER_DEPTH: usize = 16;
/// Most files of one source.
const MAX_FILES: usize = 10_000;

/// Objects and findings of all files, as one value.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The objects in force.
    pub store: ObjectStore,
    /// What is wrong, by file and place.
    pub findings: Arc<[Finding]>,
    /// What policies are about that cannot be used.
    pub aims: Arc<Aims>,
}

/// Why files cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The named file or folder cannot be looked at.
    #[error("{path}: {error}")]
    Missing {
        /// As the user gave it.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The system does not report changes of the files.
    #[error("{path} cannot be watched: {error}")]
    Watch {
        /// As the user gave it.
        path: String,
        /// What the watcher said.
        error: notify::Error,
    },
}

/// A folder, a file, or one text.
#[derive(Debug, Default)]
pub struct FileSource {
    root: PathBuf,
    files: BTreeMap<PathBuf, FileState>,
    /// Findings about folders, by their path.
    unreadable: Vec<Finding>,
    /// The objects of the last snapshot.
    store: ObjectStore,
}

/// What is known of one file.
#[derive(Debug)]
struct FileState {
    name: Arc<str>,
    cache: Cache,
    /// Objects in force: those of the last reading, and earlier ones that are broken now.
    objects: Vec<Arc<Stored>>,
    findings: Vec<Finding>,
    aims: Aims,
}

impl FileState {
    fn new(path: &Path) -> Self {
        let name = Arc::from(path.display().to_string());
        Self { name, cache: Cache::default(), objects: Vec::new(), findings: Vec::new(), aims: Aims::new() }
    }

    /// Takes the new content. An object that is broken now stays as it last was; when a document cannot be
    /// read at all, every earlier object that is not there any more stays, for it may be in that document.
    fn take(&mut self, text: &[u8]) {
        let Loaded { objects, findings, failed, unreadable, aims } = self.cache.load(text, &self.name);
        let key = |stored: &Stored| (Arc::clone(&stored.source().kind), stored.name().clone());
        let mut earlier: BTreeMap<_, _> =
            self.objects.drain(..).map(|stored| (key(&stored), stored)).collect();
        for stored in objects {
            let unchanged = earlier.remove(&key(&stored)).filter(|old| old.is_same_document(&stored));
            self.objects.push(unchanged.unwrap_or(stored));
        }
        let broken: BTreeSet<_> = failed.into_iter().map(|source| (source.kind, source.object)).collect();
        earlier.retain(|key, _| unreadable || broken.contains(key));
        self.objects.extend(earlier.into_values());
        self.findings = findings;
        self.aims = aims;
    }

    /// Keeps the objects and says why the file was not read.
    fn fail(&mut self, error: &std::io::Error) {
        self.findings = vec![at_file(Reason::Unreadable, &self.name, None, error.to_string())];
    }
}

impl FileSource {
    /// Reads a folder with its sub-folders, or one file. `-` is standard input.
    ///
    /// # Errors
    /// When the path itself cannot be looked at. Anything below it that cannot be read becomes a finding.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let missing = |error| SourceError::Missing { path: path.display().to_string(), error };
        if path == Path::new("-") {
            let mut text = Vec::new();
            let limit = yaml::MAX_BYTES as u64 + 1;
            std::io::stdin().lock().take(limit).read_to_end(&mut text).map_err(missing)?;
            return Ok(Self::from_text("-", &text));
        }
        std::fs::metadata(path).map_err(missing)?;
        let mut source = Self { root: path.to_path_buf(), ..Self::default() };
        source.rescan();
        Ok(source)
    }

    /// The objects of one text under a name.
    pub fn from_text(name: &str, text: &[u8]) -> Self {
        let mut state = FileState::new(Path::new(name));
        state.take(text);
        Self { root: PathBuf::from(name), files: [(PathBuf::from(name), state)].into(), ..Self::default() }
    }

    /// Looks for files that came or went, and reads all of them.
    pub fn rescan(&mut self) {
        self.rescan_except(&BTreeSet::new());
    }

    /// As [`FileSource::rescan`], but leaves files alone that are being written.
    pub(super) fn rescan_except(&mut self, being_written: &BTreeSet<PathBuf>) {
        let mut found = Found::default();
        if self.root.is_file() {
            found.files.insert(self.root.clone());
        } else {
            found.folder(&self.root, 0);
        }
        self.unreadable = found.findings;
        self.files.retain(|path, _| found.files.contains(path));
        for path in found.files.difference(being_written) {
            self.read(path);
        }
    }

    /// Reads single files again. Paths that do not belong to the source are ignored.
    pub fn reread<'p>(&mut self, paths: impl IntoIterator<Item = &'p Path>) {
        for path in paths {
            if self.wants(path) {
                self.read(path);
            }
        }
    }

    /// Whether a path is, or could become, a file of this source.
    pub(super) fn wants(&self, path: &Path) -> bool {
        if self.root == path {
            return true;
        }
        let Ok(below) = path.strip_prefix(&self.root) else { return false };
        let hidden = below.components().any(|part| part.as_os_str().to_string_lossy().starts_with('.'));
        is_manifest(path) && !hidden
    }

    /// A path as the system reports it, as the user would have written it.
    pub(super) fn as_given(&self, reported: &Path) -> PathBuf {
        let absolute = std::path::absolute(&self.root).unwrap_or_else(|_| self.root.clone());
        match reported.strip_prefix(&absolute) {
            Ok(below) if below.as_os_str().is_empty() => self.root.clone(),
            Ok(below) => self.root.join(below),
            Err(_) => reported.to_path_buf(),
        }
    }

    fn read(&mut self, path: &Path) {
        match read_limited(path) {
            Ok(text) => self.state(path).take(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => drop(self.files.remove(path)),
            Err(error) => self.state(path).fail(&error),
        }
    }

    fn state(&mut self, path: &Path) -> &mut FileState {
        self.files.entry(path.to_path_buf()).or_insert_with(|| FileState::new(path))
    }

    /// Objects and findings as they are now.
    pub fn snapshot(&mut self) -> Snapshot {
        let mut seen = BTreeMap::new();
        let mut findings = self.unreadable.clone();
        let mut aims = Aims::new();
        for state in self.files.values() {
            state.aims.iter().for_each(|(policy, aim)| add(&mut aims, policy.clone(), aim.clone()));
            let (_, duplicates) = deduplicated(state.objects.clone(), &mut seen);
            findings.extend(state.findings.iter().cloned().chain(duplicates));
        }
        let gone: Vec<_> = self.store.keys().filter(|key| !seen.contains_key(*key)).cloned().collect();
        let mut store = gone.iter().fold(self.store.clone(), |store, key| store.remove(key));
        for (key, stored) in seen {
            if !store.find(&key).is_some_and(|old| Arc::ptr_eq(old, &stored)) {
                store = store.insert(stored);
            }
        }
        self.store = store.clone();
        Snapshot { store, findings: findings.into(), aims: Arc::new(aims) }
    }
}

/// Files and problems of a search.
#[derive(Default)]
struct Found {
    files: BTreeSet<PathBuf>,
    findings: Vec<Finding>,
}

impl Found {
    fn folder(&mut self, folder: &Path, depth: usize) {
        let name = Arc::from(folder.display().to_string());
        if depth > MAX_FOLDER_DEPTH {
            let message = format!("folders below depth {MAX_FOLDER_DEPTH} are not read");
            return self.findings.push(at_file(Reason::Unreadable, &name, None, message));
        }
        let entries = std::fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                return self.findings.push(at_file(Reason::Unreadable, &name, None, error.to_string()));
            }
        };
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries.iter().filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')) {
            let path = entry.path();
            // A link to a file counts, a link to a folder does not: it could lead back up.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.folder(&path, depth + 1);
            } else if is_manifest(&path) && !path.is_dir() {
                self.file(path, &name);
            }
        }
    }

    fn file(&mut self, path: PathBuf, folder: &Arc<str>) {
        if self.files.len() < MAX_FILES {
            self.files.insert(path);
        } else if self.findings.is_empty() {
            let message = format!("more than {MAX_FILES} files; the others are not read");
            self.findings.push(at_file(Reason::Unreadable, folder, None, message));
        }
    }
}

/// Whether a name is that of a manifest, and not of an editor's copy.
fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with(['.', '#']));
    matches!(extension, Some("yaml" | "yml" | "json")) && !hidden
}

/// Reads a file up to just above the limit, so that the reader says that it is too large.
fn read_limited(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(yaml::MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
