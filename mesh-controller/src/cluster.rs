//! The control plane on Kubernetes: objects from an API server, statuses and gateways back to it. Here are its
//! parts and what they share; translation and the port itself know nothing of a cluster.
//!
//! No type of the Kubernetes client leaves this module: `client::Api` speaks JSON.

mod admission;
mod apply;
mod classes;
mod client;
mod definitions;
mod discovery;
mod election;
mod feed;
mod holdings;
mod item;
mod nodes;
mod pods;
mod review;
mod roots;
mod run;
mod served;
mod source;
mod status;
mod unusable;
mod vault;
mod webhook;
mod xmesh;

pub use classes::release as release_classes;
pub use run::{Cluster, ClusterError};

pub(crate) use client::{Api, CallError, Fault};
pub(crate) use served::Served;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use mesh_model::TrustDomain;
use mesh_rt::SharedClock;
use tokio::sync::watch;

use crate::controller::View;
use crate::serve::Counters;
use crate::translate::Feature;

/// Signs what the control plane writes with server-side apply.
pub(crate) const FIELD_OWNER: &str = "service-mesh-controller";

/// What a control plane on Kubernetes needs to know.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Classes with this controller name are ours.
    pub controller_name: String,
    /// Where the control plane itself runs.
    pub namespace: String,
    /// The image of the gateways' proxies.
    pub proxy_image: String,
    /// The trust domain of every identity.
    pub trust_domain: TrustDomain,
    /// The lives of certificates.
    pub lives: mesh_ca::Policy,
    /// Whether several replicas agree who writes. Without it this one always does.
    pub leader_election: bool,
    /// The name under which this replica takes part, such as its pod's.
    pub replica: String,
    /// Where discovery and certificates are served.
    pub listen: SocketAddr,
    /// Where readiness and metrics are served.
    pub readiness: SocketAddr,
    /// The file of the key that seals the authority's state; without it the key is kept in a Secret.
    pub authority_key: Option<PathBuf>,
    /// Where the API server asks about new pods.
    pub webhook: SocketAddr,
    /// The name of this control plane among several that inject sidecars.
    pub revision: String,
    /// Features of the Gateway API that are switched off.
    pub disabled_features: BTreeSet<Feature>,
    /// Whether tokens count wherever they come from, for networks that change the source addresses of pods.
    pub tokens_anywhere: bool,
}

/// What a part that writes to the API server is given. A copy shares everything.
#[derive(Clone)]
pub(crate) struct Access {
    /// The API server.
    pub(crate) api: Api,
    /// What the controller holds: objects with their present statuses, and the statuses they should have.
    pub(crate) view: watch::Receiver<View>,
    /// Whether this replica writes. A writer stops when it turns false and begins anew when it turns true;
    /// each write is conditional or an apply all the same, because a lease alone fences nothing.
    pub(crate) leading: watch::Receiver<bool>,
    /// What of our kinds the API server serves now, and in which version.
    pub(crate) served: watch::Receiver<Arc<Served>>,
    /// What is counted.
    pub(crate) counters: Arc<Counters>,
    /// The flags.
    pub(crate) config: Arc<ClusterConfig>,
    /// The time.
    pub(crate) clock: SharedClock,
}
