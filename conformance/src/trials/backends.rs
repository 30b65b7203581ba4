//! Backends of their own kind, which only the experimental definitions have.

use anyhow::{Context, ensure};
use serde_json::Value;

use super::scene::{LIMIT, Scene};
use crate::step::wait_for;

/// The gateway with a second listener, whose routes lead to backends: pods, which are those of the gateway itself, and a
/// name that nobody has.
fn objects(label: &str) -> String {
    let route = |path: &str, backend: &str| {
        format!(
            "
    - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]
      backendRefs: [{{group: gateway.networking.x-k8s.io, kind: XBackend, name: {backend}}}]"
        )
    };
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  gatewayClassName: mesh
  listeners: [{{name: http, port: 80, protocol: HTTP}}, {{name: own, port: 8081, protocol: HTTP}}]
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {{name: pods}}
spec:
  type: EndpointSelector
  endpointSelector: {{matchLabels: {{gateway.networking.k8s.io/gateway-name: {label}}}}}
  port: {{number: 10080}}
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {{name: nowhere}}
spec: {{type: ExternalHostname, externalHostname: {{hostname: nowhere.invalid}}, port: {{number: 80}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: own}}
spec:
  parentRefs: [{{name: edge, sectionName: own}}]
  rules:{}{}
",
        route("/first", "pods"),
        route("/nowhere", "nowhere"),
    )
}

/// Pods by labels that change, and a name without an address: each backend fails alone, and its status names the gateway.
pub(super) fn own_kind(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.apply(&objects("edge"))?;
    scene.programmed()?;
    scene.answers(8081, "/first", 301)?;
    scene.answers(8081, "/nowhere", 503)?;
    for backend in ["xbackend/pods", "xbackend/nowhere"] {
        wait_for("the backend is accepted", LIMIT, || accepted(&scene.get(backend)?))?;
    }
    scene.apply(&objects("nobody"))?;
    scene.answers(8081, "/first", 503)?;
    scene.answers(80, "/first", 301)?;
    scene.apply(&objects("edge"))?;
    scene.answers(8081, "/first", 301)
}

fn accepted(backend: &Value) -> anyhow::Result<()> {
    let ancestor = &backend["status"]["ancestors"][0];
    ensure!(ancestor["ancestorRef"]["name"] == "edge", "{}", backend["status"]);
    let conditions = ancestor["conditions"].as_array().context("no conditions")?;
    let holds = |kind: &str| conditions.iter().any(|c| c["type"] == kind && c["status"] == "True");
    ensure!(holds("Accepted") && holds("ResolvedRefs"), "{conditions:?}");
    Ok(())
}
