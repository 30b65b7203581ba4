//! Features of the experimental definitions that no test of the suite is about.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::scene::{LIMIT, Scene};
use crate::cluster::{Place, kubectl};
use crate::step::{in_url, wait_for};

/// Routes to pods that say which one they are: with a session by a cookie, by a header, and without.
const ROUTES: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {value: /cookie}}]
    backendRefs: [{name: web, port: 80}]
    sessionPersistence: {type: Cookie, cookie: {name: kept}}
  - matches: [{path: {value: /header}}]
    backendRefs: [{name: web, port: 80}]
    sessionPersistence: {type: Header, header: {name: x-session}}
  - matches: [{path: {value: /none}}]
    backendRefs: [{name: web, port: 80}]
";

/// A gateway for routes that name none, and one of those.
const DEFAULTS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: usual}
spec:
  gatewayClassName: mesh
  defaultScope: All
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: nameless}
spec:
  useDefaultGateways: All
  rules:
  - matches: [{path: {value: /nameless}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: trial.test, statusCode: 302}}]
";

/// A gateway that only the cluster is to reach.
const INTERNAL: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: internal}
spec:
  gatewayClassName: mesh
  addresses: [{type: IPAddress, routability: Cluster}]
  listeners: [{name: http, port: 80, protocol: HTTP}]
";

/// Whether the definitions of the cluster have these features.
pub(super) fn are_there(place: &Place) -> anyhow::Result<bool> {
    let name = "gateways.gateway.networking.k8s.io";
    let path =
        "jsonpath={.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.defaultScope.type}";
    Ok(!kubectl(place, &["get", "crd", name, "-o", path])?.is_empty())
}

/// Requests of one client stay with one pod for as long as it is there, by cookie and by header (GEP-1619).
pub(super) fn sessions(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.backend(3)?;
    scene.apply(ROUTES)?;
    let begin = |path: &str| wait_for(path, LIMIT, || ask(scene, path, &[]));
    begin("/none")?;
    let without = pods(scene, "/none", &[])?;
    ensure!(without.len() > 1, "without a session {without:?} answered");
    for (path, answer, request) in
        [("/cookie", "set-cookie", "cookie"), ("/header", "x-session", "x-session")]
    {
        begin(path)?;
        let (first, head) = ask(scene, path, &[])?;
        let value = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(answer)
                .then(|| value.split(';').next().unwrap_or(value).trim().to_owned())
        });
        let session = format!("{request}: {}", value.with_context(|| format!("no {answer} in {head}"))?);
        let stays = pods(scene, path, &["--header", &session])?;
        ensure!(stays == BTreeSet::from([first.clone()]), "{path}: begun at {first}, answered by {stays:?}");
        scene.kubectl(&["delete", "pod", &first, "--wait=false"])?;
        wait_for("another pod takes the session over", LIMIT, || {
            let (next, _) = ask(scene, path, &["--header", &session])?;
            ensure!(next != first, "{first} is to be gone");
            Ok(())
        })?;
    }
    Ok(())
}

/// A route that names no gateway is served by the default one and by no other (GEP-3793).
pub(super) fn default_gateways(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.apply(DEFAULTS)?;
    scene.is_programmed("usual")?;
    let address = scene.address_of("usual")?;
    let url = |address: &str| format!("http://{address}/nameless");
    let address = in_url(&address);
    wait_for("the default gateway serves it", LIMIT, || scene.answers_now(&url(&address), 302, &[]))?;
    scene.answers_now(&url(&scene.address()?), 404, &[])
}

/// An address that is to be reached from the cluster is given as such (GEP-5093).
pub(super) fn routability(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.apply(INTERNAL)?;
    scene.is_programmed("internal")?;
    let address = scene.address_of("internal")?;
    let status = scene.get("gateway/internal")?["status"]["addresses"].clone();
    ensure!(status[0]["routability"] == "Cluster", "{status}");
    let service = scene.get("service/internal-mesh")?["spec"].clone();
    ensure!(service["type"] == "ClusterIP" && service["clusterIP"] == *address, "{service}");
    Ok(())
}

/// The pods that answer twenty requests.
fn pods(scene: &Scene<'_>, path: &str, more: &[&str]) -> anyhow::Result<BTreeSet<String>> {
    (0..20).map(|_| ask(scene, path, more).map(|(pod, _)| pod)).collect()
}

/// The pod that answers, and the head of its answer.
fn ask(scene: &Scene<'_>, path: &str, more: &[&str]) -> anyhow::Result<(String, String)> {
    let url = format!("http://{}{path}", scene.address()?);
    let (head, body) = scene.asked(&url, &[&["--fail"], more].concat())?;
    let body: Value = serde_json::from_str(&body)?;
    let pod = body["pod"].as_str().context("the answer names no pod")?;
    Ok((pod.to_owned(), head))
}
