//! Session persistence (GEP-1619) as values: what carries a session, how long it lives, and the keys that seal it. What
//! is in the cookie or header, and how an endpoint is found by it, is the proxy's.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::filter::HeaderKey;
use crate::route::Rule;
use crate::source::SourceRef;

/// How requests of one client find the endpoint that served it first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The object that says so.
    pub source: SourceRef,
    /// Where the client keeps it.
    pub carrier: SessionCarrier,
    /// How long after its beginning it ends; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute_timeout: Option<Duration>,
    /// The first one seals, all of them open. Without any there are no sessions.
    #[serde(skip)]
    pub keys: Vec<SessionKey>,
}

/// Where a client keeps its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SessionCarrier {
    /// In a cookie (RFC 6265).
    Cookie {
        /// Its name.
        name: CookieName,
        /// The paths that it is sent for.
        path: CookiePath,
        /// Whether the client keeps it beyond its own session: as long as the absolute timeout says.
        permanent: bool,
    },
    /// In a header, which it repeats in its requests.
    Header(SessionHeader),
}

/// The name of a cookie: a token (RFC 6265, section 4.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CookieName(Arc<str>);

/// The path of a cookie: absolute, and nothing in it ends the attribute (RFC 6265, section 4.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CookiePath(Arc<str>);

/// A header that may carry a session: none that means something else, or that no client can send.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionHeader(HeaderKey);

/// Why a name or path cannot carry a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// No cookie has this name.
    #[error("{0:?} is no name of a cookie: a token of RFC 9110 is")]
    Name(String),
    /// No cookie has this path.
    #[error(
        "{0:?} is no path of a cookie: it begins with a slash and holds no semicolon and no control character"
    )]
    Path(String),
    /// The header has another meaning, or clients cannot send it.
    #[error("header {0:?} cannot carry a session")]
    Header(String),
}

/// Longest name of a cookie or header, as the Gateway API has it.
const MAX_NAME: usize = 256;
/// Longest path of a cookie, as the Gateway API has it.
const MAX_PATH: usize = 1024;

impl CookieName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CookiePath {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SessionHeader {
    /// The name of the header.
    pub fn name(&self) -> &http::HeaderName {
        &self.0.0
    }
}

fn is_token(text: &str) -> bool {
    let is_mark = |b: u8| b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || is_mark(b))
}

impl FromStr for CookieName {
    type Err = SessionError;

    fn from_str(text: &str) -> Result<Self, SessionError> {
        if is_token(text) { Ok(Self(Arc::from(text))) } else { Err(SessionError::Name(text.to_owned())) }
    }
}

impl FromStr for CookiePath {
    type Err = SessionError;

    fn from_str(text: &str) -> Result<Self, SessionError> {
        let plain = text.bytes().all(|b| (b.is_ascii_graphic() || b == b' ') && b != b';');
        match text.starts_with('/') && plain && text.len() <= MAX_PATH && !text.ends_with(' ') {
            true => Ok(Self(Arc::from(text))),
            false => Err(SessionError::Path(text.to_owned())),
        }
    }
}

impl FromStr for SessionHeader {
    type Err = SessionError;

    fn from_str(text: &str) -> Result<Self, SessionError> {
        const MEANING: [&str; 22] = [
            "accept",
            "authorization",
            "connection",
            "content-encoding",
            "content-length",
            "content-type",
            "cookie",
            "date",
            "expect",
            "grpc-message",
            "grpc-status",
            "host",
            "keep-alive",
            "location",
            "origin",
            "proxy-authorization",
            "set-cookie",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "vary",
        ];
        let refused = || SessionError::Header(text.to_owned());
        let name: http::HeaderName = text.parse().map_err(|_| refused())?;
        let lower = name.as_str();
        // Proxies take names with underscores from nobody outside, and those of the mesh from no client.
        let of_mesh =
            lower.starts_with("x-mesh-") || lower.starts_with("x-forwarded-") || lower.contains('_');
        if of_mesh || MEANING.contains(&lower) || !is_token(text) {
            return Err(refused());
        }
        Ok(Self(HeaderKey(name)))
    }
}

macro_rules! as_text {
    ($($kind:ident),+) => { $(
        impl TryFrom<String> for $kind {
            type Error = SessionError;

            fn try_from(text: String) -> Result<Self, SessionError> {
                text.parse()
            }
        }

        impl From<$kind> for String {
            fn from(value: $kind) -> Self {
                value.0.to_string()
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+ };
}

as_text!(CookieName, CookiePath);

/// A key that seals sessions. It prints as a placeholder and is never serialised to text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionKey(Arc<[u8; 32]>);

impl SessionKey {
    /// A key of these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Arc::new(bytes))
    }

    /// The bytes, for the sealing and the wire only.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key of its own for one purpose. Who knows it knows nothing of this one.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Self {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, self.expose());
        let tag = aws_lc_rs::hmac::sign(&key, purpose.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        Self::new(bytes)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(redacted)")
    }
}

impl fmt::Display for Session {
    /// For people: what carries it, how long it lives, who says so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.carrier {
            SessionCarrier::Cookie { name, path, permanent } => {
                let kept = if *permanent { ", permanent" } else { "" };
                write!(f, "cookie {name} for {path}{kept}")?;
            }
            SessionCarrier::Header(header) => write!(f, "header {}", header.name())?,
        }
        if let Some(limit) = self.absolute_timeout {
            write!(f, ", at most {limit:?}")?;
        }
        write!(f, ", by {}", self.source)
    }
}

impl Rule {
    /// The session of requests to a service: the rule's own before the one that the service has.
    pub fn session_to<'s>(
        &'s self,
        service: Option<&'s crate::backend::Service>,
    ) -> Option<&'s Arc<Session>> {
        self.session.as_ref().or_else(|| service?.session.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_or_path_ends_the_attribute_that_it_stands_in() {
        for good in ["a", "__Host-a", "a.b!~"] {
            assert!(good.parse::<CookieName>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a=b", "a;b", "a\r\nb", "ä", &"a".repeat(257)] {
            assert!(bad.parse::<CookieName>().is_err(), "{bad}");
        }
        for good in ["/", "/a b/c=d,e"] {
            assert!(good.parse::<CookiePath>().is_ok(), "{good}");
        }
        for bad in ["", "a", "/a;domain=b", "/a\nb", "/ä", "/a ", &format!("/{}", "a".repeat(1024))] {
            assert!(bad.parse::<CookiePath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn no_header_with_another_meaning_carries_a_session() {
        for good in ["x-session", "Session-Id"] {
            assert!(good.parse::<SessionHeader>().is_ok(), "{good}");
        }
        for bad in ["", "Host", "set-cookie", "X-Mesh-Http1", "x-forwarded-client-cert", "a_b", "a b", "TE"] {
            assert!(bad.parse::<SessionHeader>().is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_of_two_purposes_differ_and_none_is_shown() {
        let root = SessionKey::new([7; 32]);
        assert_eq!(root.derive("a"), root.derive("a"));
        assert_ne!(root.derive("a"), root.derive("b"));
        assert_eq!(format!("{root:?}"), "SessionKey(redacted)");
    }
}
