//! What the launching process and its two helpers say to each other. Both ends are the same binary.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use mesh_rt::passing::{AsyncPackets, Packets};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::spec::Program;

/// To the broker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Open a socket bound to this address.
    Bind { address: SocketAddr, datagrams: bool },
    /// Make the namespaces; the descriptor is the supervisor's end.
    Open { hosts: String, listeners: usize, port: u16 },
    /// Make sockets for connections.
    Sockets { count: usize, ipv6: bool },
}

/// From the broker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The namespaces are there; the descriptors are the hosts file, then the listeners.
    Opened { ipv6: bool },
    /// The sockets that were asked for.
    Passed,
    /// It did not work.
    Refused { step: String, code: Option<i32>, text: String },
}

/// To the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Demand {
    /// Start the application, in place of one that still runs.
    Start(Program),
}

/// From the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The application ended: exit code, or signal.
    Ended { code: Option<i32>, signal: Option<i32> },
    /// It could not be started.
    NotStarted { code: Option<i32>, text: String },
    /// It runs; the descriptor is its pidfd.
    Started,
}

fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec(message).map_err(io::Error::other)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Says something in a helper.
pub(super) fn say(packets: &Packets, message: &impl Serialize, passed: &[BorrowedFd<'_>]) -> io::Result<()> {
    packets.send(&encode(message)?, passed)
}

/// Hears something in a helper; `None` when the launching process is gone.
pub(super) fn hear<T: DeserializeOwned>(packets: &Packets) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let Some(packet) = packets.receive()? else { return Ok(None) };
    Ok(Some((decode(&packet.bytes)?, packet.descriptors)))
}

/// Says something to a helper.
pub(super) async fn say_to(
    packets: &AsyncPackets,
    message: &impl Serialize,
    passed: &[BorrowedFd<'_>],
) -> io::Result<()> {
    packets.send(&encode(message)?, passed).await
}

/// Hears something from a helper; `None` when it is gone. May be dropped without losing a message.
pub(super) async fn hear_from<T: DeserializeOwned>(
    packets: &AsyncPackets,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let received = match packets.receive().await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
        other => other?,
    };
    let Some(packet) = received else { return Ok(None) };
    Ok(Some((decode(&packet.bytes)?, packet.descriptors)))
}
