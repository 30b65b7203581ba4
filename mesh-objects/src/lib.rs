//! The objects users write, as parsed types: Gateway API, core, and our own kinds. No references are
//! resolved here and nothing is translated.
//!
//! All served versions of a kind share one type. Fields with a default in the schema are not optional:
//! the reader fills the default in before it parses, as an API server does. Every type refuses unknown
//! fields, so a type that lacks a field of its schema fails a test by the field's name.
#![doc = include_str!("../README.md")]

pub mod class;
pub mod core;
pub mod experimental;
pub mod grpc;
pub mod http;
pub mod l4;
pub mod listener;
pub mod local;
pub mod meta;
pub mod parameters;
pub mod policy;
pub mod route;
pub mod scalar;
pub mod schema;
pub mod security;
pub mod service;
mod shape;

use mesh_model::{ObjectName, Origin, SourceRef};

pub use class::GatewayClass;
pub use core::{ClusterTrustBundle, ConfigMap, Namespace, Secret, ServiceAccount};
pub use experimental::{XBackend, XBackendTrafficPolicy, XTelemetryPolicy};
pub use grpc::{GrpcFilter, GrpcMatch, GrpcRoute, GrpcRouteRule, GrpcRouteSpec};
pub use http::{HttpFilter, HttpMatch, HttpRoute, HttpRouteRule, HttpRouteSpec};
pub use l4::{L4RouteSpec, L4Rule, TcpRoute, TlsRoute, TlsRouteSpec, UdpRoute};
pub use listener::{Gateway, Listener, ListenerSet};
pub use local::Process;
pub use meta::{Condition, LabelSelector, Manifest, ObjectMeta};
pub use parameters::GatewayParameters;
pub use policy::{BackendTlsPolicy, ReferenceGrant};
pub use route::{BackendObjectReference, BackendRef, NoFilter, ParentReference, RouteStatus};
pub use scalar::{Duration, IntOrString, SecretBytes, Timestamp};
pub use security::{AuthorizationPolicy, PeerAuthentication};
pub use service::{EndpointSlice, Service};

/// The kind of an object where one is shared by all objects of a type.
pub trait Typed: Sized + 'static {
    /// The kind.
    const KIND: ObjectKind;

    /// The object as this type, when it is of this kind.
    fn from_object(object: &Object) -> Option<&Self>;
}

/// An API group that is named in more than one place.
pub mod group {
    /// Gateway API.
    pub const GATEWAY: &str = "gateway.networking.k8s.io";
    /// Gateway API, kinds that are experiments as a whole.
    pub const EXPERIMENTAL: &str = "gateway.networking.x-k8s.io";
    /// Settings of our gateways.
    pub const PARAMETERS: &str = "gateway.mesh.io";
    /// Processes of the local mesh.
    pub const LOCAL: &str = "local.mesh.io";
    /// Our authorization policies.
    pub const SECURITY: &str = "security.mesh.io";
    /// Certificates that a cluster shares.
    pub const CERTIFICATES: &str = "certificates.k8s.io";
    /// Endpoint slices.
    pub const DISCOVERY: &str = "discovery.k8s.io";
    /// Services, secrets and the other core objects.
    pub const CORE: &str = "";
}

macro_rules! objects {
    ($( $(#[$doc:meta])* $variant:ident, $kind:literal, $group:expr, $scope:ident, [$($version:literal),+] );+ $(;)?) => {
        /// Every kind that is read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ObjectKind { $( $(#[$doc])* $variant ),+ }

        impl ObjectKind {
            /// Every kind, alphabetically.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),+ ];

            /// The kind as written in `kind`.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $kind ),+ }
            }

            /// The API group; empty for core objects.
            pub const fn group(self) -> &'static str {
                match self { $( Self::$variant => $group ),+ }
            }

            /// The versions that are read; all have the same type.
            pub const fn versions(self) -> &'static [&'static str] {
                match self { $( Self::$variant => &[$($version),+] ),+ }
            }

            /// Whether objects of the kind live in a namespace.
            pub const fn scope(self) -> Scope {
                match self { $( Self::$variant => Scope::$scope ),+ }
            }
        }

        /// One object of any kind.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Object { $( $(#[$doc])* $variant(Box<$variant>) ),+ }

        impl Object {
            /// Parses a value of a known kind. Defaults must have been filled in.
            ///
            /// # Errors
            /// When the value does not have the shape of the kind. The schema check comes first and says
            /// this with a place; an error here means that type and schema disagree.
            pub fn parse(kind: ObjectKind, value: serde_json::Value) -> Result<Self, serde_json::Error> {
                match kind {
                    $( ObjectKind::$variant => serde_json::from_value(value).map(|o| Self::$variant(Box::new(o))) ),+
                }
            }

            /// The object as it would be written. Secrets are written in full.
            ///
            /// # Errors
            /// Never for objects that were parsed; the error is passed on for completeness.
            pub fn print(&self) -> Result<serde_json::Value, serde_json::Error> {
                match self { $( Self::$variant(o) => serde_json::to_value(o) ),+ }
            }

            /// The kind.
            pub const fn kind(&self) -> ObjectKind {
                match self { $( Self::$variant(_) => ObjectKind::$variant ),+ }
            }

            /// Name, namespace, labels and the other fields that all objects share.
            pub fn metadata(&self) -> &ObjectMeta {
                match self { $( Self::$variant(o) => &o.metadata ),+ }
            }
        }

        $( impl Typed for $variant {
            const KIND: ObjectKind = ObjectKind::$variant;

            fn from_object(object: &Object) -> Option<&Self> {
                match object { Object::$variant(o) => Some(o), _ => None }
            }
        } )+
    };
}

objects! {
    /// Who may call what.
    AuthorizationPolicy, "AuthorizationPolicy", group::SECURITY, Namespaced, ["v1beta1"];
    /// How to speak TLS to a backend.
    BackendTlsPolicy, "BackendTLSPolicy", group::GATEWAY, Namespaced, ["v1", "v1alpha3"];
    /// CA certificates that a cluster shares.
    ClusterTrustBundle, "ClusterTrustBundle", group::CERTIFICATES, Cluster, ["v1beta1", "v1alpha1"];
    /// Plain configuration, here mostly CA bundles.
    ConfigMap, "ConfigMap", group::CORE, Namespaced, ["v1"];
    /// Addresses behind a service.
    EndpointSlice, "EndpointSlice", group::DISCOVERY, Namespaced, ["v1"];
    /// Listeners with addresses.
    Gateway, "Gateway", group::GATEWAY, Namespaced, ["v1", "v1beta1"];
    /// Which controller serves a gateway.
    GatewayClass, "GatewayClass", group::GATEWAY, Cluster, ["v1", "v1beta1"];
    /// How the proxies of a gateway run.
    GatewayParameters, "GatewayParameters", group::PARAMETERS, Namespaced, ["v1alpha1"];
    /// Routes for gRPC methods.
    GrpcRoute, "GRPCRoute", group::GATEWAY, Namespaced, ["v1"];
    /// Routes for HTTP requests.
    HttpRoute, "HTTPRoute", group::GATEWAY, Namespaced, ["v1", "v1beta1"];
    /// More listeners for a gateway.
    ListenerSet, "ListenerSet", group::GATEWAY, Namespaced, ["v1"];
    /// A namespace and its labels.
    Namespace, "Namespace", group::CORE, Cluster, ["v1"];
    /// Whether clients must prove who they are.
    PeerAuthentication, "PeerAuthentication", group::SECURITY, Namespaced, ["v1beta1"];
    /// A process of the local mesh.
    Process, "Process", group::LOCAL, Namespaced, ["v1alpha1"];
    /// Permission to refer across namespaces.
    ReferenceGrant, "ReferenceGrant", group::GATEWAY, Namespaced, ["v1", "v1beta1"];
    /// Keys and certificates.
    Secret, "Secret", group::CORE, Namespaced, ["v1"];
    /// A name with ports and endpoints.
    Service, "Service", group::CORE, Namespaced, ["v1"];
    /// The account that a workload runs as.
    ServiceAccount, "ServiceAccount", group::CORE, Namespaced, ["v1"];
    /// Routes for TCP connections.
    TcpRoute, "TCPRoute", group::GATEWAY, Namespaced, ["v1", "v1alpha2"];
    /// Routes by server name.
    TlsRoute, "TLSRoute", group::GATEWAY, Namespaced, ["v1", "v1alpha2", "v1alpha3"];
    /// Routes for UDP datagrams.
    UdpRoute, "UDPRoute", group::GATEWAY, Namespaced, ["v1", "v1alpha2"];
    /// A destination of routes, with how it is spoken to.
    XBackend, "XBackend", group::EXPERIMENTAL, Namespaced, ["v1alpha1"];
    /// How traffic to a backend is limited.
    XBackendTrafficPolicy, "XBackendTrafficPolicy", group::EXPERIMENTAL, Namespaced, ["v1alpha1"];
    /// What a gateway tells of its traffic.
    XTelemetryPolicy, "XTelemetryPolicy", group::EXPERIMENTAL, Namespaced, ["v1alpha1"];
}

/// Where objects of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Outside of namespaces.
    Cluster,
    /// In a namespace; `default` where none is named.
    Namespaced,
}

impl ObjectKind {
    /// The kind of an `apiVersion` and `kind`, if it is read here.
    pub fn find(api_version: &str, kind: &str) -> Option<Self> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let matches = |k: &&Self| k.as_str() == kind && k.group() == group && k.versions().contains(&version);
        Self::ALL.iter().find(matches).copied()
    }
}

impl Object {
    /// Namespace and name. The namespace is `default` where the object names none, and empty for objects
    /// outside of namespaces.
    pub fn name(&self) -> ObjectName {
        let metadata = self.metadata();
        let namespace = match self.kind().scope() {
            Scope::Cluster => "",
            Scope::Namespaced => metadata.namespace.as_deref().unwrap_or("default"),
        };
        ObjectName::new(namespace, metadata.name.as_deref().unwrap_or_default())
    }

    /// The object as the source of what is made from it.
    pub fn source(&self, origin: Origin) -> SourceRef {
        SourceRef::new(self.kind().as_str(), self.name(), origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_group_version_and_kind() {
        let table = [
            ("v1", "Service", Some(ObjectKind::Service)),
            ("gateway.networking.k8s.io/v1beta1", "HTTPRoute", Some(ObjectKind::HttpRoute)),
            ("gateway.networking.k8s.io/v1alpha3", "HTTPRoute", None),
            ("discovery.k8s.io/v1", "Service", None),
            ("", "Service", None),
        ];
        for (version, kind, expected) in table {
            assert_eq!(ObjectKind::find(version, kind), expected, "{version} {kind}");
        }
    }

    #[test]
    fn namespaced_objects_live_in_default_and_cluster_objects_nowhere() {
        let value = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
        let object = Object::parse(ObjectKind::ConfigMap, value).unwrap();
        assert_eq!(object.name(), ObjectName::new("default", "a"));
        let value = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
        assert_eq!(Object::parse(ObjectKind::Namespace, value).unwrap().name(), ObjectName::new("", "a"));
    }
}
