//! `Gateway` and `ListenerSet` (Gateway API v1.7.0, both channels). No merging of listeners.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::http::ExternalAuth;
use super::meta::{Condition, LabelSelector, Manifest, TextMap};
use super::route::{DefaultScope, LocalObjectReference, ObjectReference, SecretObjectReference};

/// Listeners with addresses.
pub type Gateway = Manifest<GatewaySpec, GatewayStatus>;

/// More listeners for a gateway.
pub type ListenerSet = Manifest<ListenerSetSpec, ListenerSetStatus>;

/// What a `Gateway` asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewaySpec {
    /// Addresses to listen on; chosen by the implementation when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<GatewayAddress>,
    /// Which listener sets may attach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_listeners: Option<AllowedListeners>,
    /// Which routes without parents are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_scope: Option<DefaultScope>,
    /// The class.
    pub gateway_class_name: String,
    /// Labels and settings of what is created for the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure: Option<Infrastructure>,
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// TLS settings of all listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<GatewayTls>,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayAddress {
    /// Who can reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routability: Option<String>,
    /// `IPAddress` by default, `Hostname`, `NamedAddress` or a name with a domain.
    #[serde(rename = "type")]
    pub kind: String,
    /// The address; chosen by the implementation when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Which listener sets may attach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowedListeners {
    /// From which namespaces; none by default.
    pub namespaces: ListenerNamespaces,
}

/// A choice of namespaces for listener sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerNamespaces {
    /// Which; none by default.
    pub from: ListenerFrom,
    /// Labels of the namespaces, when `from` is `Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Which namespaces listener sets may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Infrastructure {
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: TextMap,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: TextMap,
    /// Settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters_ref: Option<LocalObjectReference>,
}

/// One listener of a gateway or a listener set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Which routes may attach; those of the same namespace by default.
    pub allowed_routes: AllowedRoutes,
    /// What is done to requests before a route is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<ListenerFilters>,
    /// Host that is served; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The name, unique in its object.
    pub name: String,
    /// The port.
    pub port: u16,
    /// `HTTP`, `HTTPS`, `TLS`, `TCP`, `UDP` or a name with a domain.
    pub protocol: String,
    /// How TLS is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
}

/// Which routes may attach to a listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowedRoutes {
    /// Of which kinds; those that fit the protocol when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<RouteGroupKind>,
    /// From which namespaces; the same by default.
    pub namespaces: RouteNamespaces,
}

/// A kind of routes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteGroupKind {
    /// The group; the Gateway API by default.
    pub group: String,
    /// The kind.
    pub kind: String,
}

/// A choice of namespaces for routes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteNamespaces {
    /// Which; the same by default.
    pub from: RouteFrom,
    /// Labels of the namespaces, when `from` is `Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Which namespaces routes may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteFrom {
    /// All.
    All,
    /// The listener's.
    Same,
    /// Those with matching labels.
    Selector,
}

/// What is done to requests before a route is chosen.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListenerFilters {
    /// The steps, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<ListenerFilter>,
}

/// One step before a route is chosen. Exactly the field that `kind` names is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerFilter {
    /// A step defined by another object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension_ref: Option<LocalObjectReference>,
    /// A question to an authorization service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_auth: Option<ExternalAuth>,
    /// Which step.
    #[serde(rename = "type")]
    pub kind: ListenerFilterType,
}

/// Which step a listener filter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenerFilterType {
    /// A step defined by another object.
    ExtensionRef,
    /// A question to an authorization service.
    ExternalAuth,
}

/// How a listener speaks TLS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificates with keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificate_refs: Vec<SecretObjectReference>,
    /// Who ends TLS; the gateway by default.
    pub mode: TlsMode,
    /// Settings of the implementation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: TextMap,
}

/// Who ends TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsMode {
    /// The backend.
    Passthrough,
    /// The gateway.
    Terminate,
}

/// TLS settings of all listeners.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GatewayTls {
    /// Towards backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendTls>,
    /// Towards clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frontend: Option<FrontendTls>,
}

/// TLS towards backends.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BackendTls {
    /// The certificate that the gateway shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<SecretObjectReference>,
}

/// TLS towards clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FrontendTls {
    /// For ports without an own entry.
    pub default: FrontendValidation,
    /// For single ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_port: Vec<PortTls>,
}

/// Whether and how client certificates are checked.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FrontendValidation {
    /// How; not at all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<ClientValidation>,
}

/// TLS towards clients of one port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortTls {
    /// The port.
    pub port: u16,
    /// The settings.
    pub tls: FrontendValidation,
}

/// How client certificates are checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientValidation {
    /// Who may have issued them.
    pub ca_certificate_refs: Vec<ObjectReference>,
    /// What happens to clients without a good one; refused by default.
    pub mode: ValidationMode,
}

/// What happens to clients without a good certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValidationMode {
    /// They are let in.
    AllowInsecureFallback,
    /// They are refused.
    AllowValidOnly,
}

/// What the controller reported about a gateway.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GatewayStatus {
    /// The addresses in use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<GatewayAddress>,
    /// How many listener sets are attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached_listener_sets: Option<i32>,
    /// The conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// One entry per listener.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<ListenerStatus>,
}

/// What the controller reported about a listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerStatus {
    /// How many routes are attached.
    pub attached_routes: i32,
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// The listener.
    pub name: String,
    /// Kinds of routes that may attach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supported_kinds: Vec<RouteGroupKind>,
}

/// What a `ListenerSet` asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerSetSpec {
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// The gateway.
    pub parent_ref: ParentGatewayReference,
}

/// The gateway of a listener set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ParentGatewayReference {
    /// Group of the parent; the Gateway API by default.
    pub group: String,
    /// Kind of the parent; `Gateway` by default.
    pub kind: String,
    /// Name of the parent.
    pub name: String,
    /// Namespace of the parent; the set's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// What the controller reported about a listener set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListenerSetStatus {
    /// The conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// One entry per listener.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<ListenerStatus>,
}
