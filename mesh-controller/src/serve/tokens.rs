//! Join tokens for local accounts, as files that only their owner can read. A token is good for one key; when
//! it is used, the next one takes its place.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mesh_ca::attest::{Attesting, Attestor, Evidence, LocalTokenAttestor, TokenKey};
use mesh_model::SpiffeId;
use mesh_rt::SharedClock;

/// How long a token is good. All are replaced well before.
const LIFE: Duration = Duration::from_secs(12 * 3600);

/// A folder with one token per account: `<folder>/<namespace>/<account>`.
pub struct Tokens {
    attestor: LocalTokenAttestor,
    folder: PathBuf,
    offered: Mutex<BTreeSet<SpiffeId>>,
}

impl Tokens {
    /// Begins with an empty folder: tokens of an earlier process are not good any more.
    ///
    /// # Errors
    /// When the folder cannot be emptied or made.
    pub fn create(folder: impl Into<PathBuf>, clock: SharedClock) -> io::Result<Arc<Self>> {
        let folder = folder.into();
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => private_folder(&folder)?,
        }
        let attestor = LocalTokenAttestor::new(TokenKey::generate(), clock);
        Ok(Arc::new(Self { attestor, folder, offered: Mutex::default() }))
    }

    /// Offers a token to each of these identities and to no other.
    ///
    /// # Errors
    /// The first error of the file system; the other tokens are written all the same.
    pub fn offer(&self, identities: BTreeSet<SpiffeId>) -> io::Result<()> {
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = offered.difference(&identities).map(|id| self.withdraw(id));
        let new = identities.difference(&offered).map(|id| self.write(id));
        let outcome = gone.chain(new).fold(Ok(()), io::Result::and);
        *offered = identities;
        outcome
    }

    /// Replaces every token.
    ///
    /// # Errors
    /// As [`Self::offer`].
    pub fn renew(&self) -> io::Result<()> {
        let offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        offered.iter().map(|id| self.write(id)).fold(Ok(()), io::Result::and)
    }

    fn path(&self, id: &SpiffeId) -> Option<PathBuf> {
        let (namespace, account) = id.service_account()?;
        Some(self.folder.join(namespace).join(account))
    }

    fn withdraw(&self, id: &SpiffeId) -> io::Result<()> {
        self.path(id).map_or(Ok(()), fs::remove_file)
    }

    fn write(&self, id: &SpiffeId) -> io::Result<()> {
        let Some(path) = self.path(id) else { return Ok(()) };
        path.parent().map_or(Ok(()), private_folder)?;
        let token = self.attestor.mint(id, LIFE);
        replace(&path, token.expose().as_bytes(), 0o600)
    }
}

impl Attestor for Tokens {
    fn attest<'a>(&'a self, evidence: Evidence<'a>) -> Attesting<'a> {
        Box::pin(async move {
            let id = self.attestor.attest(evidence).await?;
            let offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner).contains(&id);
            if let (true, Err(error)) = (offered, self.write(&id)) {
                tracing::error!(%id, %error, "the next join token cannot be written");
            }
            Ok(id)
        })
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Puts a file in place as a whole, with these permissions from the beginning.
pub(super) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let fresh = path.with_file_name(name);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
    file.write_all(content)?;
    drop(file);
    fs::rename(&fresh, path)
}
