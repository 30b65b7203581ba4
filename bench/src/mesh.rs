//! A local mesh that a benchmark starts from objects and ends as Ctrl-C does. What is asked of it is not decided here.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::http1::Running;

/// A gateway at port LISTEN whose only route leads to port 80 of the service `web`.
pub(crate) const EDGE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  gatewayClassName: mesh
  listeners: [{name: http, protocol: HTTP, port: LISTEN}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: bench, namespace: default}
spec:
  parentRefs: [{name: edge}]
  rules:
    - matches: [{path: {type: PathPrefix, value: /bench}}]
      backendRefs: [{name: web, port: 80}]
---
";

/// A folder of this process, removed when dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("mesh-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A mesh and the folder that describes it; both end with the value, and the programs of the mesh with it.
pub(crate) struct LocalMesh {
    folder: Folder,
    running: Running,
}

impl LocalMesh {
    /// Writes files into a folder of this name and begins to serve it. `command` is the call up to the folder.
    pub(crate) fn start(name: &str, mut command: Command, files: &[(&str, &str)]) -> io::Result<Self> {
        let folder = Folder::new(name)?;
        for (file, text) in files {
            std::fs::write(folder.0.join(file), text)?;
        }
        command.arg(&folder.0);
        Ok(Self { folder, running: Running::quietly(command)? })
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.running.0.id()
    }

    /// Puts another file in place as a whole.
    pub(crate) fn describe(&self, file: &str, text: &str) -> io::Result<()> {
        let new = self.folder.0.join(".new");
        std::fs::write(&new, text)?;
        std::fs::rename(&new, self.folder.0.join(file))
    }
}

impl Drop for LocalMesh {
    fn drop(&mut self) {
        let pid = self.id().to_string();
        let _ = Command::new("kill").args(["-INT", &pid]).status();
        let _ = self.running.0.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(mesh_rt::net::listen_tcp((Ipv4Addr::LOCALHOST, 0).into(), false)?.local_addr()?.port())
}

/// Asks until it is there, for a minute.
pub(crate) fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) -> io::Result<()> {
    for _ in 0..600 {
        if is_there() {
            return Ok(());
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    Err(io::Error::other(format!("{what} did not answer within a minute")))
}
