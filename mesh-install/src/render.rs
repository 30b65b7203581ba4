//! Values to objects. Pure: no file, no cluster.

use serde_json::{Value as Json, json};

use crate::access::{cluster_rules, namespace_rules, webhook_rule};
use crate::node;
use crate::values::{PullPolicy, Values};
use crate::webhook::webhook;

/// The name of the controller's objects.
pub const NAME: &str = "service-mesh-controller";
/// Where the controller lives unless another namespace is named.
pub const NAMESPACE: &str = "service-mesh-system";
/// The group of the Gateway API.
pub const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";

/// The label with which a namespace limits what its pods may do.
pub(crate) const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";
const POLICIES: &str = "security.mesh.io/v1beta1";
const RBAC: &str = "rbac.authorization.k8s.io/v1";
const CONTROL_PORT: u16 = 15012;
const METRICS_PORT: u16 = 15020;
const WEBHOOK_PORT: u16 = 15017;

/// The objects of an installation.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The namespace. Helm makes it itself.
    pub namespace: Json,
    /// What every cluster can take.
    pub objects: Vec<Json>,
    /// The class, for clusters that have the Gateway API.
    pub class: Option<Json>,
}

/// The objects for values.
pub fn render(values: &Values, namespace: &str) -> Rendered {
    let mut objects = vec![
        account(namespace),
        cluster_role(namespace),
        cluster_binding(namespace),
        named(RBAC, "Role", Some(namespace), json!({"rules": namespace_rules()})),
        binding(namespace),
        service(namespace),
        deployment(values, namespace),
        webhook(namespace),
    ];
    objects.extend(values.security.enabled.then(|| nobody(namespace)));
    if values.node.enabled {
        objects.extend(node::objects(values, namespace));
    }
    Rendered { namespace: namespace_object(namespace), objects, class: class(values) }
}

fn labels() -> Json {
    json!({"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "service-mesh"})
}

/// An object of ours with its further fields.
pub(crate) fn named(api_version: &str, kind: &str, namespace: Option<&str>, rest: Json) -> Json {
    let mut object = rest;
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    object["metadata"] = json!({"name": NAME, "labels": labels()});
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

fn namespace_object(namespace: &str) -> Json {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": namespace,
            "labels": {
                "app.kubernetes.io/part-of": "service-mesh",
                POD_SECURITY: "restricted",
            },
        },
    })
}

fn account(namespace: &str) -> Json {
    named("v1", "ServiceAccount", Some(namespace), json!({}))
}

/// What is not in a namespace carries the namespace in its name, so that two installations do not share it.
pub(crate) fn cluster_name(namespace: &str) -> String {
    if namespace == NAMESPACE { NAME.to_owned() } else { format!("{NAME}-{namespace}") }
}

fn cluster_role(namespace: &str) -> Json {
    let rules: Vec<Json> =
        cluster_rules().into_iter().chain([webhook_rule(&cluster_name(namespace))]).collect();
    let mut role = named(RBAC, "ClusterRole", None, json!({"rules": rules}));
    role["metadata"]["name"] = json!(cluster_name(namespace));
    role
}

fn cluster_binding(namespace: &str) -> Json {
    let name = cluster_name(namespace);
    let mut binding = named(RBAC, "ClusterRoleBinding", None, grant("ClusterRole", &name, namespace));
    binding["metadata"]["name"] = json!(name);
    binding
}

fn binding(namespace: &str) -> Json {
    named(RBAC, "RoleBinding", Some(namespace), grant("Role", NAME, namespace))
}

fn grant(role: &str, name: &str, namespace: &str) -> Json {
    json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}],
    })
}

fn service(namespace: &str) -> Json {
    let port = |name: &str, port: u16| json!({"name": name, "port": port, "targetPort": name});
    let spec = json!({
        "ports": [port("control", CONTROL_PORT), port("metrics", METRICS_PORT), port("webhook", 443)],
        "selector": {"app.kubernetes.io/name": NAME},
    });
    named("v1", "Service", Some(namespace), json!({"spec": spec}))
}

/// A policy that lets nobody in, for the whole mesh: it is in the control plane's namespace. Other policies allow
/// what is meant to be allowed.
pub(crate) fn nobody(namespace: &str) -> Json {
    let spec = json!({"action": "ALLOW", "rules": []});
    let mut policy = named(POLICIES, "AuthorizationPolicy", Some(namespace), json!({"spec": spec}));
    policy["metadata"]["name"] = json!("default-deny");
    policy
}

fn class(values: &Values) -> Option<Json> {
    let name = &values.gateway_class.name;
    let class = json!({
        "apiVersion": GATEWAY_API,
        "kind": "GatewayClass",
        "metadata": {"name": name, "labels": labels()},
        "spec": {"controllerName": values.controller_name},
    });
    (!name.is_empty()).then_some(class)
}

fn deployment(values: &Values, namespace: &str) -> Json {
    let mut template = json!({
        "metadata": {"labels": labels()},
        "spec": {
            "containers": [container(values)],
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "serviceAccountName": NAME,
        },
    });
    if values.observability.enabled {
        template["metadata"]["annotations"] = json!({
            "prometheus.io/path": "/metrics",
            "prometheus.io/port": METRICS_PORT.to_string(),
            "prometheus.io/scrape": "true",
        });
    }
    let spec = json!({
        "replicas": values.replicas,
        "selector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
        // The new controller is ready before the old one goes.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": template,
    });
    named("apps/v1", "Deployment", Some(namespace), json!({"spec": spec}))
}

fn container(values: &Values) -> Json {
    let field =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let port = |name: &str, port: u16| json!({"name": name, "containerPort": port});
    json!({
        "name": "controller",
        "image": values.image.controller,
        "imagePullPolicy": pull_policy(values),
        "args": arguments(values),
        "env": [field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace")],
        "ports": [
            port("control", CONTROL_PORT),
            port("metrics", METRICS_PORT),
            port("webhook", WEBHOOK_PORT),
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "metrics"}, "periodSeconds": 2},
        // An API server that is away is no reason to start again, so only the process itself is asked.
        "livenessProbe": {"tcpSocket": {"port": "metrics"}, "failureThreshold": 6},
        "resources": values.resources,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
        },
    })
}

/// When an image is pulled, in the words of Kubernetes.
pub(crate) fn pull_policy(values: &Values) -> &'static str {
    match values.image.pull_policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    }
}

fn arguments(values: &Values) -> Vec<String> {
    let anywhere = values.security.tokens_anywhere.then(|| "--tokens-anywhere".to_owned());
    let arguments = vec![
        "--source=kubernetes".to_owned(),
        format!("--listen=[::]:{CONTROL_PORT}"),
        format!("--readiness=[::]:{METRICS_PORT}"),
        format!("--webhook=[::]:{WEBHOOK_PORT}"),
        format!("--controller-name={}", values.controller_name),
        format!("--proxy-image={}", values.image.proxy),
        format!("--trust-domain={}", values.trust_domain),
        "--namespace=$(POD_NAMESPACE)".to_owned(),
        "--replica=$(POD_NAME)".to_owned(),
        "--output=json".to_owned(),
    ];
    arguments.into_iter().chain(anywhere).collect()
}
