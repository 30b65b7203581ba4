//! The containers and volumes of a sidecar.

use serde_json::{Map, Value, json};

use super::{HEALTH_PORT, INBOUND_PORT, INIT, Injection, OUTBOUND_PORT, USER, Wishes, workload_api};
use crate::pods::SIDECAR;
use mesh_provision::{AUDIENCE, ROOTS, ROOTS_FILE, ROOTS_KEY, STATE_FOLDER, TOKEN_FILE};

/// Seconds that a sidecar, which ends after the application, gives to what is still open.
const DEADLINE: u32 = 5;

/// Sets the redirect rules and ends: the only one with a capability, and root because the runtime gives capabilities
/// to nobody else.
pub(super) fn init(settings: &Injection, wishes: Wishes<'_>) -> Value {
    let mut arguments = vec![
        "init".to_owned(),
        format!("--user={USER}"),
        format!("--outbound={OUTBOUND_PORT}"),
        format!("--inbound={INBOUND_PORT}"),
        format!("--open={HEALTH_PORT}"),
    ];
    arguments.extend(wishes.names.map(|port| format!("--names={port}")));
    json!({
        "name": INIT,
        "image": settings.image,
        "args": arguments,
        "resources": resources(),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "add": ["NET_ADMIN"], "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "runAsUser": 0,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
    })
}

/// The proxy, which starts before the application and ends after it, with the questions that it asks for the kubelet
/// and what the pod wants of it.
pub(super) fn proxy(settings: &Injection, probes: Map<String, Value>, wishes: Wishes<'_>) -> Value {
    let mut mounts = vec![
        json!({ "name": "mesh-roots", "mountPath": folder(ROOTS_FILE), "readOnly": true }),
        json!({ "name": "mesh-state", "mountPath": folder(STATE_FOLDER) }),
        json!({ "name": "mesh-token", "mountPath": folder(TOKEN_FILE), "readOnly": true }),
    ];
    mounts.extend(wishes.socket.map(|_| workload_api::mount()));
    let field =
        |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "httpGet": { "path": path, "port": HEALTH_PORT, "scheme": "HTTP" },
            "periodSeconds": period,
            "timeoutSeconds": 2,
            "failureThreshold": failures,
        })
    };
    json!({
        "name": SIDECAR,
        "image": settings.image,
        "restartPolicy": "Always",
        // The kubelet puts the variables in.
        "args": ["--config-text", config(settings, probes, wishes).to_string()],
        "env": [
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
            field("POD_ACCOUNT", "spec.serviceAccountName"),
        ],
        "ports": [{ "name": "mesh-metrics", "containerPort": HEALTH_PORT, "protocol": "TCP" }],
        "resources": resources(),
        "startupProbe": probe("/ready", 1, 300),
        "readinessProbe": probe("/ready", 2, 3),
        "livenessProbe": probe("/healthz", 10, 6),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsGroup": USER,
            "runAsNonRoot": true,
            "runAsUser": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": mounts,
    })
}

pub(super) fn volumes() -> [Value; 3] {
    let token = json!({ "audience": AUDIENCE, "expirationSeconds": 3600, "path": "token" });
    [
        json!({ "name": "mesh-roots", "configMap": {
            "name": ROOTS,
            "items": [{ "key": ROOTS_KEY, "path": ROOTS_KEY }],
        } }),
        // It holds keys, so it never reaches a disk.
        json!({ "name": "mesh-state", "emptyDir": { "medium": "Memory", "sizeLimit": "64Mi" } }),
        json!({ "name": "mesh-token", "projected": { "sources": [{ "serviceAccountToken": token }] } }),
    ]
}

fn config(settings: &Injection, probes: Map<String, Value>, wishes: Wishes<'_>) -> Value {
    let domain = &settings.trust_domain;
    json!({
        "name": "$(POD_NAME).$(POD_NAMESPACE)",
        "trustDomain": domain,
        "identity": format!("spiffe://{domain}/ns/$(POD_NAMESPACE)/sa/$(POD_ACCOUNT)"),
        "controller": {
            "address": settings.controller_address,
            "identity": settings.controller_identity,
            "roots": ROOTS_FILE,
            "token": TOKEN_FILE,
        },
        "state": { "directory": STATE_FOLDER },
        "metrics": format!("[::]:{HEALTH_PORT}"),
        "sidecar": {
            "namespace": "$(POD_NAMESPACE)",
            "name": "$(POD_NAME)",
            "inbound": [{ "listen": format!("[::]:{INBOUND_PORT}") }],
            "outbound": [{ "listen": format!("[::]:{OUTBOUND_PORT}") }],
            "names": wishes.names,
        },
        "probes": probes,
        "workloadApi": wishes.socket,
        // The application has ended before, so nobody is to be warned.
        "drain": { "lameDuckSeconds": 0, "deadlineSeconds": DEADLINE },
    })
}

fn resources() -> Value {
    json!({ "requests": { "cpu": "10m", "memory": "24Mi" }, "limits": { "memory": "256Mi" } })
}

/// The folder of a file.
fn folder(file: &str) -> &str {
    file.rsplit_once('/').map_or("/", |(folder, _)| folder)
}
