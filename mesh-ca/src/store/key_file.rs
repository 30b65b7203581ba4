//! The file that holds the key-encryption key: 64 hexadecimal digits, not readable by everybody.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::{SealingKey, StoreError};

/// Longest key file read, in bytes.
const LONGEST: u64 = 4096;

/// Reads and makes key files.
#[derive(Debug, Clone, Copy)]
pub struct KeyFile;

impl KeyFile {
    /// Reads the key.
    ///
    /// # Errors
    /// When the file is missing, readable by every user, or holds no key. The text names the file.
    pub fn load(path: &Path) -> Result<SealingKey, StoreError> {
        let fail = |source| io_error(path, "read", source);
        let file = File::open(path).map_err(fail)?;
        let mode = file.metadata().map_err(fail)?.permissions().mode() & 0o777;
        if mode & 0o007 != 0 {
            return Err(StoreError::KeyExposed { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::with_capacity(LONGEST as usize));
        file.take(LONGEST).read_to_string(&mut text).map_err(fail)?;
        SealingKey::from_hex(&text).map_err(|source| StoreError::KeyFile { path: path.to_owned(), source })
    }

    /// Makes a fresh key in a file that only its owner can read. Never replaces a file: the key in it may be
    /// the only one that opens a store.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn create(path: &Path) -> Result<SealingKey, StoreError> {
        let key = SealingKey::generate();
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        let mut file = file.map_err(|source| io_error(path, "create", source))?;
        let written = file.write_all(key.to_hex().as_bytes()).and_then(|()| file.write_all(b"\n"));
        if let Err(source) = written.and_then(|()| file.sync_all()) {
            // Half a key would refuse every later start; the error that matters is the first one.
            drop(std::fs::remove_file(path));
            return Err(io_error(path, "write", source));
        }
        Ok(key)
    }

    /// Reads the key, or makes one when the file is missing.
    ///
    /// # Errors
    /// As [`KeyFile::load`] and [`KeyFile::create`].
    pub fn load_or_create(path: &Path) -> Result<SealingKey, StoreError> {
        match Self::load(path) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::create(path)
            }
            found => found,
        }
    }
}

fn io_error(path: &Path, operation: &'static str, source: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), operation, source }
}
