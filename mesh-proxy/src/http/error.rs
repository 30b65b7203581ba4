//! Why a request was not answered by its backend: the closed list, and what each case means to the client,
//! to telemetry and to retries.

use http::StatusCode;
use mesh_model::Reason;

use crate::upstream::ConnectError;

/// What is wrong with a request head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The authority is missing, double, or not an authority (RFC 9112, section 3.2).
    #[error("the host is missing, occurs twice or is not a host")]
    Authority,
    /// `Connection` names a header that is not hop-by-hop.
    #[error("Connection names a header that it may not remove")]
    Connection,
    /// `Content-Length` or `Transfer-Encoding` leaves the length of the body open to interpretation.
    #[error("the length of the body is ambiguous")]
    Framing,
    /// A header name holds an underscore.
    #[error("a header name holds an underscore")]
    HeaderName,
    /// A proxy of the mesh names a method that no request can have had.
    #[error("the method is none that can ask for another protocol")]
    Method,
    /// The path or query holds what has no safe reading.
    #[error("the path has no safe reading")]
    Path,
    /// The scheme is not http or https.
    #[error("the scheme is not http or https")]
    Scheme,
}

/// Why a request was not answered by its backend.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An authorization service gave no usable answer.
    #[error("the authorization service gave no usable answer")]
    Authorizer,
    /// The body is larger than an authorization service may be sent.
    #[error("the request body is too large to be authorized")]
    BodyTooLarge,
    /// The connection to the backend could not be made.
    #[error("the backend could not be reached")]
    Connect(#[source] ConnectError),
    /// Authorization said no.
    #[error("access denied")]
    Denied(Reason),
    /// The request asks for something in `Expect` that is not known (RFC 9110, section 10.1.1).
    #[error("unknown expectation")]
    Expectation,
    /// The head is larger than the limits.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// The head is malformed or ambiguous.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The method is not allowed here.
    #[error("method not allowed")]
    Method,
    /// The chosen backend does not exist or cannot be used.
    #[error("the rule's backend is not usable")]
    NoBackend,
    /// The service has no ready endpoint.
    #[error("no endpoint is ready")]
    NoEndpoint,
    /// The engine refused with this status.
    #[error("{1}")]
    Refused(StatusCode, Reason),
    /// Another try was due, and the backend's budget of retries is used up.
    #[error("the backend's budget of retries is used up")]
    RetryBudget,
    /// The backend broke the exchange off before an answer.
    #[error("the backend closed the connection")]
    Reset {
        /// Another try is safe: nothing of the request can have been processed, or its method allows it and the
        /// connection broke off before any answer (RFC 9110, section 9.2.2).
        repeatable: bool,
    },
    /// The client did not send its body in time.
    #[error("the request body took too long")]
    SlowBody,
    /// A time limit passed.
    #[error("the time limit passed")]
    Timeout,
    /// The backend's answer to an upgrade cannot be passed on.
    #[error("the backend refused to change the protocol")]
    UpgradeRefused,
}

/// What an error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// The status of the answer.
    pub status: StatusCode,
    /// The reason in logs, metrics and decisions.
    pub reason: Reason,
    /// Whether another try cannot make the request happen twice.
    pub repeatable: bool,
}

impl Error {
    /// Status, reason and whether another try is safe, in one exhaustive list.
    pub fn meaning(&self) -> Meaning {
        let (status, reason, repeatable) = match self {
            Self::Authorizer => (StatusCode::SERVICE_UNAVAILABLE, Reason::AuthorizerFailed, false),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Reason::BodyTooLarge, false),
            Self::Connect(error) => (StatusCode::SERVICE_UNAVAILABLE, error.reason(), true),
            Self::Denied(Reason::PolicyPending) => {
                (StatusCode::SERVICE_UNAVAILABLE, Reason::PolicyPending, false)
            }
            Self::Denied(reason) => (StatusCode::FORBIDDEN, *reason, false),
            Self::Expectation => (StatusCode::EXPECTATION_FAILED, Reason::MalformedRequest, false),
            Self::HeadTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Reason::HeadTooLarge, false),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, Reason::MalformedRequest, false),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, Reason::MethodNotAllowed, false),
            Self::NoBackend => (StatusCode::INTERNAL_SERVER_ERROR, Reason::NoBackend, false),
            Self::NoEndpoint => (StatusCode::SERVICE_UNAVAILABLE, Reason::NoEndpoint, false),
            Self::Refused(status, reason) => (*status, *reason, false),
            Self::Reset { repeatable } => {
                (StatusCode::SERVICE_UNAVAILABLE, Reason::UpstreamReset, *repeatable)
            }
            Self::RetryBudget => (StatusCode::SERVICE_UNAVAILABLE, Reason::RetryBudgetSpent, false),
            Self::SlowBody => (StatusCode::REQUEST_TIMEOUT, Reason::Timeout, false),
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, Reason::Timeout, false),
            Self::UpgradeRefused => (StatusCode::BAD_GATEWAY, Reason::UpstreamReset, false),
        };
        Meaning { status, reason, repeatable }
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error)
    }
}
