//! Findings: what was wrong with an input, where, and what would be right.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::source::{Position, SourceRef};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object, or the named part of it, is not in force.
    Error,
    /// Worth knowing; nothing is wrong.
    Note,
    /// In force, but probably not as meant.
    Warning,
}

/// A stable number for a finding, printed as `MESH0123`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String")]
#[serde(try_from = "String")]
pub struct Code(pub u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MESH{:04}", self.0)
    }
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        code.to_string()
    }
}

impl TryFrom<String> for Code {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.strip_prefix("MESH").and_then(|d| d.parse().ok());
        digits.map(Self).ok_or_else(|| format!("{text:?} is not a finding code"))
    }
}

macro_rules! reasons {
    ($( $(#[$doc:meta])* $name:ident = $code:literal ),+ $(,)?) => {
        /// Why something is not in force: the closed list. Where the Gateway API names a condition reason
        /// for the case, the variant has exactly that name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Reason { $( $(#[$doc])* $name ),+ }

        impl Reason {
            /// Every reason, in the order of the list.
            pub const ALL: &'static [Self] = &[ $( Self::$name ),+ ];

            /// The word used in conditions, logs and decisions.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$name => stringify!($name) ),+ }
            }

            /// The stable code.
            pub const fn code(self) -> Code {
                match self { $( Self::$name => Code($code) ),+ }
            }
        }
    };
}

reasons! {
    /// Everything is in force.
    Accepted = 1,
    /// The text is not YAML, or breaks a limit of the reader.
    InvalidSyntax = 100,
    /// A mapping names one key twice.
    DuplicateKey = 101,
    /// A field that the kind does not have.
    UnknownField = 102,
    /// `apiVersion` and `kind` name nothing that is known here.
    UnknownKind = 103,
    /// A value of the wrong type or outside its bounds.
    InvalidValue = 104,
    /// A required field is missing.
    MissingField = 105,
    /// A rule of the kind that spans several fields is broken.
    RuleViolation = 106,
    /// Two documents describe the same object.
    DuplicateObject = 107,
    /// The file could not be read.
    Unreadable = 108,
    /// A backend object does not exist.
    BackendNotFound = 200,
    /// A reference crosses namespaces without a grant.
    RefNotPermitted = 201,
    /// A reference names a kind that cannot be used there.
    InvalidKind = 202,
    /// No parent of that name, section or port.
    NoMatchingParent = 203,
    /// The parent does not admit routes of that kind or namespace.
    NotAllowedByListeners = 204,
    /// No hostname is shared with a listener.
    NoMatchingListenerHostname = 205,
    /// A value that the specification allows and this implementation does not have.
    UnsupportedValue = 206,
    /// A filter that cannot be used together with another.
    IncompatibleFilters = 207,
    /// Another object of higher precedence holds the place.
    Conflicted = 208,
    /// A route of another kind holds the listener port's hostname.
    HostnameConflict = 209,
    /// Listeners of one port disagree about the protocol.
    ProtocolConflict = 210,
    /// The listener's protocol is not known.
    UnsupportedProtocol = 211,
    /// A listener allows kinds that its protocol cannot carry.
    InvalidRouteKinds = 212,
    /// A certificate reference is missing, of a wrong kind or unreadable.
    InvalidCertificateRef = 213,
    /// A CA reference is missing or unreadable.
    InvalidCACertificateRef = 214,
    /// A CA reference names a wrong kind.
    InvalidCACertificateKind = 215,
    /// No usable CA certificate is left.
    NoValidCACertificate = 216,
    /// A client certificate reference is missing or unreadable.
    InvalidClientCertificateRef = 217,
    /// No listener of the object is usable, or some are not.
    ListenersNotValid = 218,
    /// A set of listeners is not admitted by its gateway.
    NotAllowed = 219,
    /// The object waits for another one.
    Pending = 220,
    /// An address that cannot be used.
    AddressNotUsable = 221,
    /// An address type that is not supported.
    UnsupportedAddress = 222,
    /// A parameters reference that cannot be used.
    InvalidParameters = 223,
    /// The class of a gateway belongs to another controller.
    ForeignClass = 224,
    /// The object that a policy is for does not exist.
    TargetNotFound = 225,
    /// A port cannot be bound.
    PortUnavailable = 300,
    /// A process ended.
    ProcessExited = 301,
    /// A certificate is outside its validity.
    Expired = 302,
    /// A disk could not be written.
    StorageFailed = 303,
    /// A proxy refuses what was made from the object; what it held before stays in force there.
    RefusedByProxy = 304,
    /// A connected proxy does not answer what it is sent.
    ProxySilent = 305,
    /// No route matches the request.
    NoRoute = 400,
    /// A route matched; none of its rules did.
    NoRule = 401,
    /// The request belongs to another listener of the port (RFC 9110, section 15.5.20).
    Misdirected = 402,
    /// A rule has no usable backend.
    NoBackend = 403,
    /// A service has no ready endpoint.
    NoEndpoint = 404,
    /// A DENY policy matched.
    DeniedByPolicy = 405,
    /// ALLOW policies select the workload and none matched.
    NotAllowedByPolicy = 406,
    /// The peer has no verified identity where one is needed.
    IdentityRequired = 407,
    /// The request head is malformed or ambiguous.
    MalformedRequest = 408,
    /// The policies of the route are not all known yet.
    PolicyPending = 409,
    /// A time limit passed.
    Timeout = 410,
    /// The upstream could not be reached.
    UpstreamConnect = 411,
    /// The upstream broke the exchange off.
    UpstreamReset = 412,
    /// A limit of this proxy was reached.
    Overloaded = 413,
    /// The proxy is draining.
    Draining = 414,
    /// The method is not allowed here.
    MethodNotAllowed = 415,
    /// The request head is larger than the limit.
    HeadTooLarge = 416,
    /// The upstream's identity is not the expected one.
    UpstreamIdentity = 417,
    /// The client broke the exchange off.
    DownstreamReset = 418,
    /// An authorization service refused.
    DeniedByAuthorizer = 419,
    /// An authorization service gave no usable answer, so the request was refused.
    AuthorizerFailed = 420,
    /// A body is larger than what an authorization service may be sent.
    BodyTooLarge = 421,
    /// A retry was due, and the backend's budget of retries is used up.
    RetryBudgetSpent = 422,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A path to a field, such as `spec.rules[0].matches[1].path.value`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct FieldPath(String);

impl FieldPath {
    /// The path of the whole object.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path of a field below this one.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        let plain =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        match (self.0.is_empty(), plain) {
            (true, true) => Self(name.to_owned()),
            (false, true) => Self(format!("{}.{name}", self.0)),
            (_, false) => Self(format!("{}[{name:?}]", self.0)),
        }
    }

    /// The path of an item below this one.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The text; empty for the whole object.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for FieldPath {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "." } else { &self.0 })
    }
}

/// Something wrong with an input. It names the place and says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Why, from the closed list; it carries the code.
    pub reason: Reason,
    /// The object, when one could be named.
    pub object: Option<SourceRef>,
    /// The file, when the input was one.
    pub file: Option<Arc<str>>,
    /// The place in the file.
    pub position: Option<Position>,
    /// The field.
    pub path: FieldPath,
    /// What is wrong, one sentence without a final stop.
    pub message: String,
    /// What would be right, if that can be said.
    pub suggestion: Option<String>,
}

impl Finding {
    /// An error at a field of an object.
    pub fn error(reason: Reason, object: &SourceRef, path: FieldPath, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            reason,
            object: Some(object.clone()),
            file: None,
            position: None,
            path,
            message: message.into(),
            suggestion: None,
        }
    }

    /// The same finding as a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// The same finding with a suggestion.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// The same finding with its place in a file.
    #[must_use]
    pub fn at(mut self, file: Arc<str>, position: Position) -> Self {
        self.file = Some(file);
        self.position = Some(position);
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.reason.code()
    }
}

impl fmt::Display for Finding {
    /// One line: `error[MESH0102] a.yaml:3:5: HTTPRoute shop/cart: spec.x: message; suggestion`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Note => "note",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}[{}] ", self.code())?;
        if let Some(file) = &self.file {
            write!(f, "{file}")?;
            if let Some(position) = self.position {
                write!(f, ":{position}")?;
            }
            write!(f, ": ")?;
        }
        if let Some(object) = &self.object {
            write!(f, "{} {}: ", object.kind, object.object)?;
        }
        if !self.path.as_str().is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        self.suggestion.as_ref().map_or(Ok(()), |s| write!(f, "; {s}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn reason_codes_are_unique() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
    }

    #[test]
    fn field_paths_quote_what_is_not_a_plain_name() {
        let path = FieldPath::root().field("metadata").field("labels").field("a.b/c").index(2);
        assert_eq!(path.as_str(), "metadata.labels[\"a.b/c\"][2]");
    }
}
