//! The proxies of a gateway: pods that the restricted pod security standard admits.

use serde_json::{Value, json};

use super::{Build, Piece, PieceKind, ROOTS, ROOTS_KEY, account, selector};

/// The mesh's roots, as the proxy reads them.
pub const ROOTS_FILE: &str = "/var/run/mesh/roots.pem";
/// The token with which the proxy introduces itself.
pub const TOKEN_FILE: &str = "/var/run/secrets/mesh/token";
/// What the proxy keeps for a start without controller; in memory, for it holds keys.
pub const STATE_FOLDER: &str = "/var/lib/mesh/state";
/// Seconds from the loss of readiness to the closing of listeners.
pub(super) const LAME_DUCK: u32 = 3;
/// Seconds from the begin of a drain to the cut.
pub(super) const DEADLINE: u32 = 30;

/// Metrics and readiness of every proxy.
const HEALTH_PORT: u16 = 15_020;
/// Who may ask for the token.
pub const AUDIENCE: &str = "mesh-ca";
/// No account of the image's system.
const USER: u32 = 65_532;

impl Build<'_> {
    pub(super) fn deployment(&self, config: &str) -> Piece {
        let parameters = self.plan.parameters;
        let mut annotations = self.annotations.clone();
        annotations.insert("gateway.mesh.io/configuration".to_owned(), super::compare::digest(config));
        let mut labels = self.labels.clone();
        // The proxies of a gateway are the mesh's own: their traffic is not captured.
        labels.insert("mesh.io/mode".to_owned(), "none".to_owned());
        // Two proxies on one node cannot have the same ports of its network: the old one goes first.
        let surge = u8::from(!parameters.is_some_and(|p| p.host_network));
        let mut spec = json!({
            "selector": { "matchLabels": selector(&self.plan.name.name, self.settings) },
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": { "maxSurge": surge, "maxUnavailable": 1 - surge },
            },
            "template": {
                "metadata": { "labels": labels, "annotations": annotations },
                "spec": self.pod(),
            },
        });
        // Unsaid, it is left to whoever scales the proxies.
        if let Some(replicas) = parameters.and_then(|p| p.replicas) {
            spec["replicas"] = json!(replicas);
        }
        self.piece(PieceKind::Deployment, json!({ "spec": spec }))
    }

    fn pod(&self) -> Value {
        let account = account(&self.plan.name.name);
        let mut pod = json!({
            "serviceAccountName": account,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": LAME_DUCK + DEADLINE + 5,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "runAsGroup": USER,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [self.container()],
            "volumes": volumes(&account),
        });
        let Some(parameters) = self.plan.parameters else { return pod };
        if parameters.host_network {
            pod["hostNetwork"] = json!(true);
            pod["dnsPolicy"] = json!("ClusterFirstWithHostNet");
        }
        if !parameters.node_selector.is_empty() {
            pod["nodeSelector"] = json!(parameters.node_selector);
        }
        if !parameters.tolerations.is_empty() {
            pod["tolerations"] = json!(parameters.tolerations);
        }
        pod
    }

    fn container(&self) -> Value {
        let resources = self.plan.parameters.and_then(|p| p.resources.as_ref());
        let resources = resources.map_or_else(
            || json!({ "requests": { "cpu": "10m", "memory": "32Mi" }, "limits": { "memory": "512Mi" } }),
            |resources| json!(resources),
        );
        let probe = |path: &str, period: u32, failures: u32| {
            json!({
                "httpGet": { "path": path, "port": HEALTH_PORT, "scheme": "HTTP" },
                "periodSeconds": period,
                "timeoutSeconds": 2,
                "failureThreshold": failures,
            })
        };
        json!({
            "name": "proxy",
            "image": self.settings.image,
            "args": ["--config", "/etc/mesh/proxy.json"],
            "ports": [{ "name": "metrics", "containerPort": HEALTH_PORT, "protocol": "TCP" }],
            "resources": resources,
            "readinessProbe": probe("/ready", 1, 2),
            "livenessProbe": probe("/healthz", 10, 6),
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": { "drop": ["ALL"] },
                "readOnlyRootFilesystem": true,
            },
            "volumeMounts": [
                { "name": "config", "mountPath": "/etc/mesh", "readOnly": true },
                { "name": "roots", "mountPath": "/var/run/mesh", "readOnly": true },
                { "name": "state", "mountPath": "/var/lib/mesh" },
                { "name": "token", "mountPath": "/var/run/secrets/mesh", "readOnly": true },
            ],
        })
    }
}

fn volumes(account: &str) -> Value {
    json!([
        { "name": "config", "configMap": { "name": account } },
        { "name": "roots", "configMap": {
            "name": ROOTS,
            "items": [{ "key": ROOTS_KEY, "path": ROOTS_KEY }],
        } },
        { "name": "state", "emptyDir": { "medium": "Memory", "sizeLimit": "256Mi" } },
        { "name": "token", "projected": { "sources": [{
            "serviceAccountToken": { "audience": AUDIENCE, "expirationSeconds": 3600, "path": "token" },
        }] } },
    ])
}
