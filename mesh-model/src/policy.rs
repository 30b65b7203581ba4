//! Authorization policies as parsed values: who may do what to which workloads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::name::ResourceKey;
use crate::source::SourceRef;

/// What a matching rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// Lets the request in; a workload that any ALLOW selects refuses everything else.
    #[default]
    Allow,
    /// Only recorded.
    Audit,
    /// Refuses the request, whatever else allows it.
    Deny,
}

/// A text pattern of a policy: exact, `prefix*`, `*suffix`, or `*` for any non-empty text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum TextPattern {
    /// The whole text.
    Exact(Arc<str>),
    /// Its beginning.
    Prefix(Arc<str>),
    /// Any non-empty text.
    Present,
    /// Its end.
    Suffix(Arc<str>),
}

impl TextPattern {
    /// Whether a text matches.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *text,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Present => !text.is_empty(),
            Self::Suffix(suffix) => text.ends_with(&**suffix),
        }
    }
}

impl From<String> for TextPattern {
    fn from(text: String) -> Self {
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(""), _) => Self::Present,
            (_, Some(prefix)) => Self::Prefix(Arc::from(prefix)),
            (Some(suffix), None) => Self::Suffix(Arc::from(suffix)),
            (None, None) => Self::Exact(Arc::from(text)),
        }
    }
}

impl From<TextPattern> for String {
    fn from(pattern: TextPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for TextPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Present => f.write_str("*"),
            Self::Suffix(text) => write!(f, "*{text}"),
        }
    }
}

/// Patterns of one property: one of `any` must match (when there is one), and none of `none`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patterns<T> {
    /// Positive patterns; empty asks nothing.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<T>,
    /// Negative patterns.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub none: Vec<T>,
}

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self { any: Vec::new(), none: Vec::new() }
    }
}

impl<T> Patterns<T> {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }

    /// Whether a property passes, given how one pattern is tested.
    pub fn admit(&self, test: impl Fn(&T) -> bool) -> bool {
        (self.any.is_empty() || self.any.iter().any(&test)) && !self.none.iter().any(&test)
    }
}

/// Who is asked for: every property must pass.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Source {
    /// Identities without scheme, such as `cluster.local/ns/shop/sa/cart`.
    #[serde(default, skip_serializing_if = "Patterns::is_empty")]
    pub principals: Patterns<TextPattern>,
    /// Namespaces of the verified identity.
    #[serde(default, skip_serializing_if = "Patterns::is_empty")]
    pub namespaces: Patterns<TextPattern>,
    /// Service accounts of the verified identity, as `namespace/account`.
    #[serde(default, skip_serializing_if = "Patterns::is_empty")]
    pub accounts: Patterns<TextPattern>,
    /// Source addresses. Not an identity.
    #[serde(default, skip_serializing_if = "Patterns::is_empty")]
    pub addresses: Patterns<IpNet>,
}

/// What is asked for: every property must pass.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Operation {
    /// Hosts, without port unless the pattern has one.
    #[serde(default, skip_serializing_if = "Patterns::is_empty")]
    pub hosts: Patterns<TextPattern>,
    /// Methods.
    #[serde(default, skip_serializing_if = "Patterns::is_empty")]
    pub methods: Patterns<TextPattern>,
    /// Normalised paths.
    #[serde(default, skip_serializing_if = "Patterns::is_empty")]
    pub paths: Patterns<TextPattern>,
    /// Destination ports of the workload.
    #[serde(default, skip_serializing_if = "Patterns::is_empty")]
    pub ports: Patterns<u16>,
}

impl Operation {
    /// Whether it asks something that only a request can answer.
    pub fn needs_http(&self) -> bool {
        !(self.hosts.is_empty() && self.methods.is_empty() && self.paths.is_empty())
    }
}

/// The property that a condition looks at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConditionKey {
    /// `connection.sni`.
    ConnectionSni,
    /// `destination.ip`.
    DestinationIp,
    /// `destination.port`.
    DestinationPort,
    /// `request.headers[<name>]`.
    RequestHeader(#[serde(with = "crate::matcher::header_name")] HeaderName),
    /// `source.ip`.
    SourceIp,
    /// `source.namespace`.
    SourceNamespace,
    /// `source.principal`.
    SourcePrincipal,
}

impl ConditionKey {
    /// Whether only a request can answer it.
    pub fn needs_http(&self) -> bool {
        matches!(self, Self::RequestHeader(_))
    }
}

/// A further condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The property.
    pub key: ConditionKey,
    /// Its values. For addresses they are networks, for ports numbers, else text patterns.
    pub values: ConditionValues,
}

/// The values of a condition, parsed for its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConditionValues {
    /// Networks.
    Networks(Patterns<IpNet>),
    /// Port numbers.
    Ports(Patterns<u16>),
    /// Text patterns.
    Texts(Patterns<TextPattern>),
}

/// A rule: some source, some operation, and all conditions. An empty list asks nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PolicyRule {
    /// Alternatives of the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Source>,
    /// Alternatives of the operation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<Operation>,
    /// Conditions, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Condition>,
}

impl PolicyRule {
    /// Whether the rule asks something that only a request can answer.
    pub fn needs_http(&self) -> bool {
        self.to.iter().any(Operation::needs_http) || self.when.iter().any(|c| c.key.needs_http())
    }
}

/// An authorization policy. Without rules an ALLOW allows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationPolicy {
    /// The resource's key.
    pub key: ResourceKey,
    /// The object it was made from.
    pub source: SourceRef,
    /// What matching rules do.
    pub action: Action,
    /// Labels that select workloads of the policy's namespace; empty selects all of them.
    pub selector: BTreeMap<Arc<str>, Arc<str>>,
    /// The rules, any of which may match.
    pub rules: Vec<PolicyRule>,
}
