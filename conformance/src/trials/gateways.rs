//! What runs for gateways: their ports, how they are reached, and who has them in charge.

use anyhow::{Context, ensure};

use super::scene::{LIMIT, Scene, route};
use crate::cluster::{NODE, kubectl};
use crate::step::{in_url, wait_for};

/// Listeners at 80 and 10080, which would meet without privileges, in either order of their coming.
pub(super) fn ports(scene: &Scene<'_>) -> anyhow::Result<()> {
    let both = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: mesh
  listeners: [{name: http, port: 80, protocol: HTTP}, {name: high, port: 10080, protocol: HTTP}]
";
    scene.apply(both)?;
    scene.apply(&route("second", "high", "/first", 302))?;
    scene.programmed()?;
    scene.answers(10_080, "/first", 302)?;
    scene.answers(80, "/first", 301)
}

/// A gateway has an address of either family, and reaches backends that have only the other one.
pub(super) fn both_families(scene: &Scene<'_>) -> anyhow::Result<()> {
    let objects = "
apiVersion: v1
kind: Service
metadata: {name: sixth}
spec:
  ipFamilies: [IPv6]
  selector: {gateway.networking.k8s.io/gateway-name: edge}
  ports: [{port: 80, targetPort: 10080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: sixth}
spec:
  parentRefs: [{name: edge}]
  hostnames: [sixth.test]
  rules:
  - filters: [{type: URLRewrite, urlRewrite: {hostname: own.test}}]
    backendRefs: [{name: sixth, port: 80}]
";
    scene.apply(objects)?;
    let addresses = scene.get("gateway/edge")?["status"]["addresses"].clone();
    let addresses: Vec<&str> =
        addresses.as_array().into_iter().flatten().filter_map(|a| a["value"].as_str()).collect();
    let six = addresses.iter().find(|address| address.contains(':'));
    let six = six.with_context(|| format!("no address in IPv6 among {addresses:?}"))?;
    let url = format!("http://[{six}]/first");
    scene.answers_now(&url, 301, &[])?;
    wait_for("a backend in IPv6 answers", LIMIT, || {
        scene.answers_now(&url, 301, &["--header", "host: sixth.test"])
    })
}

/// Two replicas behind a port of the node, then an address from a load balancer, which is played here.
pub(super) fn exposure(scene: &Scene<'_>) -> anyhow::Result<()> {
    let parameters = |kind: &str| {
        format!(
            "
apiVersion: gateway.mesh.io/v1alpha1
kind: GatewayParameters
metadata: {{name: edge}}
spec: {{replicas: 2, serviceType: {kind}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  gatewayClassName: mesh
  infrastructure: {{parametersRef: {{group: gateway.mesh.io, kind: GatewayParameters, name: edge}}}}
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
"
        )
    };
    serve_parameters(scene)?;
    wait_for("the kind is served", LIMIT, || scene.apply(&parameters("NodePort")))?;
    wait_for("two replicas are ready", LIMIT, || {
        let ready = scene.get("deployment/edge-mesh")?["status"]["readyReplicas"].as_u64();
        ensure!(ready == Some(2), "{ready:?} replicas are ready");
        Ok(())
    })?;
    let port = wait_for("the service has a port of the node", LIMIT, || {
        let service = scene.get("service/edge-mesh")?;
        service["spec"]["ports"][0]["nodePort"].as_u64().context("no port of the node")
    })?;
    let url = format!("http://{NODE}:{port}/first");
    wait_for("the node's port answers", LIMIT, || scene.answers_now(&url, 301, &[]))?;
    scene.apply(&parameters("LoadBalancer"))?;
    wait_for("the service wants a load balancer", LIMIT, || {
        let kind = scene.get("service/edge-mesh")?["spec"]["type"].clone();
        ensure!(kind == "LoadBalancer", "the service is a {kind}");
        Ok(())
    })?;
    let ingress = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.10"}]}}}"#;
    scene.kubectl(&[
        "patch",
        "service",
        "edge-mesh",
        "--subresource=status",
        "--type=merge",
        "-p",
        ingress,
    ])?;
    wait_for("the balancer's address is the gateway's", LIMIT, || {
        let address = scene.address()?;
        ensure!(address == "192.0.2.10", "the address is {address}");
        Ok(())
    })
}

/// Proxies in the network of their node, before and after a rollout.
pub(super) fn host_network(scene: &Scene<'_>) -> anyhow::Result<()> {
    let parameters = "
apiVersion: gateway.mesh.io/v1alpha1
kind: GatewayParameters
metadata: {name: edge}
spec: {hostNetwork: true}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: mesh
  infrastructure: {parametersRef: {group: gateway.mesh.io, kind: GatewayParameters, name: edge}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
";
    serve_parameters(scene)?;
    wait_for("the kind is served", LIMIT, || scene.apply(parameters))?;
    let url = format!("http://{NODE}:10080/first");
    for _ in 0..2 {
        wait_for("the node's port answers", LIMIT, || scene.answers_now(&url, 301, &[]))?;
        scene.programmed()?;
        scene.answers(80, "/first", 301)?;
        scene.kubectl(&["rollout", "restart", "deployment/edge-mesh"])?;
        scene.kubectl(&["rollout", "status", "deployment/edge-mesh", "--timeout=120s"])?;
    }
    Ok(())
}

fn serve_parameters(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.apply(include_str!("../../../config/crd/gatewayparameters.gateway.mesh.io.yaml"))?;
    let established = ["wait", "--for=condition=Established", "crd/gatewayparameters.gateway.mesh.io"];
    kubectl(scene.place, &established).map(drop)
}

/// A gateway whose class is another controller's: what we made goes, what is somebody else's stays.
pub(super) fn taken_over(scene: &Scene<'_>) -> anyhow::Result<()> {
    let others = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: trial-others}
spec: {controllerName: others.example/controller}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: theirs, labels: {app.kubernetes.io/managed-by: somebody}}
";
    scene.apply(others)?;
    let class = r#"{"spec":{"gatewayClassName":"trial-others"}}"#;
    scene.kubectl(&["patch", "gateway", "edge", "--type=merge", "-p", class])?;
    let gone = wait_for("what was made is removed", LIMIT, || {
        let kinds = "deployments,services,serviceaccounts,configmaps";
        let left = scene.kubectl(&["get", kinds, "-o", "name"])?;
        ensure!(!left.contains("edge-mesh"), "there are still {left}");
        ensure!(left.contains("configmap/theirs"), "what is somebody else's is gone: {left}");
        Ok(())
    });
    let class = ["delete", "gatewayclass", "trial-others", "--ignore-not-found"];
    let cleared = kubectl(scene.place, &class).map(drop);
    gone.and(cleared)
}

/// A class that is deleted under its gateway: both stay and are served, changes too, and the class goes with the gateway.
pub(super) fn class_in_use(scene: &Scene<'_>) -> anyhow::Result<()> {
    let objects = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: trial-leaving}
spec: {controllerName: mesh.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: leaving}
spec:
  gatewayClassName: trial-leaving
  listeners: [{name: http, port: 80, protocol: HTTP}]
";
    scene.apply(objects)?;
    let tried = deleted_under_its_gateway(scene);
    scene.kubectl(&["delete", "gateway", "leaving", "--ignore-not-found"])?;
    let gone = ["delete", "gatewayclass", "trial-leaving", "--ignore-not-found", "--timeout=30s"];
    tried.and(kubectl(scene.place, &gone).map(drop))
}

fn deleted_under_its_gateway(scene: &Scene<'_>) -> anyhow::Result<()> {
    let answers = |path: &str, status: u16| {
        scene.apply(&route(&path[1..], "http", path, status).replace("name: edge", "name: leaving"))?;
        let url = format!("http://{}{path}", in_url(&scene.address_of("leaving")?));
        wait_for(&format!("{url} answers {status}"), LIMIT, || scene.answers_now(&url, status, &[]))
    };
    scene.is_programmed("leaving")?;
    answers("/before", 301)?;
    kubectl(scene.place, &["delete", "gatewayclass", "trial-leaving", "--wait=false"])?;
    let field = "-o=jsonpath={.metadata.deletionTimestamp}";
    let since = kubectl(scene.place, &["get", "gatewayclass", "trial-leaving", field])?;
    ensure!(!since.is_empty(), "the class is not being deleted");
    answers("/after", 302)?;
    answers("/before", 301)?;
    scene.kubectl(&["delete", "gateway", "leaving"])?;
    kubectl(scene.place, &["wait", "--for=delete", "gatewayclass/trial-leaving", "--timeout=30s"]).map(drop)
}
