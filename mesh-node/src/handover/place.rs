//! The folder in which processes meet: nobody else may write there, or somebody else could be met.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mesh_rt::passing::PacketListener;
use mesh_rt::random::Fast;

/// The folder below the given one, which other programs of the user may share.
const FOLDER: &str = "handover";
/// The socket of the process that hands over.
const SOCKET: &str = "sockets";
/// Writing by group or others.
const WRITE: u32 = 0o022;
/// All that group or others may do.
const ANYTHING: u32 = 0o077;

/// Why nobody can be met in a folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// Others may write there.
    #[error("{path} is not this process's alone: it belongs to user {user} and has mode {mode:o}", path = .path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        user: u32,
        /// Its permissions.
        mode: u32,
    },
    /// It cannot be made or looked at.
    #[error("{path}: {problem}", path = .path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        problem: io::Error,
    },
}

/// A folder that is this user's alone.
#[derive(Debug, Clone)]
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn prepare(given: &Path) -> Result<Self, PlaceError> {
        check(given, WRITE)?;
        let folder = given.join(FOLDER);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(problem) if problem.kind() != io::ErrorKind::AlreadyExists => {
                return Err(PlaceError::Unusable { path: folder, problem });
            }
            _ => {}
        }
        check(&folder, ANYTHING)?;
        Ok(Self(folder))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.join(SOCKET)
    }

    /// Listens in place of whoever listened there before.
    pub(super) fn listen(&self) -> io::Result<PacketListener> {
        let fresh = self.0.join(format!("{:016x}", Fast::from_entropy().next_u64()));
        let listener = PacketListener::bind(&fresh)?;
        std::fs::rename(&fresh, self.path())?;
        Ok(listener)
    }
}

fn check(path: &Path, forbidden: u32) -> Result<(), PlaceError> {
    let unusable = |problem| PlaceError::Unusable { path: path.to_owned(), problem };
    // A link may lead anywhere, later.
    let found: Metadata = std::fs::symlink_metadata(path).map_err(unusable)?;
    if !found.is_dir() {
        return Err(unusable(io::ErrorKind::NotADirectory.into()));
    }
    let (user, mode) = (found.uid(), found.permissions().mode() & 0o7777);
    if user != rustix::process::geteuid().as_raw() || mode & forbidden != 0 {
        return Err(PlaceError::Open { path: path.to_owned(), user, mode });
    }
    Ok(())
}
