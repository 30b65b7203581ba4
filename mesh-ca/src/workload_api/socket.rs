//! The Unix socket of a workload: opened, limited and served. What is asked there is not known here.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::Server;
use tonic::transport::server::Connected;

use super::server::WorkloadApi;

/// Connections at a time; further ones are closed at once.
const CONNECTIONS: usize = 64;
/// Streams at a time on one connection.
const STREAMS: u32 = 16;
/// Longest metadata of a request, in bytes.
const METADATA: u32 = 16 << 10;
/// A client that does not answer for this long, twice, is gone.
const ALIVE: Duration = Duration::from_secs(20);
/// The pause after an accept that failed, as it does when file descriptors run out.
const PAUSE: Duration = Duration::from_millis(100);

/// Whom the socket's mode lets in; the folder it lies in decides first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callers {
    /// Whatever user an application runs as.
    Anyone,
    /// The user of this process.
    SameUser,
}

/// The socket of a workload, open but not yet served. Its file goes when it is dropped.
#[derive(Debug)]
pub struct Endpoint {
    listener: UnixListener,
    path: PathBuf,
}

impl Endpoint {
    /// Opens the socket, in place of one that an earlier process left. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the path is not absolute, or something else than a socket is there; else as the system says.
    pub fn bind(path: &Path, callers: Callers) -> io::Result<Self> {
        if !path.is_absolute() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path of the socket is not absolute",
            ));
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let endpoint = Self { listener: UnixListener::bind(path)?, path: path.to_owned() };
        let mode = match callers {
            Callers::Anyone => 0o666,
            Callers::SameUser => 0o600,
        };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        Ok(endpoint)
    }

    /// Where it is, as clients are told (SPIFFE Workload Endpoint, section 4).
    pub fn uri(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Serves until the future is dropped.
    ///
    /// # Errors
    /// When the transport fails as a whole; a broken connection is not an error.
    pub async fn serve(self, api: WorkloadApi) -> Result<(), tonic::transport::Error> {
        let mut server = Server::builder()
            .max_concurrent_streams(Some(STREAMS))
            .http2_max_header_list_size(Some(METADATA))
            .http2_keepalive_interval(Some(ALIVE))
            .http2_keepalive_timeout(Some(ALIVE));
        server.add_service(api).serve_with_incoming(self.incoming()).await
    }

    /// Connections, never more than there may be.
    fn incoming(self) -> impl Stream<Item = io::Result<Accepted>> {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        futures_util::stream::unfold((self, places), |(endpoint, places)| async move {
            loop {
                let stream = match endpoint.listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "a connection to the workload API cannot be accepted");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                };
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    return Some((Ok(Accepted { stream, _place: place }), (endpoint, places)));
                }
                tracing::debug!("a connection to the workload API is one too many");
            }
        })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // Whoever cleared the folder before was quicker.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Who holds the other end, as the kernel saw it when the connection was made (`SO_PEERCRED`). Only for the record: what
/// lets somebody in is that the socket can be reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    /// Its user.
    pub(super) user: u32,
    /// Its process, where it is in a namespace that this process sees.
    pub(super) process: Option<i32>,
}

/// An accepted connection, in its place.
#[derive(Debug)]
struct Accepted {
    stream: UnixStream,
    _place: OwnedSemaphorePermit,
}

impl Connected for Accepted {
    type ConnectInfo = Option<Caller>;

    fn connect_info(&self) -> Self::ConnectInfo {
        let credentials = self.stream.peer_cred().ok()?;
        Some(Caller { user: credentials.uid(), process: credentials.pid() })
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
