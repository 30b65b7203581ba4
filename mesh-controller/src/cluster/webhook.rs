//! Keeps the roots in the webhook's registration, so that the API server trusts our port. Written by the leader, and only
//! when they differ. The registration itself belongs to the installation: without one nothing is made.

use std::sync::Arc;
use std::time::Duration;

use mesh_ca::Authority;
use serde_json::{Value, json};

use super::{Access, CallError, Fault};
use crate::objects::scalar::base64_encode;
use crate::serve::roots_pem;

/// The registration of the usual installation; others carry their namespace.
const NAME: &str = "service-mesh-controller";
const NAMESPACE: &str = "service-mesh-system";
/// How often it is looked at when nothing says that something has changed, and how soon after a failure.
const LOOK: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_secs(2);

/// Keeps it as it should be, for ever.
pub(super) async fn keep(mut access: Access, authority: Arc<Authority>) {
    let mut roots = authority.trust().subscribe();
    loop {
        let mut pause = LOOK;
        if *access.leading.borrow_and_update() {
            roots.mark_unchanged();
            if let Err(error) = write(&access, &roots_pem(&authority.bundle())).await {
                tracing::warn!(%error, "the webhook's roots could not be written; trying again");
                pause = AGAIN;
            }
        }
        tokio::select! {
            Ok(()) = access.leading.changed() => {}
            Ok(()) = roots.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn write(access: &Access, text: &str) -> Result<(), CallError> {
    let namespace = access.config.namespace.as_str();
    let name = if namespace == NAMESPACE { NAME.to_owned() } else { format!("{NAME}-{namespace}") };
    let path = format!("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}");
    let registered = match access.api.get(&path).await {
        Err(error) if error.fault() == Fault::NotFound => return Ok(()),
        outcome => outcome?,
    };
    let Some(wanted) = wanted(&registered, &name, &base64_encode(text.as_bytes())) else { return Ok(()) };
    access.api.apply(&path, &wanted).await.map(drop)
}

/// The fields that should be there, when some are not.
fn wanted(registered: &Value, name: &str, bundle: &str) -> Option<Value> {
    let webhooks: Vec<&Value> = registered["webhooks"].as_array().into_iter().flatten().collect();
    if webhooks.iter().all(|webhook| webhook["clientConfig"]["caBundle"] == bundle) {
        return None;
    }
    let ours = |webhook: &&Value| json!({"name": webhook["name"], "clientConfig": {"caBundle": bundle}});
    let webhooks: Vec<Value> = webhooks.iter().map(ours).collect();
    let (version, kind) = ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration");
    Some(json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "webhooks": webhooks}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_roots_that_differ_are_written_and_nothing_else_is_said() {
        let webhook =
            |bundle: &str| json!({"name": "a.mesh.io", "clientConfig": {"caBundle": bundle, "service": {}}});
        let registered = |bundle: &str| json!({"webhooks": [webhook(bundle)]});
        assert_eq!(wanted(&registered("R"), "n", "R"), None);
        assert_eq!(wanted(&json!({}), "n", "R"), None);
        let written = wanted(&registered("old"), "n", "R").expect("a change");
        assert_eq!(written["webhooks"], json!([{"name": "a.mesh.io", "clientConfig": {"caBundle": "R"}}]));
    }
}
