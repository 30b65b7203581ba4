//! What an upstream connection is: its key in pools, and the seam through which connections are made.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mesh_model::tls::{BackendTls, Certificate};
use mesh_model::{Reason, SpiffeId};
use tokio::io::{AsyncRead, AsyncWrite};

/// What is spoken on an upstream connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge, or by ALPN inside TLS.
    Http2,
    /// Opaque bytes.
    Opaque,
}

/// How an upstream connection is secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// A socket inside the workload's own network namespace, to its application.
    Application,
    /// Mutual TLS of the mesh; exactly this identity must answer.
    Mesh(SpiffeId),
    /// Nothing.
    Plain,
    /// TLS by a policy of the backend, with the certificate that is shown to it.
    Tls(Arc<BackendTls>, Option<Arc<Certificate>>),
}

impl std::hash::Hash for Security {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Application | Self::Plain => {}
            Self::Mesh(identity) => identity.hash(state),
            Self::Tls(policy, _) => policy.key.hash(state),
        }
    }
}

/// An upstream: where, how secured, what is spoken. The key of connection pools.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// The address to dial.
    pub address: SocketAddr,
    /// What protects the connection.
    pub security: Security,
    /// What is spoken on it.
    pub speaks: Speaks,
}

/// Why an upstream connection could not be made. Nothing was sent on it, so another try is always safe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The peer proved another identity than the expected one, or none.
    #[error("{address} did not prove the expected identity: {problem}")]
    Identity {
        /// The address.
        address: SocketAddr,
        /// What TLS said.
        problem: String,
    },
    /// The address left its service, which has others, before the connection was made.
    #[error("{0} left its service while it was connected to")]
    Gone(SocketAddr),
    /// The connection was refused or reset.
    #[error("cannot connect to {address}: {problem}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        problem: io::Error,
    },
    /// The peer takes HTTP/2 alone, where HTTP/1 was to be spoken.
    #[error("{0} takes HTTP/2 alone")]
    OnlyHttp2(SocketAddr),
    /// It took longer than the limit.
    #[error("connecting to {0} took too long")]
    TimedOut(SocketAddr),
}

impl ConnectError {
    /// The reason shown in decisions, logs and metrics.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Identity { .. } => Reason::UpstreamIdentity,
            Self::Gone(_) | Self::Io { .. } | Self::OnlyHttp2(_) => Reason::UpstreamConnect,
            Self::TimedOut(_) => Reason::Timeout,
        }
    }
}

/// Makes upstream connections. A worker has one; it is not shared between threads.
pub trait Connect: Clone + 'static {
    /// The connection.
    type Io: AsyncRead + AsyncWrite + Unpin + 'static;

    /// Connects and, where the upstream asks for it, completes the TLS handshake.
    fn connect(&self, upstream: &Upstream) -> impl Future<Output = Result<Self::Io, ConnectError>>;
}
