//! `HTTPRoute` (Gateway API v1.7.0, both channels). No matching and no translation.

use super::meta::Manifest;
use super::route::{
    BackendObjectReference, BackendRef, DefaultScope, HeaderModifier, LocalObjectReference, MatchType,
    ParentReference, RequestMirror, RouteStatus, SessionPersistence,
};
use super::scalar::Duration;
use super::shape::shapes;

/// Routes for HTTP requests.
pub type HttpRoute = Manifest<HttpRouteSpec, RouteStatus>;

shapes! {
    /// What an `HTTPRoute` asks for.
    pub struct HttpRouteSpec {
        /// Hosts that the route takes; those of its parents when empty.
        pub hostnames: Vec<String>,
        /// Where the route attaches.
        pub parent_refs: Vec<ParentReference>,
        /// The rules; one that matches everything by default.
        pub rules: required Vec<HttpRouteRule>,
        /// Whether default gateways take the route.
        pub use_default_gateways: Option<DefaultScope>,
    }

    /// What happens to requests that match.
    pub struct HttpRouteRule {
        /// Who receives them, by weight.
        pub backend_refs: Vec<BackendRef<HttpFilter>>,
        /// What is done to them.
        pub filters: Vec<HttpFilter>,
        /// Alternatives; the prefix `/` by default, everything when empty.
        pub matches: Vec<HttpMatch>,
        /// Name of the rule, unique in its route.
        pub name: Option<String>,
        /// When a request is tried again.
        pub retry: Option<HttpRetry>,
        /// Whether sessions stay with an endpoint.
        pub session_persistence: Option<SessionPersistence>,
        /// How long requests may take.
        pub timeouts: Option<HttpTimeouts>,
    }

    /// Conditions that must hold together.
    pub struct HttpMatch {
        /// Conditions on headers.
        pub headers: Vec<ValueMatch>,
        /// The method.
        pub method: Option<HttpMethod>,
        /// The path; the prefix `/` by default.
        pub path: HttpPathMatch,
        /// Conditions on query parameters.
        pub query_params: Vec<ValueMatch>,
    }

    /// A condition on the path.
    pub struct HttpPathMatch {
        /// How it is compared; as prefix by default.
        #[serde(rename = "type")]
        pub kind: PathMatchType,
        /// With what; `/` by default.
        pub value: String,
    }

    /// How a path is compared.
    pub enum PathMatchType {
        /// Equal.
        Exact,
        /// By whole segments.
        PathPrefix,
        /// By a regular expression.
        RegularExpression,
    }

    /// A condition on a header or query parameter.
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
    pub struct HttpFilter {
        /// Answers to cross-origin requests.
        pub cors: Option<Cors>,
        /// A step defined by another object.
        pub extension_ref: Option<LocalObjectReference>,
        /// A question to an authorization service.
        pub external_auth: Option<ExternalAuth>,
        /// Edits of request headers.
        pub request_header_modifier: Option<HeaderModifier>,
        /// A copy to another backend.
        pub request_mirror: Option<RequestMirror>,
        /// An answer that sends the client elsewhere.
        pub request_redirect: Option<RequestRedirect>,
        /// Edits of response headers.
        pub response_header_modifier: Option<HeaderModifier>,
        /// Which step.
        #[serde(rename = "type")]
        pub kind: HttpFilterType,
        /// Edits of host and path.
        pub url_rewrite: Option<UrlRewrite>,
    }

    /// Which step a filter is.
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
    pub struct Cors {
        /// Whether credentials may be sent.
        pub allow_credentials: Option<bool>,
        /// Request headers that scripts may set.
        pub allow_headers: Vec<String>,
        /// Methods that scripts may use.
        pub allow_methods: Vec<String>,
        /// Origins that may ask.
        pub allow_origins: Vec<String>,
        /// Response headers that scripts may read.
        pub expose_headers: Vec<String>,
        /// Seconds that a preflight answer may be kept; 5 by default.
        pub max_age: u32,
    }

    /// An answer that sends the client elsewhere.
    pub struct RequestRedirect {
        /// Host of the new address; the request's by default.
        pub hostname: Option<String>,
        /// Path of the new address; the request's by default.
        pub path: Option<PathModifier>,
        /// Port of the new address.
        pub port: Option<u16>,
        /// Scheme of the new address; the request's by default.
        pub scheme: Option<RedirectScheme>,
        /// Status of the answer; 302 by default.
        pub status_code: u16,
    }

    /// A scheme.
    pub enum RedirectScheme {
        /// Plain text.
        #[serde(rename = "http")]
        Http,
        /// TLS.
        #[serde(rename = "https")]
        Https,
    }

    /// Edits of host and path.
    pub struct UrlRewrite {
        /// The new host.
        pub hostname: Option<String>,
        /// The new path.
        pub path: Option<PathModifier>,
    }

    /// A new path.
    pub struct PathModifier {
        /// Replaces the whole path.
        pub replace_full_path: Option<String>,
        /// Replaces the prefix that matched.
        pub replace_prefix_match: Option<String>,
        /// Which of the two.
        #[serde(rename = "type")]
        pub kind: PathModifierType,
    }

    /// How a path is replaced.
    pub enum PathModifierType {
        /// As a whole.
        ReplaceFullPath,
        /// The prefix that matched.
        ReplacePrefixMatch,
    }

    /// A question to an authorization service.
    pub struct ExternalAuth {
        /// The service.
        pub backend_ref: BackendObjectReference,
        /// Whether the body is sent too.
        pub forward_body: Option<ForwardBody>,
        /// Settings of the gRPC protocol.
        pub grpc: Option<GrpcAuth>,
        /// Settings of the HTTP protocol.
        pub http: Option<HttpAuth>,
        /// How the service is asked.
        pub protocol: AuthProtocol,
    }

    /// How an authorization service is asked.
    pub enum AuthProtocol {
        /// Envoy's `ext_authz` over gRPC.
        #[serde(rename = "GRPC")]
        Grpc,
        /// By a copy of the request head.
        #[serde(rename = "HTTP")]
        Http,
    }

    /// How much of a body is sent.
    pub default struct ForwardBody {
        /// Most bytes of a body; none when zero or absent.
        pub max_size: Option<u32>,
    }

    /// Settings of the gRPC protocol.
    pub default struct GrpcAuth {
        /// Request headers that are sent, beside the obligatory ones.
        pub allowed_headers: Vec<String>,
    }

    /// Settings of the HTTP protocol.
    pub default struct HttpAuth {
        /// Request headers that are sent, beside the obligatory ones.
        pub allowed_headers: Vec<String>,
        /// Headers of the answer that are copied into the request.
        pub allowed_response_headers: Vec<String>,
        /// Prefix for the path of the question.
        pub path: Option<String>,
    }

    /// When a request is tried again.
    pub struct HttpRetry {
        /// How often at most; 1 by default.
        pub attempts: u32,
        /// Least time between tries.
        pub backoff: Option<Duration>,
        /// Answers that are tried again.
        pub codes: Vec<u16>,
    }

    /// How long requests may take; zero means without limit.
    pub default struct HttpTimeouts {
        /// One try.
        pub backend_request: Option<Duration>,
        /// All tries together.
        pub request: Option<Duration>,
    }
}
