//! The socket through which `meshctl status` asks a running mesh. One report per connection, no commands.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::report::Report;

/// A report is never larger than this, in bytes.
const LARGEST: u64 = 64 << 20;

/// The socket of a running mesh; the file goes when it is dropped.
pub(crate) struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl StatusSocket {
    /// Opens the socket in a folder that only this user may enter.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        if std::fs::metadata(folder)?.permissions().mode() & 0o077 != 0 {
            return Err(io::Error::other(format!("{} is open to other users", folder.display())));
        }
        let path = folder.join(format!("{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Ok(Self { listener: UnixListener::bind(&path)?, path })
    }

    /// Answers every connection with the current report.
    pub(crate) async fn serve(&self, report: watch::Receiver<Report>) -> io::Result<()> {
        loop {
            let (mut stream, _) = self.listener.accept().await?;
            let text = serde_json::to_vec(&*report.borrow()).map_err(io::Error::other)?;
            tokio::task::spawn_local(async move {
                // A reader that goes away early needs no answer.
                let _ = stream.write_all(&text).await;
            });
        }
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The reports of all meshes that run in a folder, ordered by process. Sockets nobody serves are passed over.
pub(crate) async fn ask_all(folder: &Path) -> io::Result<Vec<(u32, Report)>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let pid = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let (Some(pid), Ok(stream)) = (pid, UnixStream::connect(&path).await) else { continue };
        let mut text = Vec::new();
        stream.take(LARGEST).read_to_end(&mut text).await?;
        found.push((pid, serde_json::from_slice(&text).map_err(io::Error::other)?));
    }
    found.sort_by_key(|(pid, _)| *pid);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_running_mesh_answers_and_a_stopped_one_is_not_listed() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let folder = std::env::temp_dir().join(format!("meshctl-socket-{}", std::process::id()));
                let socket = StatusSocket::open(&folder).expect("opens");
                let (_sender, report) =
                    watch::channel(Report { path: "examples".to_owned(), ..Report::default() });
                let serving = tokio::task::spawn_local(async move { socket.serve(report).await });
                let all = ask_all(&folder).await.expect("asks");
                assert_eq!(all.iter().map(|(_, r)| r.path.as_str()).collect::<Vec<_>>(), ["examples"]);
                serving.abort();
                let _ = serving.await;
                assert!(ask_all(&folder).await.expect("asks").is_empty());
                std::fs::remove_dir_all(&folder).expect("removed");
            })
            .await;
    }
}
