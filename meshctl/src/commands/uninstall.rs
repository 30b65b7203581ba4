//! `meshctl uninstall`: the controller out of a cluster.

use std::process::ExitCode;

use anyhow::bail;
use mesh_install::cluster::{Api, uninstall};
use mesh_install::{Profile, render};

use super::install::{Cluster, tell};

/// Arguments of `uninstall`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// The class that goes too; empty for none.
    #[arg(long, default_value = "mesh", value_name = "NAME")]
    gateway_class: String,
    /// Remove our resource definitions too, and with them every policy of theirs.
    #[arg(long)]
    crds: bool,
    /// Go on although gateways of the class are left, whose proxies then run without a controller.
    #[arg(long)]
    leave_gateways: bool,
}

/// Removes what `install` made.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let api = arguments.cluster.api()?;
    let class = &arguments.gateway_class;
    let left = gateways(&api, class).await?;
    if !left.is_empty() && !arguments.leave_gateways {
        bail!(
            "gateways of class {class} are left: {}; delete them first, or pass --leave-gateways",
            left.join(", ")
        );
    }
    // Of all profiles it is the one with the most objects; what is not there is passed over.
    let mut values = Profile::Production.values();
    values.node.enabled = true;
    values.gateway_class.name.clone_from(class);
    let rendered = render(&values, &arguments.cluster.namespace);
    uninstall(&api, &rendered, arguments.crds, &mut tell).await?;
    Ok(ExitCode::SUCCESS)
}

/// The gateways of a class, as NAMESPACE/NAME.
async fn gateways(api: &Api, class: &str) -> anyhow::Result<Vec<String>> {
    let list = api.find("/apis/gateway.networking.k8s.io/v1/gateways").await?.unwrap_or_default();
    let all = list["items"].as_array().into_iter().flatten();
    let of_class = all.filter(|gateway| gateway["spec"]["gatewayClassName"] == class);
    let name = |gateway: &serde_json::Value| {
        let text = |field: &str| gateway["metadata"][field].as_str().unwrap_or_default().to_owned();
        format!("{}/{}", text("namespace"), text("name"))
    };
    Ok(of_class.map(name).collect())
}
