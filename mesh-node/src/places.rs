//! The network namespaces of a node: files in a folder, each one a namespace, and the addresses in it. Whose it is is
//! decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use mesh_capture::{Namespace, NamespaceId};

use crate::plan::Found;

/// The folder, and what was in it at the last look.
#[derive(Debug)]
pub struct Places {
    folder: PathBuf,
    known: BTreeMap<OsString, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    id: NamespaceId,
    addresses: BTreeSet<IpAddr>,
}

/// Why the folder's namespaces are not known. What cannot be read may be the second one with an address, so nothing is
/// decided then.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}", path = .path.display())]
pub struct Unread {
    /// The folder, or a file in it.
    pub path: PathBuf,
    /// What the system said.
    pub problem: io::Error,
}

impl Places {
    /// The namespaces in a folder.
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), known: BTreeMap::new() }
    }

    /// Looks at all of them. Addresses are read anew except in those that are `settled`.
    ///
    /// # Errors
    /// The folder or a namespace cannot be read. One that goes away meanwhile is no error.
    pub fn look(&mut self, settled: &BTreeSet<NamespaceId>) -> Result<Found, Unread> {
        let mut known = BTreeMap::new();
        let unread = |path: &Path| {
            let path = path.to_owned();
            move |problem| Unread { path, problem }
        };
        for entry in std::fs::read_dir(&self.folder).map_err(unread(&self.folder))? {
            let entry = entry.map_err(unread(&self.folder))?;
            let name = entry.file_name();
            match self.one(&name, &entry.path(), settled) {
                Ok(Some(found)) => drop(known.insert(name, found)),
                Ok(None) => {}
                Err(problem) if problem.kind() == io::ErrorKind::NotFound => {}
                Err(problem) => return Err(Unread { path: entry.path(), problem }),
            }
        }
        self.known = known;
        // A namespace with two names is one.
        Ok(self.known.values().map(|known| (known.id, known.addresses.clone())).collect())
    }

    fn one(
        &self,
        name: &OsString,
        path: &Path,
        settled: &BTreeSet<NamespaceId>,
    ) -> io::Result<Option<Known>> {
        let id = Namespace::id_at(path)?;
        if let Some(known) = self.known.get(name).filter(|known| known.id == id && settled.contains(&id)) {
            return Ok(Some(known.clone()));
        }
        let Some(namespace) = Namespace::open(path)? else { return Ok(None) };
        Ok(Some(Known { id: namespace.id()?, addresses: namespace.addresses()? }))
    }

    /// Opens a namespace of the last look; `None` when it is gone since.
    ///
    /// # Errors
    /// It cannot be entered.
    pub fn open(&self, id: NamespaceId) -> io::Result<Option<Namespace>> {
        let Some((name, _)) = self.known.iter().find(|(_, known)| known.id == id) else { return Ok(None) };
        let namespace = match Namespace::open(&self.folder.join(name)) {
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        let same = |namespace: &Namespace| namespace.id().is_ok_and(|found| found == id);
        Ok(namespace.filter(same))
    }
}
