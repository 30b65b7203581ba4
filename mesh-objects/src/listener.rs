//! `Gateway` and `ListenerSet` (Gateway API v1.7.0, both channels). No merging of listeners.

use super::http::ExternalAuth;
use super::meta::{Condition, LabelSelector, Manifest, TextMap};
use super::route::{DefaultScope, LocalObjectReference, ObjectReference, SecretObjectReference};
use super::shape::shapes;

/// Listeners with addresses.
pub type Gateway = Manifest<GatewaySpec, GatewayStatus>;

/// More listeners for a gateway.
pub type ListenerSet = Manifest<ListenerSetSpec, ListenerSetStatus>;

shapes! {
    /// What a `Gateway` asks for.
    pub struct GatewaySpec {
        /// Addresses to listen on; chosen by the implementation when empty.
        pub addresses: Vec<GatewayAddress>,
        /// Which listener sets may attach.
        pub allowed_listeners: Option<AllowedListeners>,
        /// Which routes without parents are taken.
        pub default_scope: Option<DefaultScope>,
        /// The class.
        pub gateway_class_name: String,
        /// Labels and settings of what is created for the gateway.
        pub infrastructure: Option<Infrastructure>,
        /// The listeners.
        pub listeners: required Vec<Listener>,
        /// TLS settings of all listeners.
        pub tls: Option<GatewayTls>,
    }

    /// An address.
    pub struct GatewayAddress {
        /// Who can reach it.
        pub routability: Option<String>,
        /// `IPAddress` by default, `Hostname`, `NamedAddress` or a name with a domain.
        #[serde(rename = "type")]
        pub kind: String,
        /// The address; chosen by the implementation when absent.
        pub value: Option<String>,
    }

    /// Which listener sets may attach.
    pub struct AllowedListeners {
        /// From which namespaces; none by default.
        pub namespaces: ListenerNamespaces,
    }

    /// A choice of namespaces for listener sets.
    pub struct ListenerNamespaces {
        /// Which; none by default.
        pub from: ListenerFrom,
        /// Labels of the namespaces, when `from` is `Selector`.
        pub selector: Option<LabelSelector>,
    }

    /// Which namespaces listener sets may come from.
    pub enum ListenerFrom {
        /// All.
        All,
        /// None.
        None,
        /// The gateway's.
        Same,
        /// Those with matching labels.
        Selector,
    }

    /// Labels and settings of what is created for a gateway.
    pub default struct Infrastructure {
        /// Annotations.
        pub annotations: TextMap,
        /// Labels.
        pub labels: TextMap,
        /// Settings.
        pub parameters_ref: Option<LocalObjectReference>,
    }

    /// One listener of a gateway or a listener set.
    pub struct Listener {
        /// Which routes may attach; those of the same namespace by default.
        pub allowed_routes: AllowedRoutes,
        /// What is done to requests before a route is chosen.
        pub filters: Option<ListenerFilters>,
        /// Host that is served; any when absent.
        pub hostname: Option<String>,
        /// The name, unique in its object.
        pub name: String,
        /// The port.
        pub port: u16,
        /// `HTTP`, `HTTPS`, `TLS`, `TCP`, `UDP` or a name with a domain.
        pub protocol: String,
        /// How TLS is spoken.
        pub tls: Option<ListenerTls>,
    }

    /// Which routes may attach to a listener.
    pub struct AllowedRoutes {
        /// Of which kinds; those that fit the protocol when empty.
        pub kinds: Vec<RouteGroupKind>,
        /// From which namespaces; the same by default.
        pub namespaces: RouteNamespaces,
    }

    /// A kind of routes.
    pub struct RouteGroupKind {
        /// The group; the Gateway API by default.
        pub group: String,
        /// The kind.
        pub kind: String,
    }

    /// A choice of namespaces for routes.
    pub struct RouteNamespaces {
        /// Which; the same by default.
        pub from: RouteFrom,
        /// Labels of the namespaces, when `from` is `Selector`.
        pub selector: Option<LabelSelector>,
    }

    /// Which namespaces routes may come from.
    pub enum RouteFrom {
        /// All.
        All,
        /// The listener's.
        Same,
        /// Those with matching labels.
        Selector,
    }

    /// What is done to requests before a route is chosen.
    pub default struct ListenerFilters {
        /// The steps, in order.
        pub requests: Vec<ListenerFilter>,
    }

    /// One step before a route is chosen. Exactly the field that `kind` names is set.
    pub struct ListenerFilter {
        /// A step defined by another object.
        pub extension_ref: Option<LocalObjectReference>,
        /// A question to an authorization service.
        pub external_auth: Option<ExternalAuth>,
        /// Which step.
        #[serde(rename = "type")]
        pub kind: ListenerFilterType,
    }

    /// Which step a listener filter is.
    pub enum ListenerFilterType {
        /// A step defined by another object.
        ExtensionRef,
        /// A question to an authorization service.
        ExternalAuth,
    }

    /// How a listener speaks TLS.
    pub struct ListenerTls {
        /// Certificates with keys.
        pub certificate_refs: Vec<SecretObjectReference>,
        /// Who ends TLS; the gateway by default.
        pub mode: TlsMode,
        /// Settings of the implementation.
        pub options: TextMap,
    }

    /// Who ends TLS.
    pub enum TlsMode {
        /// The backend.
        Passthrough,
        /// The gateway.
        Terminate,
    }

    /// TLS settings of all listeners.
    pub default struct GatewayTls {
        /// Towards backends.
        pub backend: Option<BackendTls>,
        /// Towards clients.
        pub frontend: Option<FrontendTls>,
    }

    /// TLS towards backends.
    pub default struct BackendTls {
        /// The certificate that the gateway shows.
        pub client_certificate_ref: Option<SecretObjectReference>,
    }

    /// TLS towards clients.
    pub struct FrontendTls {
        /// For ports without an own entry.
        pub default: FrontendValidation,
        /// For single ports.
        pub per_port: Vec<PortTls>,
    }

    /// Whether and how client certificates are checked.
    pub default struct FrontendValidation {
        /// How; not at all when absent.
        pub validation: Option<ClientValidation>,
    }

    /// TLS towards clients of one port.
    pub struct PortTls {
        /// The port.
        pub port: u16,
        /// The settings.
        pub tls: FrontendValidation,
    }

    /// How client certificates are checked.
    pub struct ClientValidation {
        /// Who may have issued them.
        pub ca_certificate_refs: required Vec<ObjectReference>,
        /// What happens to clients without a good one; refused by default.
        pub mode: ValidationMode,
    }

    /// What happens to clients without a good certificate.
    pub enum ValidationMode {
        /// They are let in.
        AllowInsecureFallback,
        /// They are refused.
        AllowValidOnly,
    }

    /// What the controller reported about a gateway.
    pub default struct GatewayStatus {
        /// The addresses in use.
        pub addresses: Vec<GatewayAddress>,
        /// How many listener sets are attached.
        pub attached_listener_sets: Option<i32>,
        /// The conditions.
        pub conditions: Vec<Condition>,
        /// One entry per listener.
        pub listeners: Vec<ListenerStatus>,
    }

    /// What the controller reported about a listener.
    pub struct ListenerStatus {
        /// How many routes are attached.
        pub attached_routes: i32,
        /// The conditions.
        pub conditions: required Vec<Condition>,
        /// The listener.
        pub name: String,
        /// Kinds of routes that may attach.
        pub supported_kinds: Vec<RouteGroupKind>,
    }

    /// What a `ListenerSet` asks for.
    pub struct ListenerSetSpec {
        /// The listeners.
        pub listeners: required Vec<Listener>,
        /// The gateway.
        pub parent_ref: ParentGatewayReference,
    }

    /// The gateway of a listener set.
    pub struct ParentGatewayReference {
        /// Group of the parent; the Gateway API by default.
        pub group: String,
        /// Kind of the parent; `Gateway` by default.
        pub kind: String,
        /// Name of the parent.
        pub name: String,
        /// Namespace of the parent; the set's own by default.
        pub namespace: Option<String>,
    }

    /// What the controller reported about a listener set.
    pub default struct ListenerSetStatus {
        /// The conditions.
        pub conditions: Vec<Condition>,
        /// One entry per listener.
        pub listeners: Vec<ListenerStatus>,
    }
}
