//! `XBackendTrafficPolicy` and `XTelemetryPolicy` (Gateway API v1.7.0, experimental channel). No attachment.

use super::meta::Manifest;
use super::policy::PolicyStatus;
use super::route::{BackendObjectReference, Fraction, Header, LocalObjectReference, SessionPersistence};
use super::scalar::Duration;
use super::shape::shapes;

/// How traffic to a backend is limited.
pub type XBackendTrafficPolicy = Manifest<BackendTrafficSpec, PolicyStatus>;

/// What a gateway tells of its traffic.
pub type XTelemetryPolicy = Manifest<TelemetrySpec, PolicyStatus>;

shapes! {
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
