//! The registration of the webhook that gives new pods a sidecar. The API server asks only about pods for which a label
//! asks: the cluster's own pods, the controller's, and those of namespaces without the mesh start whether it answers or
//! not. Where a label asks, no pod starts without its sidecar.

use serde_json::{Value as Json, json};

use crate::render::{NAME, cluster_name, named};

/// Namespaces whose pods are never asked about.
const SPARED: [&str; 3] = ["kube-node-lease", "kube-public", "kube-system"];

/// The registration. The controller puts its roots in.
pub(crate) fn webhook(namespace: &str) -> Json {
    // Which labels win over which is decided by the controller; each of these asks for a sidecar by itself.
    let is = |key: &str, values: &[&str]| json!({"key": key, "operator": "In", "values": values});
    let is_not = |key: &str, values: &[&str]| json!({"key": key, "operator": "NotIn", "values": values});
    let exists = |key: &str| json!({"key": key, "operator": "Exists"});
    let lacks = |key: &str| json!({"key": key, "operator": "DoesNotExist"});
    let (mode, alias, revision) = ("mesh.io/mode", "istio-injection", "mesh.io/rev");
    let willing = is_not(mode, &["none", "node"]);
    let webhooks = [
        ("namespace", vec![is(mode, &["sidecar"])], willing.clone()),
        ("alias", vec![lacks(mode), is(alias, &["enabled"])], willing.clone()),
        ("revision", vec![lacks(mode), lacks(alias), exists(revision)], willing),
        ("pod", vec![is_not(mode, &["sidecar"])], is(mode, &["sidecar"])),
    ];
    let webhooks: Vec<Json> = webhooks
        .into_iter()
        .map(|(name, mut around, own)| {
            let spared: Vec<&str> = SPARED.into_iter().chain([namespace]).collect();
            around.insert(0, is_not("kubernetes.io/metadata.name", &spared));
            entry(name, namespace, &around, &own)
        })
        .collect();
    let version = "admissionregistration.k8s.io/v1";
    let mut object = named(version, "MutatingWebhookConfiguration", None, json!({"webhooks": webhooks}));
    object["metadata"]["name"] = json!(cluster_name(namespace));
    object
}

fn entry(name: &str, namespace: &str, around: &[Json], own: &Json) -> Json {
    let service = json!({"name": NAME, "namespace": namespace, "path": "/inject", "port": 443});
    let rule = json!({
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
        "scope": "Namespaced",
    });
    json!({
        "name": format!("{name}.inject.mesh.io"),
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": service},
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "namespaceSelector": {"matchExpressions": around},
        "objectSelector": {"matchExpressions": [own]},
        "reinvocationPolicy": "IfNeeded",
        "rules": [rule],
        "sideEffects": "None",
        "timeoutSeconds": 5,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_is_asked_for_by_a_label_and_never_about_our_own_pods() {
        let object = webhook("mesh-test");
        let webhooks = object["webhooks"].as_array().expect("webhooks");
        assert_eq!(webhooks.len(), 4);
        for webhook in webhooks {
            let spared = &webhook["namespaceSelector"]["matchExpressions"][0]["values"];
            assert_eq!(*spared, json!(["kube-node-lease", "kube-public", "kube-system", "mesh-test"]));
            let text = format!("{} {}", webhook["namespaceSelector"], webhook["objectSelector"]);
            assert!(text.contains(r#""operator":"In""#) || text.contains(r#""operator":"Exists""#), "{text}");
        }
    }
}
