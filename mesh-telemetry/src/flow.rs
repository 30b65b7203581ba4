//! What is told of connections and UDP sessions whose contents are not read.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use mesh_model::Reason;

use super::Side;
use super::metrics::Labels;

/// What a flow is, as far as a proxy reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Bytes of a connection.
    Tcp,
    /// TLS that this proxy passes on, or that it ended for a listener whose bytes it does not read.
    Tls,
    /// The datagrams of one client at one port.
    Udp,
}

impl Protocol {
    /// The word used in logs and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
        }
    }
}

/// One connection or UDP session that is over.
#[derive(Debug, Clone)]
pub struct Flow<'a> {
    /// The side.
    pub side: Side,
    /// What it was.
    pub protocol: Protocol,
    /// When it began, by the wall clock.
    pub began: SystemTime,
    /// How long it lasted.
    pub took: Duration,
    /// Why it was refused or cut; `Accepted` when both sides ended it.
    pub reason: Reason,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// The client's address.
    pub client: SocketAddr,
    /// The server name that a TLS client asked for.
    pub server_name: Option<&'a str>,
    /// Identity of the client.
    pub source_identity: Option<&'a str>,
    /// Identity of the destination.
    pub destination_identity: Option<&'a str>,
    /// The route object, with its place.
    pub route: Option<String>,
    /// The upstream that it was joined to.
    pub upstream: Option<SocketAddr>,
    /// The labels of its metrics.
    pub labels: Labels,
}
