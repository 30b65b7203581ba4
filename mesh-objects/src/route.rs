//! What routes of all kinds share: parents, backends, header edits, status. No matching.

use serde::{Deserialize, Serialize};

use super::meta::Condition;
use super::scalar::Duration;
use super::shape::shapes;

shapes! {
    /// The place a route attaches to.
    pub struct ParentReference {
        /// Group of the parent; the Gateway API by default.
        pub group: String,
        /// Kind of the parent; `Gateway` by default.
        pub kind: String,
        /// Name of the parent.
        pub name: String,
        /// Namespace of the parent; the route's own by default.
        pub namespace: Option<String>,
        /// Only listeners of this port.
        pub port: Option<u16>,
        /// Only the listener, or port of a Service, with this name.
        pub section_name: Option<String>,
    }

    /// An object that receives traffic.
    pub struct BackendObjectReference {
        /// Group of the object; empty for core by default.
        pub group: String,
        /// Kind of the object; `Service` by default.
        pub kind: String,
        /// Name of the object.
        pub name: String,
        /// Namespace of the object; the referring object's own by default.
        pub namespace: Option<String>,
        /// Port of the object.
        pub port: Option<u16>,
    }
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

shapes! {
    /// An object of the same namespace.
    pub struct LocalObjectReference {
        /// Group of the object; empty for core.
        pub group: String,
        /// Kind of the object.
        pub kind: String,
        /// Name of the object.
        pub name: String,
    }

    /// A certificate with its key, by default in a Secret.
    pub struct SecretObjectReference {
        /// Group of the object; empty for core by default.
        pub group: String,
        /// Kind of the object; `Secret` by default.
        pub kind: String,
        /// Name of the object.
        pub name: String,
        /// Namespace of the object; the referring object's own by default.
        pub namespace: Option<String>,
    }

    /// An object of any kind and namespace.
    pub struct ObjectReference {
        /// Group of the object; empty for core.
        pub group: String,
        /// Kind of the object.
        pub kind: String,
        /// Name of the object.
        pub name: String,
        /// Namespace of the object; the referring object's own by default.
        pub namespace: Option<String>,
    }

    /// A header with a value.
    pub struct Header {
        /// The name, compared without case.
        pub name: String,
        /// The value.
        pub value: String,
    }

    /// Edits of headers.
    pub default struct HeaderModifier {
        /// Values to add beside those present.
        pub add: Vec<Header>,
        /// Names to remove.
        pub remove: Vec<String>,
        /// Values that replace those present.
        pub set: Vec<Header>,
    }

    /// How a header, query parameter or gRPC method is compared.
    pub enum MatchType {
        /// Equal.
        Exact,
        /// By a regular expression.
        RegularExpression,
    }

    /// Which gateways take a route that names none, and the other way round.
    pub enum DefaultScope {
        /// All of them.
        All,
        /// None of them.
        None,
    }

    /// A share of requests.
    pub struct Fraction {
        /// The whole; 100 by default.
        pub denominator: u32,
        /// The part.
        pub numerator: u32,
    }

    /// A copy of requests to another backend, whose answers are ignored.
    pub struct RequestMirror {
        /// Who receives the copies.
        pub backend_ref: BackendObjectReference,
        /// Which share is copied.
        pub fraction: Option<Fraction>,
        /// Which percentage is copied.
        pub percent: Option<u32>,
    }

    /// Requests of one session go to one endpoint.
    pub struct SessionPersistence {
        /// Longest life of a session.
        pub absolute_timeout: Option<Duration>,
        /// The cookie, when `kind` is `Cookie`.
        pub cookie: Option<SessionCookie>,
        /// The header, when `kind` is `Header`.
        pub header: Option<SessionHeader>,
        /// What carries the session; a cookie by default.
        #[serde(rename = "type")]
        pub kind: SessionKind,
    }

    /// What carries a session.
    pub enum SessionKind {
        /// A cookie.
        Cookie,
        /// A header.
        Header,
    }

    /// The cookie of a session.
    pub struct SessionCookie {
        /// How long the client keeps it; the browser session by default.
        pub lifetime_type: CookieLifetime,
        /// Its name.
        pub name: Option<String>,
        /// Its path; `/` by default.
        pub path: String,
    }

    /// How long a client keeps a cookie.
    pub enum CookieLifetime {
        /// Until the absolute timeout.
        Permanent,
        /// Until the browser closes.
        Session,
    }

    /// The header of a session.
    pub struct SessionHeader {
        /// Its name.
        pub name: String,
    }

    /// What controllers reported about a route.
    pub default struct RouteStatus {
        /// One entry per parent and controller.
        pub parents: required Vec<RouteParentStatus>,
    }

    /// What one controller reported about one parent.
    pub struct RouteParentStatus {
        /// The conditions.
        pub conditions: required Vec<Condition>,
        /// Who reported.
        pub controller_name: String,
        /// The parent.
        pub parent_ref: ParentReference,
    }
}
