//! What two processes say to each other while one takes the other's place: a greeting that every version understands,
//! then questions, each with its answer. Descriptors travel beside the answers.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use mesh_capture::NamespaceId;
use mesh_rt::passing::AsyncPackets;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of all that follows the greeting. Processes of different versions hand nothing over.
pub(super) const VERSION: u32 = 1;
/// How long the other side may take for a word. It has other work, but none that takes long.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The first word of both sides, the asker's first. Other versions may add to it; they change nothing of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Greeting {
    pub(super) version: u32,
}

/// From the process that takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Question {
    /// It ends: does the other one go on?
    Ending,
    /// It serves a pod.
    Serves { namespace: NamespaceId },
    /// It serves all pods.
    Settled,
    /// It wants to serve a pod.
    Take { namespace: NamespaceId },
}

/// From the process that hands over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The sockets of the pod come with this.
    Given,
    /// This process ends.
    Leaves,
    /// It was noted.
    Noted,
    /// This process does not serve the pod.
    Nothing,
    /// This process goes on.
    Stays,
}

/// Says something. It never waits long: a message fits into the socket.
pub(super) async fn say(
    to: &AsyncPackets,
    message: &impl Serialize,
    passed: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message).map_err(io::Error::other)?;
    tokio::time::timeout(PATIENCE, to.send(&bytes, passed)).await?
}

/// Hears something; the end of the other side is an error.
pub(super) async fn hear<T: DeserializeOwned>(from: &AsyncPackets) -> io::Result<(T, Vec<OwnedFd>)> {
    let packet = from.receive().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    Ok((serde_json::from_slice(&packet.bytes).map_err(invalid)?, packet.descriptors))
}

/// Hears something before patience ends.
pub(super) async fn hear_soon<T: DeserializeOwned>(from: &AsyncPackets) -> io::Result<(T, Vec<OwnedFd>)> {
    tokio::time::timeout(PATIENCE, hear(from)).await?
}

/// Whether the process at the other end runs as the same user, which for a proxy of a node is root.
pub(super) fn is_ours(peer: &AsyncPackets) -> bool {
    peer.peer_user().is_ok_and(|user| user == rustix::process::geteuid().as_raw())
}
