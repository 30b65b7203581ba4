//! From a gateway to what runs for it in a cluster: an account, a configuration, proxies, and a service before
//! them, as JSON. Pure; who writes it to an API server is no matter here.
//!
//! Listeners reach the proxies by discovery. A changed listener edits the service and restarts nothing. Beside it is what is reported about objects, for whether a gateway is reached decides that.
#![doc = include_str!("../README.md")]

mod address;
mod compare;
pub mod names;
mod pod;
mod reach;
mod service;
pub mod status;

use std::collections::{BTreeMap, BTreeSet};

use mesh_model::{ObjectName, SpiffeId, Transport, TrustDomain};
use mesh_objects::Gateway;
use mesh_objects::meta::TextMap;
use mesh_objects::parameters::GatewayParametersSpec;
use serde_json::{Value, json};

use crate::names::{bounded, dns_label};

pub use address::{asks_for_scopes, assigned, describe, is_satisfiable, wanted};
pub use compare::{fingerprint, includes};
pub use pod::{AUDIENCE, ROOTS_FILE, STATE_FOLDER, TOKEN_FILE};
pub use reach::{Answer, Reach, addresses_assigned, finish};

/// The label of everything that belongs to a gateway (Gateway API, GEP-1762).
pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// The label that names who made an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The annotation with a fingerprint of what was applied.
pub const APPLIED: &str = "gateway.mesh.io/applied";
/// The config map with the mesh's roots, one in each namespace that holds a gateway.
pub const ROOTS: &str = "mesh-ca-root";
/// Its key.
pub const ROOTS_KEY: &str = "roots.pem";

/// What holds for all gateways of a cluster.
#[derive(Debug, Clone)]
pub struct Provisioning {
    /// Host and port of discovery, as the proxies reach it.
    pub controller_address: String,
    /// Who answers there.
    pub controller_identity: SpiffeId,
    /// The name of the controller in classes; signs what is made.
    pub controller_name: String,
    /// The image of the proxies.
    pub image: String,
    /// The trust domain of the proxies' identities.
    pub trust_domain: TrustDomain,
}

impl Provisioning {
    /// The value of [`MANAGED_BY`] on everything that this controller makes.
    pub fn managed_by(&self) -> String {
        bounded(&self.controller_name.replace('/', "_"))
    }
}

/// Kinds of what is made, in the order in which they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PieceKind {
    /// The account of the proxies.
    ServiceAccount,
    /// Their configuration.
    ConfigMap,
    /// The way to them.
    Service,
    /// The proxies.
    Deployment,
}

impl PieceKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::ServiceAccount, Self::ConfigMap, Self::Service, Self::Deployment];

    /// The kind as written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Deployment => "Deployment",
            Self::Service => "Service",
            Self::ServiceAccount => "ServiceAccount",
        }
    }

    /// Group and version.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::Deployment => "apps/v1",
            Self::ConfigMap | Self::Service | Self::ServiceAccount => "v1",
        }
    }

    /// The name of the kind in paths.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::Deployment => "deployments",
            Self::Service => "services",
            Self::ServiceAccount => "serviceaccounts",
        }
    }
}

/// One object that should be there.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Its kind.
    pub kind: PieceKind,
    /// Its namespace and name.
    pub name: ObjectName,
    /// All that is said about it. Fields that are not said are left alone.
    pub body: Value,
}

/// A gateway that is to be served.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The object.
    pub gateway: &'a Gateway,
    /// Its namespace and name.
    pub name: &'a ObjectName,
    /// Its `metadata.uid`; what is made falls with it.
    pub uid: &'a str,
    /// Settings that it refers to.
    pub parameters: Option<&'a GatewayParametersSpec>,
    /// Ports that its listeners and those of its sets want.
    pub ports: BTreeSet<(Transport, u16)>,
}

/// The name of a gateway's account, configuration and proxies.
pub fn account(gateway: &str) -> String {
    bounded(&format!("{gateway}-mesh"))
}

/// The name of a gateway's service, which must be a DNS label.
pub fn service_name(gateway: &str) -> String {
    dns_label(&format!("{gateway}-mesh"))
}

/// Everything that a gateway needs, in the order in which it is written. Without ports there is no service.
pub fn pieces(plan: &Plan<'_>, settings: &Provisioning) -> Vec<Piece> {
    let build = Build::new(plan, settings);
    let config = build.config();
    let mut pieces = vec![
        build.piece(PieceKind::ServiceAccount, json!({ "automountServiceAccountToken": false })),
        build.piece(PieceKind::ConfigMap, json!({ "data": { "proxy.json": config } })),
    ];
    if !plan.ports.is_empty() {
        pieces.push(build.service());
    }
    pieces.push(build.deployment(&config));
    pieces
}

/// One gateway on its way to objects.
struct Build<'a> {
    plan: &'a Plan<'a>,
    settings: &'a Provisioning,
    labels: TextMap,
    annotations: TextMap,
}

impl<'a> Build<'a> {
    fn new(plan: &'a Plan<'a>, settings: &'a Provisioning) -> Self {
        let infrastructure = plan.gateway.spec.infrastructure.as_ref();
        let mut labels = infrastructure.map(|i| i.labels.clone()).unwrap_or_default();
        labels.extend(selector(&plan.name.name, settings));
        let class = bounded(&plan.gateway.spec.gateway_class_name);
        labels.insert("gateway.networking.k8s.io/gateway-class-name".to_owned(), class);
        let annotations = infrastructure.map(|i| i.annotations.clone()).unwrap_or_default();
        Self { plan, settings, labels, annotations }
    }

    fn piece(&self, kind: PieceKind, rest: Value) -> Piece {
        let name = match kind {
            PieceKind::Service => service_name(&self.plan.name.name),
            _ => account(&self.plan.name.name),
        };
        let name = ObjectName::new(&*self.plan.name.namespace, name.as_str());
        let mut annotations = self.annotations.clone();
        if let (PieceKind::Service, Some(parameters)) = (kind, self.plan.parameters) {
            annotations.extend(parameters.service_annotations.clone());
        }
        let mut body = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.as_str(),
            "metadata": {
                "namespace": &*name.namespace,
                "name": &*name.name,
                "labels": self.labels,
                "annotations": annotations,
                "ownerReferences": [{
                    "apiVersion": self.plan.gateway.api_version,
                    "kind": "Gateway",
                    "name": &*self.plan.name.name,
                    "uid": self.plan.uid,
                    "controller": true,
                }],
            },
        });
        if let (Value::Object(body), Value::Object(rest)) = (&mut body, rest) {
            body.extend(rest);
        }
        Piece { kind, name, body: fingerprint(body, APPLIED) }
    }

    /// The proxies' configuration, which says nothing of listeners.
    fn config(&self) -> String {
        let name = self.plan.name;
        let domain = &self.settings.trust_domain;
        let account = account(&name.name);
        let config = json!({
            "name": format!("{}.{}", account, name.namespace),
            "trustDomain": domain,
            "identity": format!("spiffe://{domain}/ns/{}/sa/{account}", name.namespace),
            "controller": {
                "address": self.settings.controller_address,
                "identity": self.settings.controller_identity,
                "roots": pod::ROOTS_FILE,
                "token": pod::TOKEN_FILE,
            },
            "state": { "directory": pod::STATE_FOLDER },
            "gateway": { "namespace": &*name.namespace, "name": &*name.name },
            "drain": { "lameDuckSeconds": pod::LAME_DUCK, "deadlineSeconds": pod::DEADLINE },
        });
        format!("{config:#}\n")
    }
}

/// Labels that the proxies of one gateway have and no other pods.
fn selector(gateway: &str, settings: &Provisioning) -> BTreeMap<String, String> {
    [(GATEWAY_NAME, bounded(gateway)), (MANAGED_BY, settings.managed_by())]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
}
