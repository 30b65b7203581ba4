//! Spans of a gateway, as its policy wants them, at a receiver of another make (XTelemetryPolicy).

use std::time::Duration;

use anyhow::ensure;
use serde_json::Value;

use super::guest::Guest;
use super::scene::{LIMIT, Scene};
use crate::step::wait_for;

const POLICY: &str = "
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XTelemetryPolicy
metadata: {name: traced}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  tracing:
    mode: Enabled
    provider: {backendRef: {name: collector, port: 80}}
    serviceName: trial/edge
    attributes: [{name: env, sourceType: Literal, literalValue: trial}]
";
const PARENT: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A span for a request, in the trace of its client, and none any more without the policy.
pub(super) fn spans(scene: &Scene<'_>) -> anyhow::Result<()> {
    let mut collector = Guest::start(scene, "collector", "otlp_receiver.py", &[])?;
    scene.apply(POLICY)?;
    let url = format!("http://{}/first", scene.address()?);
    let request = || scene.answers_now(&url, 301, &["--header", PARENT]);
    let said = wait_for("a span arrives", LIMIT, || {
        request()?;
        collector.says("span ", Duration::from_secs(6))
    })?;
    let span: Value = serde_json::from_str(said.trim_start_matches("span "))?;
    ensure!(span["trace_hex"] == "0af7651916cd43dd8448eb211c80319c", "{span}");
    ensure!(span["parent_hex"] == "b7ad6b7169203331" && span["service"] == "trial/edge", "{span}");
    ensure!(said.contains("\"env\"") && said.contains("http.response.status_code"), "{span}");
    let policy = scene.get("xtelemetrypolicy/traced")?;
    let mut conditions = policy["status"]["ancestors"][0]["conditions"].as_array().into_iter().flatten();
    ensure!(conditions.any(|c| c["type"] == "Accepted" && c["status"] == "True"), "{}", policy["status"]);
    scene.kubectl(&["delete", "xtelemetrypolicy", "traced"])?;
    wait_for("no span arrives without the policy", LIMIT, || {
        while collector.says("span ", Duration::from_secs(7)).is_ok() {}
        request()?;
        ensure!(collector.says("span ", Duration::from_secs(7)).is_err(), "spans still arrive");
        Ok(())
    })
}
