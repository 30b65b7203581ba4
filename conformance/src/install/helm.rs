//! The chart by real Helm: checked, installed, upgraded, rolled back and removed, by each version that is in use.

use std::path::Path;

use anyhow::{Context, ensure};

use super::{GATEWAY, NAMESPACE, Scene};
use crate::cluster::{apply, inside, kubectl};
use crate::golang;
use crate::say;
use crate::step::captured;

const RELEASE: &str = "service-mesh";

pub(super) fn run(scene: &Scene<'_>) -> anyhow::Result<()> {
    for program in &golang::HELM {
        let helm = program.build(scene.config)?;
        release(scene, &helm).with_context(|| program.title())?;
        say(&format!("install: {}: ok", program.title()));
    }
    Ok(())
}

/// One release from its first to its last day.
fn release(scene: &Scene<'_>, helm: &Path) -> anyhow::Result<()> {
    let chart = scene.chart();
    let chart = chart.to_str().context("the chart's folder is not UTF-8")?;
    let call = |words: &[&str]| -> anyhow::Result<(bool, String)> {
        let mut call = inside(scene.place)?;
        call.arg(helm).args(words).arg(format!("--namespace={NAMESPACE}"));
        call.env("KUBECONFIG", scene.place.kubeconfig()).env("HOME", &scene.place.folder);
        captured(call)
    };
    let expect = |words: &[&str], succeeds: bool, says: &str| {
        let (succeeded, said) = call(words)?;
        let line = words.join(" ");
        ensure!(
            succeeded == succeeds && said.contains(says),
            "helm {line}: {succeeded}, wanted {says:?}:\n{said}"
        );
        Ok(())
    };
    expect(&["lint", "--strict", chart], true, "0 chart(s) failed")?;
    expect(&["install", RELEASE, chart, "--create-namespace", "--wait", "--timeout=90s"], true, "deployed")?;
    scene.settles("ok       controller")?;
    scene.expect(&["install"], false, "managed by another tool")?;
    expect(&["upgrade", RELEASE, chart, "--set=replicas=2", "--wait", "--timeout=90s"], true, "deployed")?;
    ensure!(replicas(scene)? == "2", "the upgrade did not act");
    expect(
        &["upgrade", RELEASE, chart, "--set=profile=production", "--wait", "--timeout=90s"],
        true,
        "deployed",
    )?;
    let policy = || scene.kubectl(&["get", "authorizationpolicies", "--output=name"]);
    ensure!(policy()?.contains("default-deny"), "production lets everybody in");
    let open = "--set=profile=production,security.enabled=false";
    expect(&["upgrade", RELEASE, chart, open], false, "security.acceptOpen=true")?;
    expect(&["upgrade", RELEASE, chart, "--set=replicas=two"], false, "replicas")?;
    expect(&["rollback", RELEASE, "1", "--wait", "--timeout=90s"], true, "Rollback was a success")?;
    ensure!(replicas(scene)? == "1" && policy()?.is_empty(), "the rollback did not act");
    apply(scene.place, GATEWAY)?;
    scene.settles("ok       gateways")?;
    expect(&["uninstall", RELEASE, "--wait", "--timeout=60s"], true, "uninstalled")?;
    scene.front_stays()?;
    let left = scene.kubectl(&["get", "serviceaccounts,jobs,pods", "--output=name"])?;
    ensure!(!left.contains("removal"), "the removal left {left}");
    scene.front_ends()?;
    // Helm leaves what it did not make as an object of the release: the namespace, and definitions with all
    // that users wrote.
    kubectl(scene.place, &["delete", "namespace", NAMESPACE, "--timeout=60s"])?;
    for definition in scene.definitions()?.lines().filter(|name| name.ends_with(".mesh.io")) {
        kubectl(scene.place, &["delete", definition])?;
    }
    Ok(())
}

fn replicas(scene: &Scene<'_>) -> anyhow::Result<String> {
    scene.kubectl(&["get", "deployment/service-mesh-controller", "-o=jsonpath={.spec.replicas}"])
}
