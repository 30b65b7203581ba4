//! Our controller in a cluster, from the same manifest that users apply. What it does there is not decided here.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::cluster::{Place, apply, kubectl};
use crate::config::Config;
use crate::images::{self, Profile};
use crate::step::wait_for;

/// Where it is.
pub(crate) const NAMESPACE: &str = "--namespace=service-mesh-system";
/// As kubectl names it.
pub(crate) const CONTROLLER: &str = "deployment/service-mesh-controller";
const SELECTOR: &str = "--selector=app.kubernetes.io/name=service-mesh-controller";
/// How long controllers may take to end or to become ready.
const SCALED: Duration = Duration::from_secs(120);
const NODE_NAMESPACE: &str = "--namespace=service-mesh-system-node";

/// What the controller answers to.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// The class of our gateways.
    pub(crate) class: String,
    /// The controller's name in that class.
    pub(crate) controller: String,
}

impl Names {
    /// What a user gets without asking.
    pub(crate) fn usual() -> Self {
        Self { class: "mesh".to_owned(), controller: "mesh.io/gateway-controller".to_owned() }
    }

    /// Others, to show that none is written into the program.
    pub(crate) fn other() -> Self {
        Self { class: "zebra".to_owned(), controller: "example.org/other-controller".to_owned() }
    }
}

/// Builds and loads our images, and starts the controller or starts it anew.
///
/// # Errors
/// When a program cannot be built, or the controller does not become ready.
pub(crate) fn deploy(config: &Config, place: &Place, profile: Profile, names: &Names) -> anyhow::Result<()> {
    images::ours(config, place, profile)?;
    let manifest = config.root.join("kubernetes/controller-deployment.yaml");
    apply(place, &manifest_for(&manifest, names)?)?;
    let class = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: {}}}\nspec: {{controllerName: {}}}\n",
        names.class, names.controller
    );
    apply(place, &class)?;
    kubectl(place, &[NAMESPACE, "rollout", "restart", CONTROLLER])?;
    let rolled = ["rollout", "status", CONTROLLER, "--timeout=90s"];
    if let Err(error) = kubectl(place, &[&[NAMESPACE], rolled.as_slice()].concat()) {
        let pods = kubectl(place, &[NAMESPACE, "get", "pods", "-o", "wide"]).unwrap_or_default();
        let log = kubectl(place, &[NAMESPACE, "logs", CONTROLLER, "--tail=30"]);
        return Err(error.context(format!("{pods}\n{}", log.unwrap_or_else(|error| format!("{error:#}")))));
    }
    Ok(())
}

/// Changes how many controllers run, until so many are ready and there are no others.
///
/// # Errors
/// When that takes too long.
pub(crate) fn scale(place: &Place, count: usize) -> anyhow::Result<()> {
    kubectl(place, &[NAMESPACE, "scale", CONTROLLER, &format!("--replicas={count}")])?;
    wait_for("the controllers", SCALED, || {
        let ready = r#"-o=jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
        let said = kubectl(place, &[NAMESPACE, "get", "pods", SELECTOR, ready])?;
        ensure!(said.split_whitespace().eq(std::iter::repeat_n("True", count)), "{said:?}");
        Ok(())
    })
}

/// Starts the node's proxy or starts it anew, from the images that are loaded.
///
/// # Errors
/// When it does not become ready.
pub(crate) fn deploy_node(config: &Config, place: &Place) -> anyhow::Result<()> {
    let manifest = config.root.join("kubernetes/node/daemonset.yaml");
    let text = std::fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    let runs = kubectl(place, &[NODE_NAMESPACE, "get", "daemonset/mesh-node", "--output=name"]).is_ok();
    apply(place, &text)?;
    if runs {
        kubectl(place, &[NODE_NAMESPACE, "rollout", "restart", "daemonset/mesh-node"])?;
    }
    let rolled = ["rollout", "status", "daemonset/mesh-node", "--timeout=90s"];
    if let Err(error) = kubectl(place, &[&[NODE_NAMESPACE], rolled.as_slice()].concat()) {
        let pods = kubectl(place, &[NODE_NAMESPACE, "describe", "pods"]).unwrap_or_default();
        let log = kubectl(place, &[NODE_NAMESPACE, "logs", "daemonset/mesh-node", "--tail=30"]);
        return Err(error.context(format!("{pods}\n{}", log.unwrap_or_else(|error| format!("{error:#}")))));
    }
    Ok(())
}

fn manifest_for(manifest: &Path, names: &Names) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(manifest).with_context(|| manifest.display().to_string())?;
    Ok(text.replace(&Names::usual().controller, &names.controller))
}
