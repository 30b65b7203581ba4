//! Budgets of retries (XBackendTrafficPolicy): how many tries a failing backend gets is what its policy allows.

use anyhow::{Context, ensure};

use super::scene::{LIMIT, Scene};
use crate::cluster::inside;
use crate::step::{output, wait_for};

/// A route whose every request fails and is tried three times more.
const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: fails}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {value: /status}}]
    retry: {codes: [503], attempts: 3, backoff: 1ms}
    backendRefs: [{name: web, port: 80}]
";
/// Requests of one measurement.
const REQUESTS: u64 = 20;

/// The policy with this share of requests and this rate of retries that are always allowed.
fn policy(percent: u32, least: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {{name: limited}}
spec:
  targetRefs: [{{group: \"\", kind: Service, name: web}}]
  retryConstraint: {{budget: {{percent: {percent}, interval: 10s}}, minRetryRate: {least}}}
"
    )
}

/// A generous policy lets every retry pass, a tight one a few of them.
pub(super) fn of_retries(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.backend(1)?;
    scene.apply(ROUTE)?;
    scene.apply(&policy(100, "{count: 1000, interval: 1s}"))?;
    scene.answers(80, "/status/503", 503)?;
    wait_for("every retry passes", LIMIT, || {
        let spent = retries(scene)?;
        ensure!(spent == 3 * REQUESTS, "{spent} retries of {REQUESTS} requests");
        Ok(())
    })?;
    scene.apply(&policy(0, "{count: 1, interval: 10s}"))?;
    wait_for("few pass", LIMIT, || {
        let spent = retries(scene)?;
        ensure!(spent <= 3, "{spent} retries of {REQUESTS} requests");
        Ok(())
    })
}

/// The retries of some requests that fail, as the gateway counts them.
fn retries(scene: &Scene<'_>) -> anyhow::Result<u64> {
    let url = format!("http://{}/status/503", scene.address()?);
    let before = counted(scene)?;
    for _ in 0..REQUESTS {
        scene.answers_now(&url, 503, &[])?;
    }
    Ok(counted(scene)? - before)
}

fn counted(scene: &Scene<'_>) -> anyhow::Result<u64> {
    let label = "gateway.networking.k8s.io/gateway-name=edge";
    let ip = scene.kubectl(&["get", "pods", "-l", label, "-o", "jsonpath={.items[0].status.podIP}"])?;
    let mut call = inside(scene.place)?;
    call.args(["curl", "--silent", "--fail", "--max-time", "5", &format!("http://{ip}:15020/metrics")]);
    let text = output(call)?;
    let line = text.lines().find(|line| line.starts_with("mesh_retries_total"));
    let number = line.and_then(|line| line.rsplit(' ').next()).context("no counter of retries")?;
    Ok(number.parse()?)
}
