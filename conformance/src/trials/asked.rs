//! Authorization by services that are asked: a route's filter in both protocols (GEP-1494), and a listener's before any
//! route is chosen (GEP-5224).

use anyhow::ensure;
use serde_json::Value;

use super::guest::Guest;
use super::scene::{LIMIT, Scene};
use crate::step::wait_for;

/// Routes that ask over gRPC and over HTTP.
const ROUTES: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: asked}
spec:
  parentRefs: [{name: edge, sectionName: http}]
  hostnames: [grpc.test]
  rules:
  - filters: [{type: ExternalAuth, externalAuth: {protocol: GRPC, grpc: {allowedHeaders: [x-token]}, backendRef: {name: authz, port: 80}}}]
    backendRefs: [{name: web, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: asked-in-http}
spec:
  parentRefs: [{name: edge, sectionName: http}]
  hostnames: [http.test]
  rules:
  - filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, http: {path: /status}, backendRef: {name: web, port: 80}}}]
    backendRefs: [{name: web, port: 80}]
";

/// A listener that asks about everything, without routes of its own that would.
const LISTENER: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: mesh
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - name: guarded
    port: 8081
    protocol: HTTP
    filters: {requests: [{type: ExternalAuth, externalAuth: {protocol: GRPC, grpc: {}, backendRef: {name: authz, port: 80}}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: guarded}
spec:
  parentRefs: [{name: edge, sectionName: guarded}]
  rules:
  - matches: [{path: {value: /bare}}, {path: {value: /denied}}, {path: {value: /allowed}}]
    backendRefs: [{name: web, port: 80}]
";

/// What is allowed arrives with what the service said of it, what is denied does not, and when nobody answers nothing
/// passes.
pub(super) fn by_filters(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.backend(1)?;
    let mut authz = Guest::start(scene, "authz", "ext_authz_server.py", &[])?;
    scene.apply(ROUTES)?;
    wait_for("the service is asked", LIMIT, || ask(scene, 80, "grpc.test", "/allowed", 200))?;
    let told = authz.says("question ", LIMIT)?;
    ensure!(told.contains("\"path\": \"/allowed\"") && told.contains("x-token"), "it was asked {told}");
    let (head, body) = ask(scene, 80, "grpc.test", "/allowed", 200)?;
    ensure!(head.contains("x-authorized: yes"), "{head}");
    let seen: Value = serde_json::from_str(&body)?;
    ensure!(seen["headers"]["X-User"][0] == "anna", "the backend was told {seen}");
    let (head, body) = ask(scene, 80, "grpc.test", "/denied", 401)?;
    ensure!(head.contains("www-authenticate: Bearer") && body == "who are you?", "{head}{body}");
    wait_for("HTTP is asked too", LIMIT, || ask(scene, 80, "http.test", "/200", 200))?;
    let (_, body) = ask(scene, 80, "http.test", "/403", 403)?;
    ensure!(!body.contains("\"path\""), "a refused request arrived: {body}");
    drop(authz);
    wait_for("nothing passes unasked", LIMIT, || ask(scene, 80, "grpc.test", "/allowed", 503))?;
    ask(scene, 80, "http.test", "/200", 200).map(drop)
}

/// Every request of the listener is asked about, those too that no route wants.
pub(super) fn by_listeners(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.backend(1)?;
    let _authz = Guest::start(scene, "authz", "ext_authz_server.py", &[])?;
    scene.apply(LISTENER)?;
    scene.programmed()?;
    wait_for("the listener asks", LIMIT, || ask(scene, 8081, "any.test", "/denied", 401))?;
    let (_, body) = ask(scene, 8081, "any.test", "/allowed", 200)?;
    let seen: Value = serde_json::from_str(&body)?;
    ensure!(seen["headers"]["X-User"][0] == "anna", "the backend was told {seen}");
    ask(scene, 8081, "any.test", "/denied-bare", 401)
        .or_else(|_| ask(scene, 8081, "any.test", "/denied-bare", 403))?;
    // The other listener has no filters.
    scene.answers(80, "/first", 301)
}

/// Head and body of an answer that has this status.
fn ask(
    scene: &Scene<'_>,
    port: u16,
    host: &str,
    path: &str,
    status: u16,
) -> anyhow::Result<(String, String)> {
    let (url, host_line) = (format!("http://{}:{port}{path}", scene.address()?), format!("host: {host}"));
    let (head, body) = scene.asked(&url, &["--header", &host_line, "--header", "x-token: t"])?;
    ensure!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{host}{path}: {head}");
    Ok((head, body))
}
