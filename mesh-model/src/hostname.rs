//! Hostnames of listeners and routes: exact, wildcard or any (Gateway API, `Hostname` and GEP-718).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not a hostname pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostnameError {
    /// A label is empty, too long or holds a wrong character.
    #[error("label {0:?} is not a DNS label")]
    Label(String),
    /// Empty, or longer than 253 bytes.
    #[error("a hostname has 1 to 253 characters, this one {0}")]
    Length(usize),
}

/// Which hosts a listener or route serves. Always lower case, without trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// Every host.
    Any,
    /// This host.
    Exact(Arc<str>),
    /// Every host below this name, of one or more labels, but not the name itself. Stored without `*.`.
    Wildcard(Arc<str>),
}

impl HostPattern {
    /// Whether a lower-case host without port or trailing dot is served.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => **name == *host,
            Self::Wildcard(parent) => below(host, parent),
        }
    }

    /// The hosts served by both, or `None` when there are none.
    ///
    /// ```
    /// use mesh_model::HostPattern;
    /// let (wide, narrow): (HostPattern, HostPattern) = ("*.a.com".parse()?, "x.a.com".parse()?);
    /// assert_eq!(wide.intersect(&narrow), Some(narrow.clone()));
    /// assert_eq!(wide.intersect(&"a.com".parse()?), None);
    /// # Ok::<(), mesh_model::hostname::HostnameError>(())
    /// ```
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let narrower = if self.specificity() >= other.specificity() { self } else { other };
        let wider = if std::ptr::eq(narrower, self) { other } else { self };
        let inside = match (wider, narrower) {
            (Self::Any, _) => true,
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Exact(_), _) => false,
            (Self::Wildcard(_), Self::Exact(host)) => wider.matches(host),
            (Self::Wildcard(a), Self::Wildcard(b)) => a == b || below(b, a),
            (Self::Wildcard(_), Self::Any) => false,
        };
        inside.then(|| narrower.clone())
    }

    /// How specific the pattern is: exact before wildcard before any, then the longer name.
    pub fn specificity(&self) -> (u8, usize) {
        match self {
            Self::Any => (0, 0),
            Self::Wildcard(parent) => (1, parent.len()),
            Self::Exact(name) => (2, name.len()),
        }
    }
}

fn below(host: &str, parent: &str) -> bool {
    host.len() > parent.len() + 1
        && host.ends_with(parent)
        && host.as_bytes()[host.len() - parent.len() - 1] == b'.'
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostnameError;

    /// `*` or the empty text is any host; `*.name` a wildcard; a trailing dot is dropped.
    fn from_str(text: &str) -> Result<Self, HostnameError> {
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if text.is_empty() || text == "*" {
            return Ok(Self::Any);
        }
        let (name, wildcard) = text.strip_prefix("*.").map_or((text.as_str(), false), |rest| (rest, true));
        check(name)?;
        let name = Arc::from(name);
        Ok(if wildcard { Self::Wildcard(name) } else { Self::Exact(name) })
    }
}

/// Whether a text is one label of a host's name, in lower case (RFC 1123, section 2.1).
pub fn is_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(plain)
}

/// Checks a lower-case DNS name (RFC 1123; underscores are taken, as SRV-like names use them).
fn check(name: &str) -> Result<(), HostnameError> {
    if name.is_empty() || name.len() > 253 {
        return Err(HostnameError::Length(name.len()));
    }
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    name.split('.').find(|l| !good(l)).map_or(Ok(()), |l| Err(HostnameError::Label(l.to_owned())))
}

impl TryFrom<String> for HostPattern {
    type Error = HostnameError;
    fn try_from(text: String) -> Result<Self, HostnameError> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HostPattern {
        text.parse().expect("a good pattern")
    }

    #[test]
    fn wildcards_match_several_labels_but_not_the_parent() {
        let cases = [
            ("*.a.com", "x.a.com", true),
            ("*.a.com", "x.y.a.com", true),
            ("*.a.com", "a.com", false),
            ("*.a.com", "xa.com", false),
            ("*.a.com", ".a.com", false),
            ("a.com", "a.com", true),
            ("*", "z", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(host(pattern).matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn intersection_is_symmetric_and_takes_the_narrower() {
        let cases = [
            ("*", "a.com", Some("a.com")),
            ("*.com", "*.a.com", Some("*.a.com")),
            ("a.com", "b.com", None),
            ("*.a.com", "*.b.com", None),
            ("*.a.com", "a.com", None),
            ("*", "*", Some("*")),
        ];
        for (a, b, expected) in cases {
            let expected = expected.map(host);
            assert_eq!(host(a).intersect(&host(b)), expected, "{a} {b}");
            assert_eq!(host(b).intersect(&host(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        for text in ["a..b", "-a.com", "a-.com", "a b", "*a.com", "a.*.com", "a/b", "\u{e9}.com"] {
            assert!(text.parse::<HostPattern>().is_err(), "{text:?}");
        }
    }
}
