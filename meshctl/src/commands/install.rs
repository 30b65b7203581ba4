//! `meshctl install`: the controller into a cluster, or its objects as text.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use mesh_install::cluster::{Api, Change, Connection, install, wait};
use mesh_install::render::NAMESPACE;
use mesh_install::{Values, definitions, manifest, render};

use crate::config::kubeconfig_files;
use crate::terminal::{print, remark};

/// Which cluster is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Cluster {
    /// The kubeconfig file; left out: those of KUBECONFIG, else ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; left out: its current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The namespace of the controller.
    #[arg(long, default_value = NAMESPACE, value_name = "NAME")]
    pub(crate) namespace: String,
}

impl Cluster {
    /// The API server; nothing is sent yet.
    pub(crate) fn api(&self) -> anyhow::Result<Api> {
        let files = self.kubeconfig.clone().map_or_else(kubeconfig_files, |file| vec![file]);
        Ok(Api::new(&Connection::load(&files, self.context.as_deref())?)?)
    }
}

/// Arguments of `install`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// A value as key=value, such as profile=production; may be repeated. The values are those of the chart.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Print the objects as YAML and change nothing. Needs no cluster.
    #[arg(long)]
    dry_run: bool,
    /// Leave our own resource definitions out. Those of the Gateway API are never installed.
    #[arg(long)]
    skip_crds: bool,
    /// How many seconds to wait until the controller is ready; 0 does not wait.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    timeout: u64,
}

/// Installs, or prints what would be.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let values = Values::of_settings(&arguments.settings)?;
    let namespace = &arguments.cluster.namespace;
    let rendered = render(&values, namespace);
    if arguments.dry_run {
        let definitions = if arguments.skip_crds { Vec::new() } else { definitions::definitions() };
        let objects = std::iter::once(rendered.namespace).chain(definitions).chain(rendered.objects);
        let objects: Vec<_> = objects.chain(rendered.class).collect();
        print(&manifest::print(&objects));
        return Ok(ExitCode::SUCCESS);
    }
    let api = arguments.cluster.api()?;
    let left = install(&api, &rendered, !arguments.skip_crds, &mut tell).await?;
    if arguments.timeout > 0 {
        let patience = Duration::from_secs(arguments.timeout);
        wait(&api, namespace, patience, remark).await?;
        print(&format!("the controller in namespace {namespace} is ready"));
    }
    if left.classless {
        remark(GATEWAY_API_MISSING);
    }
    if left.closed {
        remark(&format!(
            "the AuthorizationPolicy default-deny of an earlier installation stays; to let everybody in:\n  \
             kubectl --namespace {namespace} delete authorizationpolicy default-deny"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Said where the cluster cannot take a GatewayClass.
const GATEWAY_API_MISSING: &str = "this cluster has no Gateway API, so there is no GatewayClass yet. Install it and \
    run this again:\n  kubectl apply --server-side -f \
    https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.7.0/standard-install.yaml";

/// One line for each object.
pub(crate) fn tell(kind: &str, name: &str, change: Change) {
    let change = match change {
        Change::Configured => "configured",
        Change::Created => "created",
        Change::Deleted => "deleted",
        Change::Unchanged => "unchanged",
    };
    print(&format!("{kind} {name} {change}"));
}
