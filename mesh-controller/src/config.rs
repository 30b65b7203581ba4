//! The command line and environment of `service-mesh-controller`; nothing else reads them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use mesh_ca::Policy;
#[cfg(feature = "cluster")]
use mesh_controller::cluster::ClusterConfig;
use mesh_controller::serve::StandaloneConfig;
#[cfg(feature = "cluster")]
use mesh_controller::translate::Feature;
use mesh_model::{GatewayDuration, TrustDomain};

/// The control plane: objects in, resources and certificates out.
#[derive(Debug, Parser)]
#[command(name = "service-mesh-controller", version)]
pub(crate) struct Arguments {
    /// Folder or file with the objects, or `kubernetes` for those of an API server
    #[arg(long, env = "MESH_SOURCE", value_name = "PATH")]
    pub(crate) source: PathBuf,
    /// Folder for the authority's sealed keys, join tokens (`tokens/NAMESPACE/ACCOUNT`) and roots.pem
    #[arg(long, env = "MESH_STATE", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Where discovery and certificates are served: port 15012 of this machine alone, or of the whole pod
    #[arg(long, env = "MESH_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where /ready and /metrics are served: port 15020 of this machine alone, or of the whole pod
    #[arg(long, env = "MESH_READINESS", value_name = "ADDRESS")]
    readiness: Option<SocketAddr>,
    /// The trust domain of all identities
    #[arg(long, env = "MESH_TRUST_DOMAIN", default_value = "cluster.local", value_name = "NAME")]
    pub(crate) trust_domain: TrustDomain,
    /// How long a certificate of a workload lives; it is renewed before half of that is over
    #[arg(long, env = "MESH_CERTIFICATE_LIFE", default_value = "12h", value_name = "DURATION")]
    certificate_life: GatewayDuration,
    /// How long a root that is made from now on lives, 16 certificates at least; another one is announced at half of that
    #[arg(long, env = "MESH_ROOT_LIFE", default_value = "87600h", value_name = "DURATION")]
    root_life: GatewayDuration,
    /// How findings are printed
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
    #[cfg(feature = "cluster")]
    #[command(flatten)]
    cluster: ClusterArguments,
}

/// What only a control plane on Kubernetes needs.
#[cfg(feature = "cluster")]
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "With `--source kubernetes`")]
struct ClusterArguments {
    /// Gateway classes with this controller name are ours
    #[arg(
        long,
        env = "MESH_CONTROLLER_NAME",
        default_value = "mesh.io/gateway-controller",
        value_name = "NAME"
    )]
    controller_name: String,
    /// The namespace of the control plane
    #[arg(long, env = "MESH_NAMESPACE", default_value = "service-mesh-system", value_name = "NAME")]
    namespace: String,
    /// Where the API server asks about new pods: port 15017 of the whole pod
    #[arg(long, env = "MESH_WEBHOOK", default_value = "[::]:15017", value_name = "ADDRESS")]
    webhook: SocketAddr,
    /// The name of this control plane among several that inject sidecars
    #[arg(long, env = "MESH_REVISION", default_value = "default", value_name = "NAME")]
    revision: String,
    /// The image of gateways' proxies and sidecars
    #[arg(
        long,
        env = "MESH_PROXY_IMAGE",
        default_value = "service-mesh/mesh-proxy:dev",
        value_name = "IMAGE"
    )]
    proxy_image: String,
    /// Whether replicas agree who of them writes; `--leader-election=false` for a single one
    #[arg(
        long,
        env = "MESH_LEADER_ELECTION",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set,
        value_name = "BOOL"
    )]
    leader_election: bool,
    /// The name of this replica, such as its pod's
    #[arg(long, env = "MESH_REPLICA", value_name = "NAME")]
    replica: Option<String>,
    /// File with the key that seals the authority's state; without it the key is kept in the Secret mesh-ca-key
    #[arg(long, env = "MESH_AUTHORITY_KEY", value_name = "FILE")]
    authority_key: Option<PathBuf>,
    /// A feature of the Gateway API that is switched off, by its name in the status of classes; may be repeated
    #[arg(long = "disable-feature", value_name = "NAME")]
    disabled_features: Vec<Feature>,
    /// Tokens count wherever they come from, not only from their pod: for networks that change the source addresses of
    /// pods
    #[arg(long, env = "MESH_TOKENS_ANYWHERE")]
    tokens_anywhere: bool,
    /// Serves nothing, but takes the finalizers off the classes of this controller name and ends: for an uninstallation
    /// that leaves gateways behind
    #[arg(long)]
    release_classes: bool,
    /// One of these classes that is deleted then
    #[arg(long, requires = "release_classes", value_name = "NAME")]
    delete_class: Option<String>,
}

impl Arguments {
    /// Whether objects come from an API server.
    pub(crate) fn is_kubernetes(&self) -> bool {
        self.source == Path::new("kubernetes")
    }

    /// Ports of all interfaces in a pod, which is reached from others, and of this machine elsewhere.
    fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let host = match self.is_kubernetes() {
            true => IpAddr::from(Ipv6Addr::UNSPECIFIED),
            false => IpAddr::from(Ipv4Addr::LOCALHOST),
        };
        let or_at =
            |address: Option<SocketAddr>, port| address.unwrap_or_else(|| SocketAddr::new(host, port));
        (or_at(self.listen, 15012), or_at(self.readiness, 15020))
    }

    /// The lives of certificates.
    fn lives(&self) -> Policy {
        Policy::of(self.certificate_life.into(), self.root_life.into())
    }

    /// The controller name whose classes are to be released and the class that goes, where nothing else is asked for.
    #[cfg(feature = "cluster")]
    pub(crate) fn released(&self) -> Option<(&str, Option<&str>)> {
        let ClusterArguments { release_classes, controller_name, delete_class, .. } = &self.cluster;
        release_classes.then_some((controller_name, delete_class.as_deref()))
    }

    /// The settings of a control plane over files.
    pub(crate) fn standalone(self) -> StandaloneConfig {
        let (listen, readiness) = self.addresses();
        let lives = self.lives();
        let Self { source, state, trust_domain, .. } = self;
        StandaloneConfig { source, state, listen, readiness: Some(readiness), trust_domain, lives }
    }

    /// The settings of a control plane on Kubernetes.
    #[cfg(feature = "cluster")]
    pub(crate) fn cluster(self) -> ClusterConfig {
        let (listen, readiness) = self.addresses();
        let lives = self.lives();
        let Self { trust_domain, cluster, .. } = self;
        let ClusterArguments {
            controller_name,
            namespace,
            webhook,
            revision,
            proxy_image,
            leader_election,
            replica,
            authority_key,
            disabled_features,
            tokens_anywhere,
            release_classes: _,
            delete_class: _,
        } = cluster;
        let replica = replica.or_else(host_name).unwrap_or_else(random_name);
        ClusterConfig {
            controller_name,
            namespace,
            proxy_image,
            trust_domain,
            lives,
            leader_election,
            replica,
            listen,
            readiness,
            authority_key,
            webhook,
            revision,
            disabled_features: disabled_features.into_iter().collect(),
            tokens_anywhere,
        }
    }
}

/// The pod's name, unless the pod has the node's network.
#[cfg(feature = "cluster")]
#[allow(clippy::disallowed_methods, reason = "this file reads the environment")]
fn host_name() -> Option<String> {
    std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty())
}

#[cfg(feature = "cluster")]
fn random_name() -> String {
    format!("replica-{:08x}", u32::from_be_bytes(mesh_rt::random::secure()))
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// One JSON object per line on standard output
    Json,
    /// Lines for people on standard error
    Text,
}
