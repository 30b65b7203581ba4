//! The sealed key store: an authenticated, encrypted file that is replaced as a whole or not at all.
//!
//! [`seal`] and [`open`] are the envelope, [`KeyFile`] the key that opens it, [`Store`] where the sealed
//! bytes lie, [`FileStore`] the store on a disk. Nothing here knows what is sealed.

mod disk;
mod file;
mod key_file;
mod sealed;

use std::io;
use std::path::PathBuf;

pub use disk::{Disk, RealDisk};
pub use file::FileStore;
pub use key_file::KeyFile;
pub use sealed::{SealingKey, SealingKeyError, UnsealError, Unsealed, generation, open, seal};

/// Where sealed bytes lie. An implementation replaces them as a whole: after an error, and after a crash at
/// any moment, [`Store::load`] finds the last bytes whose save returned, or later ones.
pub trait Store: Send + Sync + 'static {
    /// The bytes saved last; `None` when nothing was ever saved.
    ///
    /// # Errors
    /// When they cannot be read.
    fn load(&self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Replaces the bytes.
    ///
    /// # Errors
    /// When they could not be made durable; the old ones are intact then.
    fn save(&self, sealed: &[u8]) -> Result<(), StoreError>;

    /// The name to show to an operator.
    fn name(&self) -> String;

    /// Where the bytes saved before the last ones are kept, if they are.
    fn previous_generation(&self) -> Option<PathBuf> {
        None
    }
}

/// Why the store could not be read or written. Every text names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// An operation on the file system failed.
    #[error("{path}: cannot {operation}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, such as `write`.
        operation: &'static str,
        /// What the system said, such as no space left on device.
        source: io::Error,
    },
    /// The key file can be read by every user of the machine.
    #[error("{path}: the key file is readable by everybody (mode {mode:o}): set it to 600")]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file is not a key.
    #[error("{path}: {source}")]
    KeyFile {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        source: SealingKeyError,
    },
    /// The sealed bytes cannot be opened: another key, or damage.
    #[error("{name}: {source}{}", hint(.previous.as_ref()))]
    Sealed {
        /// The store.
        name: String,
        /// Another key, or which damage.
        source: UnsealError,
        /// Where the generation before lies, if there is one.
        previous: Option<PathBuf>,
    },
}

fn hint(previous: Option<&PathBuf>) -> String {
    previous.map_or_else(String::new, |path| {
        format!(" (the generation before is in {}; restore it by hand if it is wanted)", path.display())
    })
}

#[cfg(test)]
mod tests;
