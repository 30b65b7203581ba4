//! What a rule does to a request or its answer, as values. The proxy's layers carry them out.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::backend::Target;
use crate::hostname::HostPattern;

/// One filter of a rule or backend. Filters act in the order in which the Gateway API lists them for a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Filter {
    /// Answers preflight requests and adds CORS headers (WHATWG Fetch).
    Cors(Cors),
    /// Asks an authorization service before anything is sent (GEP-1494).
    ExternalAuth(ExternalAuth),
    /// Sends a copy of the request to another backend and drops its answer.
    Mirror(Mirror),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Edits the request's headers.
    RequestHeaders(HeaderEdit),
    /// Edits the answer's headers.
    ResponseHeaders(HeaderEdit),
    /// Rewrites host and path before forwarding.
    Rewrite(Rewrite),
}

/// Header edits: set replaces, add appends, remove drops; names are case-insensitive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HeaderEdit {
    /// Headers whose lines are replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<HeaderLine>,
    /// Headers to which a line is added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<HeaderLine>,
    /// Headers that are dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<HeaderKey>,
}

/// A header name as a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HeaderKey(#[serde(with = "crate::matcher::header_name")] pub HeaderName);

/// A header line: a name and a value that is known to be valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderLine {
    /// The name.
    #[serde(with = "crate::matcher::header_name")]
    pub name: HeaderName,
    /// The value.
    #[serde(with = "header_text")]
    pub value: HeaderValue,
}

/// A change of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PathEdit {
    /// The whole path.
    Full(Arc<str>),
    /// The prefix that the rule matched.
    Prefix(Arc<str>),
}

impl PathEdit {
    /// The new path. `matched` is the prefix that the rule matched, without trailing slash.
    pub fn apply(&self, path: &str, matched: &str) -> String {
        let replacement = match self {
            Self::Full(path) => return path.to_string(),
            Self::Prefix(replacement) => replacement.trim_end_matches('/'),
        };
        let rest = path.strip_prefix(matched).unwrap_or(path);
        let joined = format!("{replacement}{rest}");
        if joined.is_empty() { "/".to_owned() } else { joined }
    }
}

/// A redirect. What is `None` stays as the client sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// `http` or `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Arc<str>>,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Arc<str>>,
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathEdit>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// A rewrite of host and path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rewrite {
    /// The host that the backend sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Arc<str>>,
    /// The path that the backend sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathEdit>,
}

/// A mirror of a share of the requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// Where copies go.
    pub target: Target,
    /// Numerator of the share.
    pub numerator: u32,
    /// Denominator of the share, at least 1.
    pub denominator: u32,
}

/// Most bytes of a request's body that an authorization service may be sent.
pub const MAX_AUTH_BODY: u32 = 1024 * 1024;

/// A question to an authorization service. No answer, and an answer that cannot be carried out, refuses the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalAuth {
    /// Who is asked.
    pub target: Target,
    /// How.
    pub protocol: AuthProtocol,
    /// Most bytes of the body that are sent; a larger one is refused. 0 sends none, whatever its size.
    pub max_body: u32,
}

/// How an authorization service is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthProtocol {
    /// By the method `Check` of Envoy's `ext_authz`, version 3.
    Grpc {
        /// Request headers that are sent; empty sends all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        allowed: Vec<HeaderKey>,
    },
    /// By a request with the client's method and path.
    Http {
        /// What is put before the client's path: normalised, without trailing slash.
        prefix: Arc<str>,
        /// Request headers that are sent beside the obligatory ones.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        allowed: Vec<HeaderKey>,
        /// Headers of the answer that replace those of the request; empty takes all that are not about the
        /// answer itself.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        taken: Vec<HeaderKey>,
    },
}

/// Cross-origin rules (WHATWG Fetch, section 3.2).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cors {
    /// Origins that may read answers.
    pub allow_origins: Vec<Origin>,
    /// Methods named in preflight answers; `*` allows any.
    pub allow_methods: Vec<Arc<str>>,
    /// Request headers named in preflight answers; `*` allows any.
    pub allow_headers: Vec<Arc<str>>,
    /// Response headers that scripts may read; `*` exposes any.
    pub expose_headers: Vec<Arc<str>>,
    /// Whether credentials are allowed.
    pub allow_credentials: bool,
    /// How long a preflight answer may be kept, in seconds.
    pub max_age: u32,
}

/// An allowed origin: `*`, or scheme, host pattern and port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// Every origin.
    Any,
    /// Origins of this shape.
    Pattern {
        /// The scheme.
        scheme: Arc<str>,
        /// The host, exact or wildcard.
        host: HostPattern,
        /// The port; `None` is the scheme's default, and no other.
        port: Option<u16>,
    },
}

/// A header value as text, for serialisation.
mod header_text {
    use http::HeaderValue;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &HeaderValue, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&String::from_utf8_lossy(value.as_bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<HeaderValue, D::Error> {
        HeaderValue::try_from(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_edits_follow_the_table_of_the_gateway_api() {
        let cases = [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "/", "/bar"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/a", "", "/x", "/x/a"),
        ];
        for (path, matched, replacement, expected) in cases {
            assert_eq!(
                PathEdit::Prefix(Arc::from(replacement)).apply(path, matched),
                expected,
                "{path} {replacement}"
            );
        }
    }
}
