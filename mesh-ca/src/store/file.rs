//! A store in one file: written beside it, made durable, renamed over it; the generation before is kept.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::{Disk, RealDisk, Store, StoreError};

/// Sealed bytes in a file. One process writes it at a time.
pub struct FileStore {
    path: PathBuf,
    disk: Box<dyn Disk>,
}

impl FileStore {
    /// A store in this file; its directory must exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::on(path, RealDisk)
    }

    /// A store on another file system, for tests.
    pub fn on(path: impl Into<PathBuf>, disk: impl Disk) -> Self {
        Self { path: path.into(), disk: Box::new(disk) }
    }

    fn previous(&self) -> PathBuf {
        self.beside("previous")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(suffix);
        name.into()
    }

    fn directory(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// The order matters: at every moment the path names a complete and durable file. The old file gets a
    /// second name first, so that one rename replaces it without a gap.
    fn replace(&self, fresh: &Path, kept: &Path, sealed: &[u8]) -> Result<(), StoreError> {
        let fail = |path: &Path, operation| {
            let path = path.to_owned();
            move |source| StoreError::Io { path, operation, source }
        };
        self.disk.write(fresh, sealed).map_err(fail(fresh, "write"))?;
        self.disk.sync(fresh).map_err(fail(fresh, "make durable"))?;
        match self.disk.link(&self.path, kept) {
            Ok(()) => {
                let previous = self.previous();
                self.disk.rename(kept, &previous).map_err(fail(&previous, "keep the generation before"))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail(kept, "keep the generation before")(error)),
        }
        self.disk.rename(fresh, &self.path).map_err(fail(&self.path, "replace"))?;
        self.disk.sync_directory(self.directory()).map_err(fail(self.directory(), "make durable"))
    }

    /// Removes what an earlier crash or a failed save left; a missing file is what we want.
    fn sweep(&self, leftovers: &[&Path]) {
        for path in leftovers {
            if let Err(error) = self.disk.remove(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "a left-over file cannot be removed");
            }
        }
    }
}

impl Store for FileStore {
    fn load(&self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.disk.read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Io { path: self.path.clone(), operation: "read", source }),
        }
    }

    fn save(&self, sealed: &[u8]) -> Result<(), StoreError> {
        let (fresh, kept) = (self.beside("new"), self.beside("kept"));
        self.sweep(&[&fresh, &kept]);
        let saved = self.replace(&fresh, &kept, sealed);
        if saved.is_err() {
            self.sweep(&[&fresh, &kept]);
        }
        saved
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn previous_generation(&self) -> Option<PathBuf> {
        let previous = self.previous();
        self.disk.read(&previous).is_ok().then_some(previous)
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileStore").field(&self.path).finish()
    }
}
