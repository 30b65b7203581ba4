//! `HTTPRoute` (Gateway API v1.7.0, both channels). No matching and no translation.

use serde::{Deserialize, Serialize};

use super::meta::Manifest;
use super::route::{
    BackendObjectReference, BackendRef, DefaultScope, HeaderModifier, LocalObjectReference, MatchType,
    ParentReference, RequestMirror, RouteStatus, SessionPersistence,
};
use super::scalar::Duration;

/// Routes for HTTP requests.
pub type HttpRoute = Manifest<HttpRouteSpec, RouteStatus>;

/// What an `HTTPRoute` asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRouteSpec {
    /// Hosts that the route takes; those of its parents when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// Where the route attaches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentReference>,
    /// The rules; one that matches everything by default.
    pub rules: Vec<HttpRouteRule>,
    /// Whether default gateways take the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_default_gateways: Option<DefaultScope>,
}

/// What happens to requests that match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRouteRule {
    /// Who receives them, by weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backend_refs: Vec<BackendRef<HttpFilter>>,
    /// What is done to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<HttpFilter>,
    /// Alternatives; the prefix `/` by default, everything when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<HttpMatch>,
    /// Name of the rule, unique in its route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When a request is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<HttpRetry>,
    /// Whether sessions stay with an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<SessionPersistence>,
    /// How long requests may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<HttpTimeouts>,
}

/// Conditions that must hold together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpMatch {
    /// Conditions on headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<ValueMatch>,
    /// The method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<HttpMethod>,
    /// The path; the prefix `/` by default.
    pub path: HttpPathMatch,
    /// Conditions on query parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query_params: Vec<ValueMatch>,
}

/// A condition on the path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpPathMatch {
    /// How it is compared; as prefix by default.
    #[serde(rename = "type")]
    pub kind: PathMatchType,
    /// With what; `/` by default.
    pub value: String,
}

/// How a path is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathMatchType {
    /// Equal.
    Exact,
    /// By whole segments.
    PathPrefix,
    /// By a regular expression.
    RegularExpression,
}

/// A condition on a header or query parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValueMatch {
    /// Its name.
    pub name: String,
    /// How it is compared; equal by default.
    #[serde(rename = "type")]
    pub kind: MatchType,
    /// With what.
    pub value: String,
}

/// A method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpMethod {
    /// RFC 9110, section 9.3.6.
    #[serde(rename = "CONNECT")]
    Connect,
    /// RFC 9110, section 9.3.5.
    #[serde(rename = "DELETE")]
    Delete,
    /// RFC 9110, section 9.3.1.
    #[serde(rename = "GET")]
    Get,
    /// RFC 9110, section 9.3.2.
    #[serde(rename = "HEAD")]
    Head,
    /// RFC 9110, section 9.3.7.
    #[serde(rename = "OPTIONS")]
    Options,
    /// RFC 5789.
    #[serde(rename = "PATCH")]
    Patch,
    /// RFC 9110, section 9.3.3.
    #[serde(rename = "POST")]
    Post,
    /// RFC 9110, section 9.3.4.
    #[serde(rename = "PUT")]
    Put,
    /// RFC 9110, section 9.3.8.
    #[serde(rename = "TRACE")]
    Trace,
}

/// One step in the treatment of a request. Exactly the field that `kind` names is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpFilter {
    /// Answers to cross-origin requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// A step defined by another object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension_ref: Option<LocalObjectReference>,
    /// A question to an authorization service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_auth: Option<ExternalAuth>,
    /// Edits of request headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_header_modifier: Option<HeaderModifier>,
    /// A copy to another backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_mirror: Option<RequestMirror>,
    /// An answer that sends the client elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_redirect: Option<RequestRedirect>,
    /// Edits of response headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_header_modifier: Option<HeaderModifier>,
    /// Which step.
    #[serde(rename = "type")]
    pub kind: HttpFilterType,
    /// Edits of host and path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_rewrite: Option<UrlRewrite>,
}

/// Which step a filter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpFilterType {
    /// Answers to cross-origin requests.
    #[serde(rename = "CORS")]
    Cors,
    /// A step defined by another object.
    ExtensionRef,
    /// A question to an authorization service.
    ExternalAuth,
    /// Edits of request headers.
    RequestHeaderModifier,
    /// A copy to another backend.
    RequestMirror,
    /// An answer that sends the client elsewhere.
    RequestRedirect,
    /// Edits of response headers.
    ResponseHeaderModifier,
    /// Edits of host and path.
    #[serde(rename = "URLRewrite")]
    UrlRewrite,
}

/// Answers to cross-origin requests (Fetch standard).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cors {
    /// Whether credentials may be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_credentials: Option<bool>,
    /// Request headers that scripts may set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_headers: Vec<String>,
    /// Methods that scripts may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_methods: Vec<String>,
    /// Origins that may ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_origins: Vec<String>,
    /// Response headers that scripts may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<String>,
    /// Seconds that a preflight answer may be kept; 5 by default.
    pub max_age: u32,
}

/// An answer that sends the client elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestRedirect {
    /// Host of the new address; the request's by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Path of the new address; the request's by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathModifier>,
    /// Port of the new address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Scheme of the new address; the request's by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<RedirectScheme>,
    /// Status of the answer; 302 by default.
    pub status_code: u16,
}

/// A scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RedirectScheme {
    /// Plain text.
    #[serde(rename = "http")]
    Http,
    /// TLS.
    #[serde(rename = "https")]
    Https,
}

/// Edits of host and path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UrlRewrite {
    /// The new host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The new path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathModifier>,
}

/// A new path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PathModifier {
    /// Replaces the whole path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_full_path: Option<String>,
    /// Replaces the prefix that matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_prefix_match: Option<String>,
    /// Which of the two.
    #[serde(rename = "type")]
    pub kind: PathModifierType,
}

/// How a path is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathModifierType {
    /// As a whole.
    ReplaceFullPath,
    /// The prefix that matched.
    ReplacePrefixMatch,
}

/// A question to an authorization service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalAuth {
    /// The service.
    pub backend_ref: BackendObjectReference,
    /// Whether the body is sent too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_body: Option<ForwardBody>,
    /// Settings of the gRPC protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcAuth>,
    /// Settings of the HTTP protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpAuth>,
    /// How the service is asked.
    pub protocol: AuthProtocol,
}

/// How an authorization service is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthProtocol {
    /// Envoy's `ext_authz` over gRPC.
    #[serde(rename = "GRPC")]
    Grpc,
    /// By a copy of the request head.
    #[serde(rename = "HTTP")]
    Http,
}

/// How much of a body is sent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ForwardBody {
    /// Most bytes of a body; none when zero or absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u32>,
}

/// Settings of the gRPC protocol.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GrpcAuth {
    /// Request headers that are sent, beside the obligatory ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_headers: Vec<String>,
}

/// Settings of the HTTP protocol.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpAuth {
    /// Request headers that are sent, beside the obligatory ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_headers: Vec<String>,
    /// Headers of the answer that are copied into the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_response_headers: Vec<String>,
    /// Prefix for the path of the question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// When a request is tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRetry {
    /// How often at most; 1 by default.
    pub attempts: u32,
    /// Least time between tries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Duration>,
    /// Answers that are tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<u16>,
}

/// How long requests may take; zero means without limit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpTimeouts {
    /// One try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_request: Option<Duration>,
    /// All tries together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Duration>,
}
