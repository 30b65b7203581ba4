//! The command line and environment of `service-mesh-controller`; nothing else reads them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use mesh_model::TrustDomain;

/// The control plane: objects in, resources and certificates out.
#[derive(Debug, Parser)]
#[command(name = "service-mesh-controller", version)]
pub(crate) struct Arguments {
    /// Folder or file with the objects
    #[arg(long, env = "MESH_SOURCE", value_name = "PATH")]
    pub(crate) source: PathBuf,
    /// Folder for the authority's sealed keys, join tokens (`tokens/NAMESPACE/ACCOUNT`) and roots.pem
    #[arg(long, env = "MESH_STATE", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Where discovery and certificates are served
    #[arg(long, env = "MESH_LISTEN", default_value = "127.0.0.1:15012", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Where /ready and /metrics are served
    #[arg(long, env = "MESH_READINESS", default_value = "127.0.0.1:15020", value_name = "ADDRESS")]
    pub(crate) readiness: SocketAddr,
    /// The trust domain of all identities
    #[arg(long, env = "MESH_TRUST_DOMAIN", default_value = "cluster.local", value_name = "NAME")]
    pub(crate) trust_domain: TrustDomain,
    /// How findings are printed
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// One JSON object per line on standard output
    Json,
    /// Lines for people on standard error
    Text,
}
