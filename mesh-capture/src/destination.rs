//! Where a captured connection was to go, and the guard against a connection that is our own.

use std::io;
use std::net::SocketAddr;

use mesh_rt::net::{canonical, original_destination};
use tokio::net::TcpStream;

/// Why an accepted connection has no destination.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// The client is gone already.
    #[error("the connection ended before it was looked at: {0}")]
    Gone(#[from] io::Error),
    /// Somebody dialled our listener itself; to go on would be a loop.
    #[error("the connection was made to our own listener {0}, not captured")]
    Ours(SocketAddr),
}

/// The address that the client of a redirected connection dialled, IPv4 also when the listener is `[::]`.
///
/// # Errors
/// The connection was not redirected. It must be closed: nothing says where it should go.
pub fn destination(stream: &TcpStream) -> Result<SocketAddr, DestinationError> {
    let ours = canonical(stream.local_addr()?);
    match original_destination(stream).map(canonical) {
        Some(found) if found != ours => Ok(found),
        // Without a redirect the kernel has no answer, or gives the address at which we were dialled.
        _ => Err(DestinationError::Ours(ours)),
    }
}
