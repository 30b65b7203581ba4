//! SPIFFE identities (SPIFFE-ID specification, sections 2.1 to 2.4). Nothing here reads certificates.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest SPIFFE ID in bytes (SPIFFE-ID, section 2.3).
pub const MAX_SPIFFE_ID: usize = 2048;
/// Longest trust domain name in bytes (SPIFFE-ID, section 2.1).
pub const MAX_TRUST_DOMAIN: usize = 255;

/// Why a text is not a SPIFFE ID or trust domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpiffeIdError {
    /// The text is empty.
    #[error("identity is empty")]
    Empty,
    /// A path segment is empty, `.` or `..`, or the path ends in a slash.
    #[error("path segment {0:?} is empty or relative")]
    BadSegment(String),
    /// The path holds a character outside `[A-Za-z0-9._-]`.
    #[error("character {0:?} is not allowed in a SPIFFE path")]
    BadPathChar(char),
    /// The trust domain holds a character outside `[a-z0-9._-]`.
    #[error("character {0:?} is not allowed in a trust domain")]
    BadTrustDomainChar(char),
    /// The text does not begin with `spiffe://`.
    #[error("scheme is not spiffe://")]
    Scheme,
    /// The identity names a trust domain only, where a workload is needed.
    #[error("a workload identity needs a path after the trust domain")]
    NoPath,
    /// The text is longer than the standard allows.
    #[error("{0} bytes is longer than the SPIFFE limit")]
    TooLong(usize),
}

/// Who is at the other end of a connection to the control plane. Its services find it among what a request brings along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// What the handshake verified, if anything.
    pub identity: Option<SpiffeId>,
    /// Where the connection comes from, if from anywhere.
    pub address: Option<IpAddr>,
}

/// The name of a trust domain, such as `cluster.local`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The name without scheme.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The identity of the trust domain itself: `spiffe://<name>`.
    pub fn id(&self) -> String {
        format!("spiffe://{}", self.0)
    }
}

impl Default for TrustDomain {
    fn default() -> Self {
        Self(Arc::from("cluster.local"))
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(SpiffeIdError::Empty);
        }
        if text.len() > MAX_TRUST_DOMAIN {
            return Err(SpiffeIdError::TooLong(text.len()));
        }
        let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_');
        match text.chars().find(|c| !allowed(*c)) {
            Some(c) => Err(SpiffeIdError::BadTrustDomainChar(c)),
            None => Ok(Self(Arc::from(text))),
        }
    }
}

/// The identity of a workload: `spiffe://<trust domain>/<path>`.
///
/// ```
/// use mesh_model::SpiffeId;
/// let id: SpiffeId = "spiffe://cluster.local/ns/shop/sa/cart".parse()?;
/// assert_eq!(id.service_account(), Some(("shop", "cart")));
/// assert!("spiffe://cluster.local/ns/../sa/cart".parse::<SpiffeId>().is_err());
/// # Ok::<(), mesh_model::identity::SpiffeIdError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    path: Arc<str>,
}

impl SpiffeId {
    /// The identity of a Kubernetes service account: `/ns/<namespace>/sa/<account>`.
    ///
    /// # Errors
    /// When a name holds a character that SPIFFE does not allow.
    pub fn for_service_account(
        trust_domain: &TrustDomain,
        namespace: &str,
        account: &str,
    ) -> Result<Self, SpiffeIdError> {
        let path = format!("/ns/{namespace}/sa/{account}");
        check_path(&path)?;
        Ok(Self { trust_domain: trust_domain.clone(), path: Arc::from(path) })
    }

    /// Parses an identity written with or without the scheme, as policies write principals.
    ///
    /// # Errors
    /// As [`SpiffeId::from_str`].
    pub fn parse_principal(text: &str) -> Result<Self, SpiffeIdError> {
        if text.starts_with("spiffe://") { text.parse() } else { format!("spiffe://{text}").parse() }
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path with its leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The principal form used by policies: the identity without its scheme.
    pub fn principal(&self) -> String {
        format!("{}{}", self.trust_domain.as_str(), self.path)
    }

    /// Namespace and service account, when the path has the form `/ns/<namespace>/sa/<account>`.
    pub fn service_account(&self) -> Option<(&str, &str)> {
        let mut parts = self.path.strip_prefix("/ns/")?.split('/');
        let found = (parts.next()?, parts.next()?, parts.next()?);
        (found.1 == "sa" && parts.next().is_none()).then_some((found.0, found.2))
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}{}", self.trust_domain.as_str(), self.path)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_SPIFFE_ID {
            return Err(SpiffeIdError::TooLong(text.len()));
        }
        let rest = text.strip_prefix("spiffe://").ok_or(SpiffeIdError::Scheme)?;
        let slash = rest.find('/').ok_or(SpiffeIdError::NoPath)?;
        let (domain, path) = rest.split_at(slash);
        check_path(path)?;
        Ok(Self { trust_domain: domain.parse()?, path: Arc::from(path) })
    }
}

fn check_path(path: &str) -> Result<(), SpiffeIdError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
    if let Some(c) = path.chars().find(|c| !allowed(*c)) {
        return Err(SpiffeIdError::BadPathChar(c));
    }
    match path[1..].split('/').find(|s| matches!(*s, "" | "." | "..")) {
        Some(segment) => Err(SpiffeIdError::BadSegment(segment.to_owned())),
        None => Ok(()),
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = SpiffeIdError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = SpiffeIdError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TrustDomain> for String {
    fn from(domain: TrustDomain) -> Self {
        domain.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_follow_the_spiffe_grammar() {
        let good = ["spiffe://a/b", "spiffe://cluster.local/ns/x/sa/y", "spiffe://a-b_c.d/..x/A.B_c-9"];
        for text in good {
            assert_eq!(text.parse::<SpiffeId>().map(|id| id.to_string()), Ok(text.to_owned()));
        }
        let bad = [
            "",
            "spiffe://",
            "spiffe://a",
            "spiffe://a/",
            "spiffe:///b",
            "SPIFFE://a/b",
            "spiffe://A/b",
            "spiffe://a/b/",
            "spiffe://a//b",
            "spiffe://a/./b",
            "spiffe://a/../b",
            "spiffe://a/b%20c",
            "spiffe://a/b\0",
            "spiffe://a:80/b",
            "spiffe://u@a/b",
            "spiffe://a/b?c",
            "spiffe://a/b#c",
            "https://a/b",
            "spiffe://a/\u{e9}",
        ];
        for text in bad {
            assert!(text.parse::<SpiffeId>().is_err(), "{text:?} was accepted");
        }
        assert!(format!("spiffe://a/{}", "x".repeat(2048)).parse::<SpiffeId>().is_err());
    }

    #[test]
    fn principals_may_leave_out_the_scheme() {
        let with = SpiffeId::parse_principal("spiffe://cluster.local/ns/default/sa/backend");
        assert_eq!(with, SpiffeId::parse_principal("cluster.local/ns/default/sa/backend"));
    }
}
