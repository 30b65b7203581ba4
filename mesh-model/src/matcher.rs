//! What a rule asks of a request: path, method, headers, query. Compiled when built, so a held one matches.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method};
use serde::{Deserialize, Serialize};

/// Longest regular expression taken, in bytes.
pub const MAX_REGEX: usize = 1024;
/// Largest compiled regular expression taken, in bytes.
const REGEX_SIZE: usize = 1 << 20;

/// Why a matcher cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatchError {
    /// The header name is not a token (RFC 9110, section 5.6.2).
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    /// The method is not a token.
    #[error("{0:?} is not a method")]
    Method(String),
    /// The path does not begin with a slash.
    #[error("path {0:?} does not begin with a slash")]
    Path(String),
    /// The expression is too long, too large, or not of the linear-time syntax.
    #[error("regular expression {pattern:?}: {problem}")]
    Regex {
        /// The expression.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A regular expression that must match a whole value, in linear time (syntax of the `regex` crate).
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Regex {
    pattern: Arc<str>,
    compiled: regex::Regex,
}

impl Regex {
    /// Compiles an expression.
    ///
    /// # Errors
    /// [`MatchError::Regex`] when it is longer than [`MAX_REGEX`], compiles too large, or is not valid.
    pub fn new(pattern: &str) -> Result<Self, MatchError> {
        let wrong = |problem: String| MatchError::Regex { pattern: pattern.to_owned(), problem };
        if pattern.len() > MAX_REGEX {
            return Err(wrong(format!("longer than {MAX_REGEX} bytes")));
        }
        let anchored = format!("^(?:{pattern})$");
        let compiled =
            regex::RegexBuilder::new(&anchored).size_limit(REGEX_SIZE).dfa_size_limit(REGEX_SIZE).build();
        let compiled =
            compiled.map_err(|e| wrong(e.to_string().lines().last().unwrap_or_default().to_owned()))?;
        Ok(Self { pattern: Arc::from(pattern), compiled })
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regex({:?})", self.pattern)
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}

impl Eq for Regex {}

impl TryFrom<String> for Regex {
    type Error = MatchError;
    fn try_from(text: String) -> Result<Self, MatchError> {
        Self::new(&text)
    }
}

impl From<Regex> for String {
    fn from(regex: Regex) -> Self {
        regex.pattern.to_string()
    }
}

/// How a path is matched, on its normalised form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PathMatch {
    /// The whole path.
    Exact(Arc<str>),
    /// The path's leading segments. Stored without a trailing slash; the empty text matches every path.
    Prefix(Arc<str>),
    /// The whole path, by expression.
    Regex(Regex),
}

impl PathMatch {
    /// A prefix of whole segments; `/a/` and `/a` are the same.
    pub fn prefix(text: &str) -> Self {
        Self::Prefix(Arc::from(text.trim_end_matches('/')))
    }

    /// Whether a normalised path matches.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => {
                path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(regex) => regex.matches(path),
        }
    }
}

impl Default for PathMatch {
    fn default() -> Self {
        Self::Prefix(Arc::from(""))
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "path = {path}"),
            Self::Prefix(path) => write!(f, "path under {}", if path.is_empty() { "/" } else { path }),
            Self::Regex(regex) => write!(f, "path ~ {}", regex.as_str()),
        }
    }
}

/// How a header or query value is matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ValueMatch {
    /// The whole value, case-sensitive.
    Exact(Arc<str>),
    /// The whole value, by expression.
    Regex(Regex),
}

impl ValueMatch {
    /// Whether a value matches.
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *value,
            Self::Regex(regex) => regex.matches(value),
        }
    }
}

impl fmt::Display for ValueMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(value) => write!(f, "= {value}"),
            Self::Regex(regex) => write!(f, "~ {}", regex.as_str()),
        }
    }
}

/// One header that must be present with a matching value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderMatch {
    /// Lower-case name.
    #[serde(with = "crate::matcher::header_name")]
    pub name: HeaderName,
    /// The value. Several lines of one header are compared joined with `,` (RFC 9110, section 5.3).
    pub value: ValueMatch,
}

impl HeaderMatch {
    /// Whether the headers match. Never allocates when the header occurs once.
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        header_value(headers, &self.name).is_some_and(|value| self.value.matches(&value))
    }
}

/// The value of a header, lines joined with `,`; `None` when absent or not text.
pub fn header_value<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<std::borrow::Cow<'h, str>> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?.to_str().ok()?;
    let mut joined = std::borrow::Cow::Borrowed(first);
    for line in lines {
        let joined = joined.to_mut();
        joined.push(',');
        joined.push_str(line.to_str().ok()?);
    }
    Some(joined)
}

/// One query parameter that must be present with a matching value; the first of several counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryMatch {
    /// Decoded name, case-sensitive.
    pub name: Arc<str>,
    /// Decoded value.
    pub value: ValueMatch,
}

/// One alternative of a rule: everything in it must match.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Match {
    /// The path.
    pub path: PathMatch,
    /// The method, if one is asked for.
    #[serde(default, with = "crate::matcher::method", skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The headers, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
    /// The query parameters, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<QueryMatch>,
}

/// A header name as text, for serialisation.
pub(crate) mod header_name {
    use http::HeaderName;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(name: &HeaderName, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(name.as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<HeaderName, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// An optional method as text, for serialisation.
pub(crate) mod method {
    use http::Method;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(method: &Option<Method>, out: S) -> Result<S::Ok, S::Error> {
        match method {
            Some(method) => out.serialize_some(method.as_str()),
            None => out.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Method>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|t| t.parse().map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_whole_segments() {
        let cases = [
            ("/v2", "/v2", true),
            ("/v2", "/v2/", true),
            ("/v2", "/v2/x", true),
            ("/v2", "/v2x", false),
            ("/v2/", "/v2", true),
            ("/", "/anything", true),
            ("/a/b", "/a", false),
        ];
        for (prefix, path, expected) in cases {
            assert_eq!(PathMatch::prefix(prefix).matches(path), expected, "{prefix} {path}");
        }
    }

    #[test]
    fn expressions_match_whole_values_and_are_bounded() {
        let regex = Regex::new("a|b").expect("valid");
        assert_eq!((regex.matches("a"), regex.matches("ab"), regex.matches("xb")), (true, false, false));
        for bad in ["(", "(?=a)", "\\1", &"a".repeat(1025), "((a{1000}){1000}){1000}"] {
            assert!(Regex::new(bad).is_err(), "{bad:.20}");
        }
    }
}
