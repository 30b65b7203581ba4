//! The file: read with limits, replaced as a whole. What is in it is the format's business.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{FormatError, Held, LastGood, SealError, Sealer, read, write};

/// Where a snapshot lives and what is accepted there.
#[derive(Clone)]
pub struct Store {
    path: PathBuf,
    sealer: Arc<dyn Sealer>,
    max_bytes: u64,
    max_age: Duration,
}

/// Why a snapshot was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file is not an intact snapshot.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The snapshot cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The snapshot is larger than allowed.
    #[error("{bytes} bytes are more than {allowed}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// What is allowed.
        allowed: u64,
    },
    /// The snapshot is older than allowed.
    #[error("the snapshot is {} s old; {} s are allowed", .age.as_secs(), .allowed.as_secs())]
    TooOld {
        /// Its age.
        age: Duration,
        /// What is allowed.
        allowed: Duration,
    },
}

impl Store {
    /// A store for the file at `path`, which may have 256 MiB and be a day old.
    pub fn new(path: impl Into<PathBuf>, sealer: Arc<dyn Sealer>) -> Self {
        Self { path: path.into(), sealer, max_bytes: 256 << 20, max_age: Duration::from_secs(24 * 3600) }
    }

    /// With other limits.
    pub fn limited(self, max_bytes: u64, max_age: Duration) -> Self {
        Self { max_bytes, max_age, ..self }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the snapshot; `None` when there is no file.
    ///
    /// # Errors
    /// [`StoreError`] when there is one that cannot be used, whole and fresh.
    pub fn load(&self, now: SystemTime) -> Result<Option<LastGood>, StoreError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        file.take(self.max_bytes + 1).read_to_end(&mut bytes)?;
        self.check_size(bytes.len())?;
        let last = read(&self.sealer.open(bytes)?)?;
        let age = last.age(now);
        if age > self.max_age {
            return Err(StoreError::TooOld { age, allowed: self.max_age });
        }
        Ok(Some(last))
    }

    /// Replaces the snapshot: written beside, synced, renamed. Readers see the old or the new one; after an error,
    /// such as a full disk, the old one is still there. Blocks on the file system.
    ///
    /// # Errors
    /// [`StoreError`] of the step that failed.
    pub fn save<'a>(
        &self,
        now: SystemTime,
        resources: impl IntoIterator<Item = &'a Held>,
    ) -> Result<(), StoreError> {
        let bytes = self.sealer.seal(write(now, resources))?;
        self.check_size(bytes.len())?;
        let beside = self.beside();
        let replaced = replace(&beside, &self.path, &bytes);
        if replaced.is_err() {
            _ = std::fs::remove_file(&beside); // may not exist; the first error is the one to report
        }
        Ok(replaced?)
    }

    fn beside(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        self.path.with_file_name(name)
    }

    fn check_size(&self, bytes: usize) -> Result<(), StoreError> {
        let (bytes, allowed) = (bytes as u64, self.max_bytes);
        if bytes > allowed { Err(StoreError::TooLarge { bytes, allowed }) } else { Ok(()) }
    }
}

fn replace(beside: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    match std::fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // `create_new` follows no link that someone else has put there.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}
