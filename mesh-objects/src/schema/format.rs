//! Formats of texts: names, addresses, times. Each says in words what would be right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Deserialize;

use crate::scalar::{self, Timestamp};

/// A format that a text must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Format {
    Byte,
    Cidr,
    ClusterIp,
    ConfigKey,
    DateTime,
    DnsLabel,
    DnsSubdomain,
    #[serde(rename = "int32")]
    Int32,
    #[serde(rename = "int64")]
    Int64,
    Ip,
    IpOrCidr,
    #[serde(rename = "ipv4")]
    Ipv4,
    #[serde(rename = "ipv6")]
    Ipv6,
    LabelKey,
    LabelValue,
    Port,
    PortName,
}

impl Format {
    /// Whether a text has the format. Formats of numbers accept every text.
    pub(super) fn accepts(self, text: &str) -> bool {
        match self {
            Self::Byte => scalar::base64_decode(text.as_bytes()).is_some(),
            Self::Cidr => text.parse::<IpNet>().is_ok(),
            Self::ClusterIp => text.is_empty() || text == "None" || is_ip(text),
            Self::ConfigKey => is_config_key(text),
            Self::DateTime => text.parse::<Timestamp>().is_ok(),
            Self::DnsLabel => is_dns_label(text),
            Self::DnsSubdomain => is_dns_subdomain(text),
            Self::Int32 | Self::Int64 => true,
            Self::Ip => is_ip(text),
            Self::IpOrCidr => is_ip(text) || text.parse::<IpNet>().is_ok(),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::LabelKey => is_label_key(text),
            Self::LabelValue => text.is_empty() || is_qualified_part(text),
            Self::Port => text.parse::<u16>().is_ok_and(|port| port > 0 && port.to_string() == text),
            Self::PortName => is_port_name(text),
        }
    }

    /// What would be right.
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Self::Byte => "base64 with padding (RFC 4648)",
            Self::Cidr => "an address range such as 10.0.0.0/8",
            Self::ClusterIp => "an IP address or None",
            Self::ConfigKey => "at most 253 letters, digits, '-', '_' and '.', and neither . nor ..",
            Self::DateTime => "a time such as 2026-01-31T12:00:00Z",
            Self::DnsLabel => {
                "at most 63 lower-case letters, digits and '-', with a letter or digit at both ends"
            }
            Self::DnsSubdomain => {
                "at most 253 lower-case letters, digits, '-' and '.', with a letter or digit at both ends of each part"
            }
            Self::Int32 => "a number of 32 bits",
            Self::Int64 => "a number of 64 bits",
            Self::Ip => "an IP address",
            Self::IpOrCidr => "an IP address, or a range such as 10.0.0.0/8",
            Self::Ipv4 => "an IPv4 address",
            Self::Ipv6 => "an IPv6 address",
            Self::LabelKey => {
                "a name of at most 63 letters, digits, '-', '_' and '.', with an optional DNS name and '/' in front"
            }
            Self::LabelValue => {
                "at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends"
            }
            Self::Port => "a port from 1 to 65535, as text",
            Self::PortName => "at most 15 lower-case letters, digits and '-', with at least one letter",
        }
    }
}

/// Whether a text is an IP address of either family.
pub(super) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// A DNS label (RFC 1123, section 2.1).
pub(super) fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edge = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().all(|b| inner(*b)) && edge(bytes.first()) && edge(bytes.last())
}

/// A DNS label that begins with a letter (RFC 1035, section 2.3.1).
pub(super) fn is_service_name(text: &str) -> bool {
    is_dns_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

/// A DNS name as Kubernetes takes it for names: parts may be longer than 63 characters.
pub(super) fn is_dns_subdomain(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edge = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
    let part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.iter().all(|b| inner(*b)) && edge(bytes.first()) && edge(bytes.last())
    };
    text.len() <= 253 && text.split('.').all(part)
}

/// The key of a label, or another qualified name.
pub(super) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_qualified_part(name),
        None => is_qualified_part(text),
    }
}

fn is_qualified_part(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().all(|b| inner(*b)) && edge(bytes.first()) && edge(bytes.last())
}

fn is_config_key(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let reserved = text == "." || text.starts_with("..");
    (1..=253).contains(&text.len()) && text.bytes().all(allowed) && !reserved
}

/// A port name (RFC 6335, section 5.1).
fn is_port_name(text: &str) -> bool {
    text.len() <= 15
        && is_dns_label(text)
        && !text.contains("--")
        && text.bytes().any(|b| b.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_accept_what_kubernetes_accepts() {
        let long = "a".repeat(64);
        let table = [
            (Format::DnsLabel, "a-1", true),
            (Format::DnsLabel, "A", false),
            (Format::DnsLabel, "-a", false),
            (Format::DnsLabel, "", false),
            (Format::DnsLabel, &long, false),
            (Format::DnsSubdomain, "a.b-c.d", true),
            (Format::DnsSubdomain, &long, true),
            (Format::DnsSubdomain, "a..b", false),
            (Format::DnsSubdomain, "a.", false),
            (Format::LabelKey, "app", true),
            (Format::LabelKey, "example.com/App_1", true),
            (Format::LabelKey, "example.com/", false),
            (Format::LabelKey, "a/b/c", false),
            (Format::LabelValue, "", true),
            (Format::LabelValue, "a b", false),
            (Format::ConfigKey, "ca.crt", true),
            (Format::ConfigKey, "..", false),
            (Format::Ip, "::1", true),
            (Format::Ip, "1.1.1", false),
            (Format::Cidr, "10.0.0.0/8", true),
            (Format::Cidr, "10.0.0.0", false),
            (Format::ClusterIp, "None", true),
            (Format::Port, "80", true),
            (Format::Port, "080", false),
            (Format::Port, "65536", false),
            (Format::PortName, "http-1", true),
            (Format::PortName, "80", false),
            (Format::Byte, "YQ==", true),
            (Format::Byte, "YQ", false),
        ];
        for (format, text, expected) in table {
            assert_eq!(format.accepts(text), expected, "{format:?} {text:?}");
        }
        assert!(is_service_name("a1") && !is_service_name("1a"));
    }
}
