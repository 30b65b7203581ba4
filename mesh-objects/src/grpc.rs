//! `GRPCRoute` (Gateway API v1.7.0, both channels). No matching and no translation.

use super::http::ValueMatch;
use super::meta::Manifest;
use super::route::{
    BackendRef, DefaultScope, HeaderModifier, LocalObjectReference, MatchType, ParentReference,
    RequestMirror, RouteStatus, SessionPersistence,
};
use super::shape::shapes;

/// Routes for gRPC methods.
pub type GrpcRoute = Manifest<GrpcRouteSpec, RouteStatus>;

shapes! {
    /// What a `GRPCRoute` asks for.
    pub default struct GrpcRouteSpec {
        /// Hosts that the route takes; those of its parents when empty.
        pub hostnames: Vec<String>,
        /// Where the route attaches.
        pub parent_refs: Vec<ParentReference>,
        /// The rules.
        pub rules: Vec<GrpcRouteRule>,
        /// Whether default gateways take the route.
        pub use_default_gateways: Option<DefaultScope>,
    }

    /// What happens to calls that match.
    pub default struct GrpcRouteRule {
        /// Who receives them, by weight.
        pub backend_refs: Vec<BackendRef<GrpcFilter>>,
        /// What is done to them.
        pub filters: Vec<GrpcFilter>,
        /// Alternatives; everything when empty.
        pub matches: Vec<GrpcMatch>,
        /// Name of the rule, unique in its route.
        pub name: Option<String>,
        /// Whether sessions stay with an endpoint.
        pub session_persistence: Option<SessionPersistence>,
    }

    /// Conditions that must hold together.
    pub default struct GrpcMatch {
        /// Conditions on headers.
        pub headers: Vec<ValueMatch>,
        /// A condition on service and method.
        pub method: Option<GrpcMethodMatch>,
    }

    /// A condition on service and method.
    pub struct GrpcMethodMatch {
        /// The method; any when absent.
        pub method: Option<String>,
        /// The service; any when absent.
        pub service: Option<String>,
        /// How both are compared; equal by default.
        #[serde(rename = "type")]
        pub kind: MatchType,
    }

    /// One step in the treatment of a call. Exactly the field that `kind` names is set.
    pub struct GrpcFilter {
        /// A step defined by another object.
        pub extension_ref: Option<LocalObjectReference>,
        /// Edits of request headers.
        pub request_header_modifier: Option<HeaderModifier>,
        /// A copy to another backend.
        pub request_mirror: Option<RequestMirror>,
        /// Edits of response headers.
        pub response_header_modifier: Option<HeaderModifier>,
        /// Which step.
        #[serde(rename = "type")]
        pub kind: GrpcFilterType,
    }

    /// Which step a filter is.
    pub enum GrpcFilterType {
        /// A step defined by another object.
        ExtensionRef,
        /// Edits of request headers.
        RequestHeaderModifier,
        /// A copy to another backend.
        RequestMirror,
        /// Edits of response headers.
        ResponseHeaderModifier,
    }
}
