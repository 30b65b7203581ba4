//! The proxies of nodes: what they may do is more than the control plane's namespace allows, so they have one of their
//! own beside it. No permission in the API server.

use serde_json::{Value as Json, json};

use crate::render::{NAME, POD_SECURITY, pull_policy};
use crate::values::Values;

/// The name of their objects.
pub const NODE_NAME: &str = "mesh-node";
const METRICS_PORT: u16 = 15020;
const NAMES_PORT: u16 = 15053;
/// What a replaced proxy needs beside the time that it gives to what was begun, in seconds: it looks for the one that
/// takes its place, and tells the control plane when there is none.
const MARGIN: u32 = 60;
/// How long clients of HTTP/1 are asked to leave before their connections are closed, in seconds.
const LAME_DUCK: u32 = 5;
/// The folder of the node in which a proxy hands its sockets on. Each installation has one of its own in it.
const HANDOVER: &str = "/run/service-mesh";
/// The folder in which container runtimes keep network namespaces.
const NAMESPACES: &str = "/run/netns";
const ROOTS: &str = "/var/run/mesh";
const STATE: &str = "/var/lib/mesh/state";
const TOKEN: &str = "/var/run/secrets/mesh";

/// The namespace of the proxies of nodes for a control plane in this one.
pub fn node_namespace(namespace: &str) -> String {
    format!("{namespace}-node")
}

/// The objects, in the order in which they can be made.
pub(crate) fn objects(values: &Values, namespace: &str) -> Vec<Json> {
    let own = node_namespace(namespace);
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": own,
                "labels": { "app.kubernetes.io/part-of": "service-mesh", POD_SECURITY: "privileged" },
            },
        }),
        named("v1", "ServiceAccount", &own, json!({})),
        named("apps/v1", "DaemonSet", &own, json!({ "spec": daemons(values, namespace) })),
    ]
}

fn labels() -> Json {
    json!({ "app.kubernetes.io/name": NODE_NAME, "app.kubernetes.io/part-of": "service-mesh" })
}

fn named(api_version: &str, kind: &str, namespace: &str, rest: Json) -> Json {
    let mut object = rest;
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    object["metadata"] = json!({ "name": NODE_NAME, "namespace": namespace, "labels": labels() });
    object
}

fn daemons(values: &Values, namespace: &str) -> Json {
    let mut template = json!({
        "metadata": { "labels": labels() },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [container(values, namespace)],
            "priorityClassName": "system-node-critical",
            "serviceAccountName": NODE_NAME,
            "terminationGracePeriodSeconds": u64::from(values.node.grace_seconds) + u64::from(MARGIN),
            "tolerations": [{ "operator": "Exists" }],
            "volumes": volumes(namespace),
        },
    });
    if values.observability.enabled {
        template["metadata"]["annotations"] = json!({
            "prometheus.io/path": "/metrics",
            "prometheus.io/port": METRICS_PORT.to_string(),
            "prometheus.io/scrape": "true",
        });
    }
    json!({
        "selector": { "matchLabels": { "app.kubernetes.io/name": NODE_NAME } },
        "template": template,
        // The new proxy serves the node's pods, at the old one's sockets, before the old one leaves them.
        "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
    })
}

fn container(values: &Values, namespace: &str) -> Json {
    let field =
        |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let ready = json!({ "path": "/ready", "port": METRICS_PORT });
    json!({
        "name": NODE_NAME,
        "image": values.image.node,
        "imagePullPolicy": pull_policy(values),
        // The kubelet puts the variables in.
        "args": ["--config-text", config(values, namespace).to_string()],
        "env": [
            field("NODE_ADDRESS", "status.hostIP"),
            field("NODE_NAME", "spec.nodeName"),
            field("POD_NAME", "metadata.name"),
        ],
        "ports": [{ "name": "metrics", "containerPort": METRICS_PORT }],
        "readinessProbe": { "httpGet": ready, "periodSeconds": 2, "failureThreshold": 3 },
        "resources": { "requests": { "cpu": "20m", "memory": "48Mi" }, "limits": { "memory": "1Gi" } },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            // To enter a pod's network namespace, and to set rules and mark connections there.
            "capabilities": { "add": ["NET_ADMIN", "SYS_ADMIN"], "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "runAsUser": 0,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": [
            { "name": "handover", "mountPath": HANDOVER },
            { "name": "namespaces", "mountPath": NAMESPACES, "mountPropagation": "HostToContainer", "readOnly": true },
            { "name": "roots", "mountPath": ROOTS, "readOnly": true },
            { "name": "state", "mountPath": STATE },
            { "name": "token", "mountPath": TOKEN, "readOnly": true },
        ],
    })
}

fn volumes(namespace: &str) -> Json {
    let token = json!({ "audience": "mesh-ca", "expirationSeconds": 3600, "path": "token" });
    json!([
        { "name": "handover", "hostPath": {
            "path": format!("{HANDOVER}/{}", node_namespace(namespace)),
            "type": "DirectoryOrCreate",
        } },
        { "name": "namespaces", "hostPath": { "path": NAMESPACES, "type": "Directory" } },
        { "name": "roots", "configMap": {
            "name": "mesh-ca-root",
            "items": [{ "key": "roots.pem", "path": "roots.pem" }],
        } },
        // It holds keys, so it never reaches a disk.
        { "name": "state", "emptyDir": { "medium": "Memory", "sizeLimit": "64Mi" } },
        { "name": "token", "projected": { "sources": [{ "serviceAccountToken": token }] } },
    ])
}

fn config(values: &Values, namespace: &str) -> Json {
    let domain = &values.trust_domain;
    json!({
        "addresses": "$(NODE_ADDRESS)",
        "names": NAMES_PORT,
        "controller": {
            "address": format!("{NAME}.{namespace}.svc:15012"),
            "identity": format!("spiffe://{domain}/ns/{namespace}/sa/{NAME}"),
            "roots": format!("{ROOTS}/roots.pem"),
            "token": format!("{TOKEN}/token"),
        },
        "drain": { "deadlineSeconds": values.node.grace_seconds, "lameDuckSeconds": LAME_DUCK },
        "handover": HANDOVER,
        "identity": format!("spiffe://{domain}/ns/{}/sa/{NODE_NAME}", node_namespace(namespace)),
        "metrics": format!("[::]:{METRICS_PORT}"),
        "name": "$(POD_NAME)",
        "namespaces": NAMESPACES,
        "node": "$(NODE_NAME)",
        "state": { "directory": STATE },
        "trustDomain": domain,
    })
}
