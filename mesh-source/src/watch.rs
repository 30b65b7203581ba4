//! Changes of files to new snapshots, without a timer in the way of a complete write.
//!
//! A file is read again when its writer closes it or a rename puts it in place, so that half of a write is not
//! taken for the whole. A writer that keeps its file open is read when it has been silent for
//! [`SILENCE`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, watch as channel};

use super::files::{FileSource, Snapshot, SourceError};

/// How long a file must not change before it is read although its writer has not closed it.
pub const SILENCE: Duration = Duration::from_millis(500);
/// Most single files that are remembered; beyond that everything is read again.
const MAX_DIRTY: usize = 256;

/// Reads a folder or file and keeps reading it. The first snapshot is complete; a later one replaces those
/// before it. The watch ends when every receiver is dropped.
///
/// # Errors
/// When the path cannot be looked at, or the system cannot report its changes.
pub fn watch(path: &Path) -> Result<channel::Receiver<Snapshot>, SourceError> {
    let dirty = Arc::new(Dirty::default());
    let watcher = watcher(path, &dirty)?;
    let mut source = FileSource::open(path)?;
    let (sender, receiver) = channel::channel(source.snapshot());
    tokio::spawn(run(source, dirty, sender, watcher));
    Ok(receiver)
}

fn watcher(path: &Path, dirty: &Arc<Dirty>) -> Result<RecommendedWatcher, SourceError> {
    let failed = |error| SourceError::Watch { path: path.display().to_string(), error };
    let sink = Arc::clone(dirty);
    let mut watcher = notify::recommended_watcher(move |event| sink.take(event)).map_err(failed)?;
    // A file is watched through its folder, because editors put a new file in its place.
    let (target, mode) = match path.is_dir() {
        true => (path, RecursiveMode::Recursive),
        false => (folder_of(path), RecursiveMode::NonRecursive),
    };
    watcher.watch(target, mode).map_err(failed)?;
    Ok(watcher)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

async fn run(
    mut source: FileSource,
    dirty: Arc<Dirty>,
    sender: channel::Sender<Snapshot>,
    _watcher: RecommendedWatcher,
) {
    loop {
        tokio::select! {
            () = dirty.wait() => {}
            () = sender.closed() => return,
        }
        let work = dirty.drain();
        let read = tokio::task::spawn_blocking(move || {
            let changed = work.apply(&mut source);
            (changed.then(|| source.snapshot()), source)
        });
        let Ok((snapshot, back)) = read.await else { return };
        source = back;
        if let Some(snapshot) = snapshot {
            sender.send_replace(snapshot);
        }
    }
}

/// What changed and has not been read yet.
#[derive(Debug, Default)]
struct Dirty {
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    /// Complete files.
    files: BTreeSet<PathBuf>,
    /// Files whose writer has not closed them.
    open: BTreeSet<PathBuf>,
    /// Something changed that is not a single file.
    everything: bool,
}

impl Dirty {
    fn take(&self, event: notify::Result<notify::Event>) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(event) => pending.add(event),
            Err(_) => pending.everything = true,
        }
        drop(pending);
        self.wake.notify_one();
    }

    /// Returns when there is something to read.
    async fn wait(&self) {
        loop {
            let (ready, open) = {
                let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
                (pending.everything || !pending.files.is_empty(), !pending.open.is_empty())
            };
            match (ready, open) {
                (true, _) => return,
                (false, false) => self.wake.notified().await,
                (false, true) => {
                    if tokio::time::timeout(SILENCE, self.wake.notified()).await.is_err() {
                        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
                        let open = std::mem::take(&mut pending.open);
                        pending.files.extend(open);
                    }
                }
            }
        }
    }

    fn drain(&self) -> Pending {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let open = std::mem::take(&mut pending.open);
        let mut work = std::mem::take(&mut *pending);
        pending.open.clone_from(&open);
        work.open = open;
        work
    }
}

impl Pending {
    fn add(&mut self, event: notify::Event) {
        if event.need_rescan() {
            self.everything = true;
        }
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Remove(RemoveKind::File) => {
                for path in event.paths {
                    self.open.remove(&path);
                    self.files.insert(path);
                }
            }
            EventKind::Create(CreateKind::File) | EventKind::Modify(ModifyKind::Data(_)) => {
                self.open.extend(event.paths);
            }
            EventKind::Access(_) => {}
            _ => self.everything = true,
        }
        if self.files.len() > MAX_DIRTY {
            self.everything = true;
        }
        if self.open.len() > MAX_DIRTY {
            self.everything = true;
            self.open.clear();
        }
        if self.everything {
            self.files.clear();
        }
    }

    /// Reads what changed. Returns whether anything was read.
    fn apply(self, source: &mut FileSource) -> bool {
        let files: Vec<PathBuf> = self.files.iter().map(|path| source.as_given(path)).collect();
        if self.everything || files.iter().any(|path| !source.wants(path) && is_structure(path)) {
            let open = self.open.iter().map(|path| source.as_given(path)).collect();
            source.rescan_except(&open);
            return true;
        }
        let wanted: Vec<&Path> =
            files.iter().map(PathBuf::as_path).filter(|path| source.wants(path)).collect();
        let any = !wanted.is_empty();
        source.reread(wanted);
        any
    }
}

/// Whether a path that is not a manifest can bring or take manifests: a folder, or the link that a mounted
/// ConfigMap swaps.
fn is_structure(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    match name.starts_with('.') {
        true => name.starts_with(".."),
        false => path.is_dir() || !path.exists(),
    }
}

#[cfg(test)]
mod tests;
