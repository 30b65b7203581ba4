//! `XBackend`, `XBackendTrafficPolicy` and `XTelemetryPolicy` (Gateway API v1.7.0, experimental channel). No attachment.

use super::meta::{Condition, Manifest, TextMap};
use super::policy::{BackendTlsValidation, PolicyStatus};
use super::route::{
    BackendObjectReference, Fraction, Header, LocalObjectReference, ParentReference, SecretObjectReference,
    SessionPersistence,
};
use super::scalar::Duration;
use super::shape::shapes;

/// A destination of routes, with how it is spoken to.
pub type XBackend = Manifest<BackendSpec, BackendStatus>;

/// How traffic to a backend is limited.
pub type XBackendTrafficPolicy = Manifest<BackendTrafficSpec, PolicyStatus>;

/// What a gateway tells of its traffic.
pub type XTelemetryPolicy = Manifest<TelemetrySpec, PolicyStatus>;

shapes! {
    /// What an `XBackend` is. Exactly the field that `kind` names is set.
    pub struct BackendSpec {
        /// Pods by labels.
        pub endpoint_selector: Option<EndpointSelector>,
        /// A name outside of the cluster.
        pub external_hostname: Option<ExternalHostname>,
        /// Where endpoints listen.
        pub port: BackendPort,
        /// What is spoken; what the route says when absent.
        pub protocol: Option<BackendProtocol>,
        /// Whether sessions stay with an endpoint; for pods only.
        pub session_persistence: Option<SessionPersistence>,
        /// How TLS is spoken; not at all by default.
        pub tls: BackendTls,
        /// Which of the two.
        #[serde(rename = "type")]
        pub kind: BackendType,
    }

    /// What a backend is.
    pub enum BackendType {
        /// Pods by labels.
        EndpointSelector,
        /// A name outside of the cluster.
        ExternalHostname,
    }

    /// Pods of the backend's namespace.
    pub struct EndpointSelector {
        /// Labels that they all have.
        pub match_labels: TextMap,
    }

    /// A name outside of the cluster.
    pub struct ExternalHostname {
        /// The name; no address, and no name of a Service.
        pub hostname: String,
    }

    /// Where endpoints listen.
    pub struct BackendPort {
        /// The port.
        pub number: Option<u16>,
    }

    /// What is spoken to a backend.
    pub enum BackendProtocol {
        /// gRPC.
        #[serde(rename = "GRPC")]
        Grpc,
        /// HTTP/2 in plain text.
        H2C,
        /// HTTP in any version.
        #[serde(rename = "HTTP")]
        Http,
        /// HTTP/1.1.
        #[serde(rename = "HTTP11")]
        Http11,
        /// HTTP/2 in TLS.
        #[serde(rename = "HTTP2")]
        Http2,
        /// The Model Context Protocol.
        #[serde(rename = "MCP")]
        Mcp,
        /// Opaque bytes.
        #[serde(rename = "TCP")]
        Tcp,
        /// WebSocket in TLS.
        #[serde(rename = "WSS")]
        Wss,
    }

    /// How TLS is spoken to a backend.
    pub struct BackendTls {
        /// The certificate that is shown, when `mode` is `ClientAndServer`.
        pub client_certificate_ref: Option<SecretObjectReference>,
        /// Who proves who they are.
        pub mode: BackendTlsMode,
        /// What is expected of the backend's certificate, unless `mode` is `None`.
        pub validation: Option<BackendTlsValidation>,
    }

    /// Who proves who they are.
    pub enum BackendTlsMode {
        /// Both.
        ClientAndServer,
        /// Nobody: plain text.
        None,
        /// The backend.
        ServerOnly,
    }

    /// What controllers reported about a backend.
    pub default struct BackendStatus {
        /// One entry per ancestor and controller.
        pub ancestors: Vec<BackendAncestorStatus>,
    }

    /// What one controller reported about one ancestor.
    pub struct BackendAncestorStatus {
        /// The ancestor.
        pub ancestor_ref: ParentReference,
        /// The conditions.
        pub conditions: Vec<Condition>,
        /// Who reported.
        pub controller_name: String,
    }

    /// What an `XBackendTrafficPolicy` asks for.
    pub struct BackendTrafficSpec {
        /// How many requests may be retries.
        pub retry_constraint: Option<RetryConstraint>,
        /// Whether sessions stay with an endpoint.
        pub session_persistence: Option<SessionPersistence>,
        /// The backends.
        pub target_refs: required Vec<LocalObjectReference>,
    }

    /// How many requests may be retries.
    pub struct RetryConstraint {
        /// The share of requests that may be retries.
        pub budget: RetryShare,
        /// How many retries are always allowed.
        pub min_retry_rate: RequestRate,
    }

    /// A share of the requests of an interval.
    pub struct RetryShare {
        /// For how long a request counts; 10 seconds by default.
        pub interval: Duration,
        /// The share; 20 by default.
        pub percent: u32,
    }

    /// A number of requests per interval.
    pub struct RequestRate {
        /// How many.
        pub count: Option<u32>,
        /// In which time.
        pub interval: Option<Duration>,
    }

    /// What an `XTelemetryPolicy` asks for.
    pub struct TelemetrySpec {
        /// The gateways.
        pub target_refs: required Vec<LocalObjectReference>,
        /// How requests are traced.
        pub tracing: Option<Tracing>,
    }

    /// How requests are traced.
    pub struct Tracing {
        /// Further attributes of every span.
        pub attributes: Vec<SpanAttribute>,
        /// Whether.
        pub mode: TelemetryMode,
        /// Whether the decision of the caller counts.
        pub parent_based_sampling: Option<ParentSampling>,
        /// Who receives spans.
        pub provider: Option<TracingProvider>,
        /// Which share of new traces is recorded.
        pub sampling_rate: Option<Fraction>,
        /// The resource's `service.name`.
        pub service_name: Option<String>,
        /// The name of spans.
        pub span_name: Option<String>,
    }

    /// Whether something is done.
    pub enum TelemetryMode {
        /// It is not.
        Disabled,
        /// It is.
        Enabled,
        /// As the implementation chooses.
        ImplementationDefault,
    }

    /// Whether the decision of the caller counts.
    pub struct ParentSampling {
        /// Whether.
        pub mode: TelemetryMode,
        /// Which share of the caller's traces is recorded.
        pub sampling_rate: Option<Fraction>,
    }

    /// Who receives spans.
    pub struct TracingProvider {
        /// The receiver.
        pub backend_ref: BackendObjectReference,
        /// Headers of every export.
        pub headers: Vec<Header>,
    }

    /// An attribute of every span. Exactly the field that `source_type` names is set.
    pub struct SpanAttribute {
        /// A property of the request, when `source_type` is `Attribute`.
        pub attribute_key: Option<String>,
        /// A request header, when `source_type` is `Header`.
        pub header_name: Option<String>,
        /// A text, when `source_type` is `Literal`.
        pub literal_value: Option<String>,
        /// Its name.
        pub name: String,
        /// Where its value comes from.
        pub source_type: AttributeSource,
    }

    /// Where the value of an attribute comes from.
    pub enum AttributeSource {
        /// A property of the request.
        Attribute,
        /// A request header.
        Header,
        /// The policy.
        Literal,
    }
}
