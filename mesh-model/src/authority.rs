//! The authority of a request, in one canonical form (RFC 9110, section 7.2; RFC 3986, section 3.2).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an authority that a request may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A character that a host cannot hold.
    #[error("the host holds a character that is not allowed")]
    Character,
    /// No host.
    #[error("the host is empty")]
    Empty,
    /// Longer than 255 bytes with its port.
    #[error("the host is longer than 255 bytes")]
    Length,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// User information before the host.
    #[error("user information is not allowed in a host")]
    UserInfo,
}

/// Host and optional port. The host is lower case and has no trailing dot, so that two spellings of one host
/// cannot be told apart by a route or policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Authority {
    host: String,
    port: Option<u16>,
}

impl Authority {
    /// The host: a name, an IPv4 address, or an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if one was written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl FromStr for Authority {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, AuthorityError> {
        if text.len() > 255 {
            return Err(AuthorityError::Length);
        }
        // Names in their canonical form are most of what comes; one look at each byte tells.
        if is_canonical(text.as_bytes()) {
            return Ok(Self { host: text.to_owned(), port: None });
        }
        if text.contains('@') {
            return Err(AuthorityError::UserInfo);
        }
        let (host, port) = split(text)?;
        let port = port.map(parse_port).transpose()?;
        let host = host.strip_suffix('.').unwrap_or(host);
        match host {
            "" => Err(AuthorityError::Empty),
            _ if host.starts_with('[') => bracketed(host).map(|host| Self { host, port }),
            _ if has_empty_label(host.as_bytes()) => Err(AuthorityError::Character),
            _ if host.bytes().all(is_host_byte) => Ok(Self { host: host.to_ascii_lowercase(), port }),
            _ => Err(AuthorityError::Character),
        }
    }
}

/// Whether a text is a name in lower case without a port.
fn is_canonical(text: &[u8]) -> bool {
    let mut before = b'.';
    for byte in text {
        let fits = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => true,
            b'.' => before != b'.',
            _ => false,
        };
        if !fits {
            return false;
        }
        before = *byte;
    }
    before != b'.'
}

fn has_empty_label(host: &[u8]) -> bool {
    host.starts_with(b".") || host.ends_with(b".") || host.windows(2).any(|pair| pair == b"..")
}

fn is_host_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

fn split(text: &str) -> Result<(&str, Option<&str>), AuthorityError> {
    if text.starts_with('[') {
        let end = text.find(']').ok_or(AuthorityError::Character)? + 1;
        return match &text[end..] {
            "" => Ok((text, None)),
            rest => Ok((&text[..end], Some(rest.strip_prefix(':').ok_or(AuthorityError::Character)?))),
        };
    }
    Ok(text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))))
}

fn parse_port(text: &str) -> Result<u16, AuthorityError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let port = digits.then(|| text.parse().ok()).flatten().filter(|port| *port != 0);
    port.ok_or(AuthorityError::Port)
}

fn bracketed(host: &str) -> Result<String, AuthorityError> {
    let inside = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).ok_or(AuthorityError::Character)?;
    let address: std::net::Ipv6Addr = inside.parse().map_err(|_| AuthorityError::Character)?;
    Ok(format!("[{address}]"))
}

impl TryFrom<String> for Authority {
    type Error = AuthorityError;
    fn try_from(text: String) -> Result<Self, AuthorityError> {
        text.parse()
    }
}

impl From<Authority> for String {
    fn from(authority: Authority) -> Self {
        authority.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_has_one_spelling() {
        let cases = [
            ("Shop.Example", "shop.example"),
            ("a.b.:80", "a.b:80"),
            ("[::0:1]:8080", "[::1]:8080"),
            ("10.0.0.1", "10.0.0.1"),
            ("a_b", "a_b"),
            ("a-0.b", "a-0.b"),
            ("a.b.", "a.b"),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Authority>().map(|a| a.to_string()), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn ambiguous_authorities_are_refused() {
        for text in [
            "", ".", "a..b", ".a", "a..", ":80", "a:", "a:0", "a:65536", "a:+1", "a,b", "u@h", "a b", "a/b",
            "[::1", "[::1]x", "::1", "a%2fb", "a\0", "\u{e9}",
        ] {
            assert!(text.parse::<Authority>().is_err(), "{text:?}");
        }
    }
}
