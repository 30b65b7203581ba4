//! From objects to resources, findings and statuses. Pure: the same objects give the same result in whatever
//! order they came. No IO, no clock, no subscriber.
//!
//! The translation is a graph of small functions. Some look at one object, some at what is decided together:
//! the listeners of a gateway, the kinds of routes of a port, the policies of a backend. [`Translator`] keeps
//! the results and evaluates only what looked at something that changed.
#![doc = include_str!("../README.md")]

mod backend_tls;
mod certificate;
mod class;
mod entry;
mod fact;
mod feature;
mod few;
mod found;
mod gateway;
mod graph;
pub mod local;
mod node;
mod output;
mod plaintext;
mod pod;
mod policy;
mod reader;
mod route;
mod service;
mod session;
mod suggest;
mod target;
mod telemetry;
mod traffic;
mod workload;
mod xbackend;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_inject::{inject, pods};
use mesh_model::{Delta, Finding, Resource, ResourceKey, TrustDomain};
use mesh_objects as objects;
use mesh_provision::{self as provision, names, status};
use mesh_source::{self as source, store};
use serde::Serialize;

use crate::status::ObjectStatus;
use crate::store::ObjectKey;

pub use entry::{Changes, Entry, locate, refused_policies, refused_tls_policies};
pub use feature::{Feature, UnknownFeature};
pub use graph::Translator;
pub use pod::{SERVED_ENTRY, served_map};

use node::Node;
use output::Output;
use reader::Reader;

/// What holds for the whole mesh.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The trust domain of every identity.
    pub trust_domain: TrustDomain,
    /// Classes with this controller name are ours; it signs what is said about gateway parents.
    pub controller_name: String,
    /// The name that signs what is said about service parents.
    pub mesh_controller_name: String,
    /// Classes that exist without an object.
    pub builtin_classes: BTreeSet<String>,
    /// Whether pods are told of. An endpoint that is a pod then waits until the pod is known, because only the pod
    /// says whether it must be reached with mutual TLS.
    pub follows_pods: bool,
    /// Whether services without an address are given one.
    pub allocate_addresses: bool,
    /// Features of the Gateway API that are switched off: what needs one is refused in status.
    pub disabled_features: BTreeSet<Feature>,
    /// Addresses that gateways may ask for.
    pub gateway_addresses: GatewayAddresses,
    /// The namespace whose policies hold for the whole mesh: the control plane's own.
    pub root_namespace: Option<String>,
}

impl Default for Settings {
    /// A local mesh: class `mesh` is there, addresses are given out.
    fn default() -> Self {
        Self {
            trust_domain: TrustDomain::default(),
            controller_name: "mesh.io/gateway-controller".to_owned(),
            mesh_controller_name: "mesh.io/mesh-controller".to_owned(),
            builtin_classes: BTreeSet::from(["mesh".to_owned()]),
            follows_pods: false,
            allocate_addresses: true,
            disabled_features: BTreeSet::new(),
            gateway_addresses: GatewayAddresses::default(),
            root_namespace: Some("service-mesh-system".to_owned()),
        }
    }
}

/// Which addresses gateways may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayAddresses {
    /// These. What is asked for beside them is refused at once.
    Listed(BTreeSet<String>),
    /// Whatever the cluster gives to the gateway's service, which is known only afterwards.
    OfService,
}

impl Default for GatewayAddresses {
    fn default() -> Self {
        Self::Listed(BTreeSet::new())
    }
}

impl GatewayAddresses {
    /// Whether it is known that an address of this type cannot be had.
    fn refuses(&self, kind: &str) -> bool {
        match self {
            Self::Listed(_) => !matches!(kind, "IPAddress" | "Hostname"),
            Self::OfService => kind != "IPAddress",
        }
    }

    /// Whether it is known that this address cannot be had.
    fn lacks(&self, value: &str) -> bool {
        match self {
            Self::Listed(listed) => !listed.contains(value),
            Self::OfService => false,
        }
    }
}

/// The result for a set of objects.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Translation {
    /// The resources by key.
    #[serde(serialize_with = "resources_as_list")]
    pub resources: BTreeMap<ResourceKey, Resource>,
    /// What is wrong, ordered by object and field. Places in files are added by the store.
    pub findings: Vec<Finding>,
    /// What is reported about each object, ordered by kind and name.
    pub statuses: Vec<ObjectStatus>,
}

fn resources_as_list<S: serde::Serializer>(
    resources: &BTreeMap<ResourceKey, Resource>,
    out: S,
) -> Result<S::Ok, S::Error> {
    out.collect_seq(resources.values())
}

/// What an update changed.
#[derive(Debug, Clone, Default)]
pub struct Update {
    /// Resources that are new, changed or gone.
    pub delta: Delta,
    /// Statuses that are new, changed, or (with `None`) gone.
    pub statuses: BTreeMap<ObjectKey, Option<Arc<ObjectStatus>>>,
    /// Whether some finding came or went; [`Translator::findings`] has them all.
    pub findings_changed: bool,
}

/// Translates a set of objects once.
pub fn translate(entries: impl IntoIterator<Item = Entry>, settings: Settings) -> Translation {
    let mut translator = Translator::new(settings);
    translator.update(Changes::of(entries));
    translator.translation()
}

/// Why the certificate of a secret cannot be used, in words without any part of it.
pub fn certificate_problem(secret: &crate::objects::Secret) -> Option<String> {
    certificate::parse(secret).err()
}

/// Evaluates a node; `None` when what it is about does not exist.
fn evaluate(node: &Node, reader: &Reader<'_>) -> Option<Output> {
    match node {
        Node::Addresses => Some(service::addresses(reader)),
        Node::Backend(backend) => xbackend::backend(reader, backend),
        Node::BackendTls(service) => backend_tls::of_service(reader, service),
        Node::BackendUse(backend) => xbackend::usage(reader, backend),
        Node::Certificate(secret) => certificate::certificate(reader, secret),
        Node::Class(class) => class::class(reader, class),
        Node::Endpoints(service) => service::endpoints(reader, service),
        Node::Gateway(gateway) => gateway::gateway_status(reader, gateway),
        Node::GatewayKinds(gateway) => route::gateway_kinds(reader, gateway),
        Node::ListenerSet(set) => gateway::set_status(reader, set),
        Node::Listeners(gateway) => gateway::listeners(reader, gateway),
        Node::Parents(route) => route::parents(reader, route),
        Node::PeerAuthentication(name) => plaintext::policy(reader, name),
        Node::Pod(name) => pod::pod(reader, name),
        Node::Policy(policy) => policy::policy(reader, policy),
        Node::Route(route) => route::route(reader, route),
        Node::Service(service) => service::service(reader, service),
        Node::ServiceKinds(service) => route::service_kinds(reader, service),
        Node::TelemetryPolicy(policy) => telemetry::status(reader, policy),
        Node::TlsPolicy(policy) => backend_tls::policy_status(reader, policy),
        Node::TrafficPolicy(policy) => traffic::status(reader, policy),
        Node::Workload(process) => workload::workload(reader, process),
    }
}
