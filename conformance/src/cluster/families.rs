//! The families of addresses that a cluster has. How they reach its programs is in their settings.

use std::net::IpAddr;

use anyhow::bail;

use super::{NODE, NODE6};

/// The families of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Families {
    /// Both, IPv4 first.
    Both,
    /// IPv6 alone.
    Ipv6,
}

impl Families {
    /// # Errors
    /// For a word that names no families.
    pub(crate) fn parse(word: &str) -> anyhow::Result<Self> {
        match word {
            "both" => Ok(Self::Both),
            "ipv6" => Ok(Self::Ipv6),
            other => bail!("no families `{other}`; there are both and ipv6"),
        }
    }

    /// The ranges of services, the first one's first.
    pub(super) fn services(self) -> &'static [&'static str] {
        self.of(&["10.96.0.0/16", "fd00:96::/112"])
    }

    /// The ranges of pods.
    pub(super) fn pods(self) -> &'static [&'static str] {
        self.of(&["10.244.0.0/16", "fd00:244::/64"])
    }

    /// Where everything else is.
    pub(super) fn elsewhere(self) -> &'static [&'static str] {
        self.of(&["0.0.0.0/0", "::/0"])
    }

    fn of(self, both: &'static [&'static str; 2]) -> &'static [&'static str] {
        match self {
            Self::Both => both,
            Self::Ipv6 => &both[1..],
        }
    }

    /// The addresses of the node.
    pub(super) fn node(self) -> Vec<IpAddr> {
        match self {
            Self::Both => vec![NODE.into(), NODE6.into()],
            Self::Ipv6 => vec![NODE6.into()],
        }
    }

    /// The cluster's DNS server.
    pub(super) fn dns(self) -> &'static str {
        match self {
            Self::Both => "10.96.0.10",
            Self::Ipv6 => "fd00:96::a",
        }
    }
}
