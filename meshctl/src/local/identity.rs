//! The SPIFFE Workload API of one replica: a folder of its own with a socket, at which its program gets the replica's
//! identity. In namespaces no other replica sees the folder; on explicit ports every program of this user does.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_ca::rotate::InProcess;
use mesh_ca::workload_api::{Callers, ENDPOINT_VARIABLE, Endpoint, SOCKET_NAME, WorkloadApi};
use tokio::task::JoinHandle;

use super::control::ControlPlane;
use super::member::Member;

/// The folders of all replicas of this process.
pub(crate) fn folders() -> PathBuf {
    crate::config::runtime_folder().join(format!("workloads-{}", std::process::id()))
}

/// A socket that is served. Folder and socket go when it is dropped.
pub(crate) struct IdentitySocket {
    folder: PathBuf,
    uri: String,
    serving: JoinHandle<()>,
}

impl IdentitySocket {
    /// Opens the socket of a replica, whose name is used once in `folders`.
    pub(crate) fn open(
        folders: &Path,
        replica: &str,
        member: &Member,
        control: &ControlPlane,
    ) -> io::Result<Self> {
        let folder = folders.join(replica);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let endpoint = Endpoint::bind(&folder.join(SOCKET_NAME), Callers::SameUser)?;
        let uri = endpoint.uri();
        let issuance = InProcess::new(Arc::clone(&control.authority), member.id.clone());
        let api = WorkloadApi::new(member.tls.clone(), issuance);
        let serving = tokio::spawn(async move {
            if let Err(error) = endpoint.serve(api).await {
                tracing::warn!(%error, "a workload API is served no longer");
            }
        });
        Ok(Self { folder, uri, serving })
    }

    /// The folder that the program must see.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What tells the program where the socket is.
    pub(crate) fn variable(&self) -> (OsString, OsString) {
        (ENDPOINT_VARIABLE.into(), self.uri.clone().into())
    }
}

impl Drop for IdentitySocket {
    fn drop(&mut self) {
        self.serving.abort();
        // The folder of all goes with the last one.
        let _ = std::fs::remove_dir_all(&self.folder);
        let _ = self.folder.parent().map(std::fs::remove_dir);
    }
}
