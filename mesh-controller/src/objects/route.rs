//! What routes of all kinds share: parents, backends, header edits, status. No matching.

use serde::{Deserialize, Serialize};

use super::meta::Condition;
use super::scalar::Duration;

/// The place a route attaches to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ParentReference {
    /// Group of the parent; the Gateway API by default.
    pub group: String,
    /// Kind of the parent; `Gateway` by default.
    pub kind: String,
    /// Name of the parent.
    pub name: String,
    /// Namespace of the parent; the route's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Only listeners of this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Only the listener, or port of a Service, with this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// An object that receives traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendObjectReference {
    /// Group of the object; empty for core by default.
    pub group: String,
    /// Kind of the object; `Service` by default.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Namespace of the object; the referring object's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Port of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// A backend with its share of the traffic. `F` is the type of its filters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    bound(deserialize = "F: Deserialize<'de>", serialize = "F: Serialize")
)]
pub struct BackendRef<F> {
    /// Filters for the requests that this backend receives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<F>,
    /// Group of the object; empty for core by default.
    pub group: String,
    /// Kind of the object; `Service` by default.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Namespace of the object; the route's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Port of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Share relative to the sum of the rule's weights; 1 by default.
    pub weight: u32,
}

/// The filter of routes that have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoFilter {}

/// An object of the same namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalObjectReference {
    /// Group of the object; empty for core.
    pub group: String,
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
}

/// A certificate with its key, by default in a Secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretObjectReference {
    /// Group of the object; empty for core by default.
    pub group: String,
    /// Kind of the object; `Secret` by default.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Namespace of the object; the referring object's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// An object of any kind and namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectReference {
    /// Group of the object; empty for core.
    pub group: String,
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Namespace of the object; the referring object's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// A header with a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    /// The name, compared without case.
    pub name: String,
    /// The value.
    pub value: String,
}

/// Edits of headers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HeaderModifier {
    /// Values to add beside those present.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<Header>,
    /// Names to remove.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Values that replace those present.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<Header>,
}

/// How a header, query parameter or gRPC method is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MatchType {
    /// Equal.
    Exact,
    /// By a regular expression.
    RegularExpression,
}

/// Which gateways take a route that names none, and the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefaultScope {
    /// All of them.
    All,
    /// None of them.
    None,
}

/// A share of requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fraction {
    /// The whole; 100 by default.
    pub denominator: u32,
    /// The part.
    pub numerator: u32,
}

/// A copy of requests to another backend, whose answers are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestMirror {
    /// Who receives the copies.
    pub backend_ref: BackendObjectReference,
    /// Which share is copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<Fraction>,
    /// Which percentage is copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
}

/// Requests of one session go to one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionPersistence {
    /// Longest life of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute_timeout: Option<Duration>,
    /// The cookie, when `kind` is `Cookie`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<SessionCookie>,
    /// The header, when `kind` is `Header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<SessionHeader>,
    /// What carries the session; a cookie by default.
    #[serde(rename = "type")]
    pub kind: SessionKind,
}

/// What carries a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionKind {
    /// A cookie.
    Cookie,
    /// A header.
    Header,
}

/// The cookie of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionCookie {
    /// How long the client keeps it; the browser session by default.
    pub lifetime_type: CookieLifetime,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its path; `/` by default.
    pub path: String,
}

/// How long a client keeps a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CookieLifetime {
    /// Until the absolute timeout.
    Permanent,
    /// Until the browser closes.
    Session,
}

/// The header of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionHeader {
    /// Its name.
    pub name: String,
}

/// What controllers reported about a route.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RouteStatus {
    /// One entry per parent and controller.
    pub parents: Vec<RouteParentStatus>,
}

/// What one controller reported about one parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteParentStatus {
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// Who reported.
    pub controller_name: String,
    /// The parent.
    pub parent_ref: ParentReference,
}
