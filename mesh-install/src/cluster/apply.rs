//! Objects into a cluster and out of it again, in an order that leaves nothing half done, and the wait until the
//! controller is up. What is told on the way goes to the caller.

use std::time::Duration;

use mesh_objects::class::unmarked;
use serde_json::{Value as Json, json};

use super::api::{Api, CallError};
use crate::definitions::definitions;
use crate::manifest::without_notes;
use crate::render::{NAME, Rendered, nobody};

/// As often a change is made anew because somebody else was faster.
const CONFLICTS: u32 = 5;
/// How long a server may take to serve a new kind.
const ESTABLISHED: Duration = Duration::from_secs(20);

/// What became of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was not there.
    Created,
    /// It was there and is gone.
    Deleted,
    /// It was there and was different.
    Configured,
    /// It was there and was the same.
    Unchanged,
}

/// Told as it happens: the object's kind, its name, and what became of it.
pub type Progress<'a> = &'a mut dyn FnMut(&str, &str, Change);

/// Why the cluster is not as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Another tool manages these objects.
    #[error(
        "{object} is managed by another tool, such as Helm; install and uninstall with that one: {message}"
    )]
    Managed {
        /// Kind and name.
        object: String,
        /// The server's words.
        message: String,
    },
    /// A definition that the server does not serve.
    #[error("the cluster does not serve {0} although it was given its definition")]
    Unserved(String),
    /// Not ready in time.
    #[error("the controller is not ready after {0:?}: {1}")]
    Slow(Duration, String),
}

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rollout {
    /// Every replica runs the newest version and is available.
    Done,
    /// Not yet, and why.
    Waiting(String),
}

/// What an installation left as it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// The class is not made, because the cluster does not have its kind.
    pub classless: bool,
    /// The policy of an earlier installation that lets nobody in stays: nothing is opened by omission.
    pub closed: bool,
}

/// Applies everything: the namespace, our definitions when wanted, the objects, and the class where the cluster
/// has its kind.
///
/// # Errors
/// At the first object that the server does not take; what came before it stays, and a second run goes on.
pub async fn install(
    api: &Api,
    rendered: &Rendered,
    with_definitions: bool,
    progress: Progress<'_>,
) -> Result<Left, ClusterError> {
    apply(api, &rendered.namespace, progress).await?;
    for definition in with_definitions.then(definitions).into_iter().flatten() {
        apply(api, &definition, progress).await?;
    }
    if with_definitions {
        established(api).await?;
    }
    for object in &rendered.objects {
        apply(api, object, progress).await?;
    }
    let nobody = nobody(word(&rendered.namespace, "/metadata/name"));
    let closed = !rendered.objects.contains(&nobody) && api.find(&path(&nobody)).await?.is_some();
    let Some(class) = &rendered.class else { return Ok(Left { classless: false, closed }) };
    let classless = api.find(&collection(class)).await?.is_none();
    if !classless {
        apply(api, class, progress).await?;
    }
    Ok(Left { classless, closed })
}

/// Removes what `install` made: first the controller, so that the end of the class means nothing to gateways that are
/// left, then the class, which nobody holds any more. The namespace goes when it is the mesh's own, and with it what the
/// controller kept there. Definitions go only when wanted, because every object of their kinds does too.
///
/// # Errors
/// At the first object that cannot be removed.
pub async fn uninstall(
    api: &Api,
    rendered: &Rendered,
    with_definitions: bool,
    progress: Progress<'_>,
) -> Result<(), ClusterError> {
    for object in rendered.objects.iter().rev() {
        delete(api, object, progress).await?;
    }
    if let Some(class) = &rendered.class {
        delete(api, class, progress).await?;
        release(api, class).await?;
    }
    for definition in with_definitions.then(definitions).into_iter().flatten() {
        delete(api, &definition, progress).await?;
    }
    let found = api.find(&path(&rendered.namespace)).await?;
    let label = "/metadata/labels/app.kubernetes.io~1part-of";
    if found.is_some_and(|namespace| namespace.pointer(label) == Some(&json!("service-mesh"))) {
        delete(api, &rendered.namespace, progress).await?;
    }
    Ok(())
}

/// Waits until objects of our kinds can be made, a moment after their definitions.
async fn established(api: &Api) -> Result<(), ClusterError> {
    for definition in definitions() {
        let path = path(&definition);
        let is_set = |condition: &Json| condition["type"] == "Established" && condition["status"] == "True";
        let waited = tokio::time::timeout(ESTABLISHED, async {
            loop {
                let now = api.get(&path).await?.body;
                let conditions = now.pointer("/status/conditions").and_then(Json::as_array);
                if conditions.is_some_and(|conditions| conditions.iter().any(is_set)) {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let name = word(&definition, "/metadata/name").to_owned();
        waited.await.unwrap_or(Err(ClusterError::Unserved(name)))?;
    }
    Ok(())
}

async fn apply(api: &Api, object: &Json, progress: Progress<'_>) -> Result<(), ClusterError> {
    let path = path(object);
    let before = api.find(&path).await?;
    let after = match api.apply(&path, &without_notes(object)).await {
        Ok(answer) => answer.body,
        Err(CallError::Refused { code: 409, message, .. }) => {
            let object = format!("{} {}", word(object, "/kind"), word(object, "/metadata/name"));
            return Err(ClusterError::Managed { object, message });
        }
        Err(error) => return Err(error.into()),
    };
    let change = match before {
        None => Change::Created,
        Some(before) if before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"] => {
            Change::Unchanged
        }
        Some(_) => Change::Configured,
    };
    progress(word(object, "/kind"), word(object, "/metadata/name"), change);
    Ok(())
}

async fn delete(api: &Api, object: &Json, progress: Progress<'_>) -> Result<(), ClusterError> {
    match api.delete(&path(object)).await {
        Ok(_) => progress(word(object, "/kind"), word(object, "/metadata/name"), Change::Deleted),
        // Gone already, or a kind that this cluster does not have.
        Err(error) if error.code() == Some(404) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Takes the controller's mark off a class that is being deleted, for there is no controller to do it.
async fn release(api: &Api, class: &Json) -> Result<(), ClusterError> {
    let path = path(class);
    let mut conflicts = 0;
    loop {
        let Some(change) = api.find(&path).await?.as_ref().and_then(unmarked) else { return Ok(()) };
        match api.merge(&path, &change).await {
            Ok(_) => return Ok(()),
            Err(error) if error.code() == Some(404) => return Ok(()),
            // Somebody changed it meanwhile: look again.
            Err(error) if error.code() == Some(409) && conflicts < CONFLICTS => conflicts += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until the controller's Deployment is available, telling how far it is whenever that changes.
///
/// # Errors
/// When it is not in time, or the server does not answer.
pub async fn wait(
    api: &Api,
    namespace: &str,
    patience: Duration,
    mut told: impl FnMut(&str),
) -> Result<(), ClusterError> {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{NAME}");
    let pods = format!("/api/v1/namespaces/{namespace}/pods?labelSelector=app.kubernetes.io%2Fname%3D{NAME}");
    let mut last = String::new();
    let ready = async {
        loop {
            let Rollout::Waiting(why) = rollout(&api.get(&path).await?.body) else { return Ok(()) };
            let pods = api.find(&pods).await?.unwrap_or_default();
            let now = troubles(&pods).map_or_else(|| why.clone(), |trouble| format!("{why}; {trouble}"));
            if now != last {
                told(&now);
                last = now;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let outcome = tokio::time::timeout(patience, ready).await;
    outcome.unwrap_or(Err(ClusterError::Slow(patience, last)))
}

/// How far a Deployment is.
pub(super) fn rollout(deployment: &Json) -> Rollout {
    let number = |path: &str| deployment.pointer(path).and_then(Json::as_u64).unwrap_or(0);
    let wanted = deployment.pointer("/spec/replicas").and_then(Json::as_u64).unwrap_or(1);
    let seen = number("/status/observedGeneration") >= number("/metadata/generation");
    let (updated, available) = (number("/status/updatedReplicas"), number("/status/availableReplicas"));
    let all = number("/status/replicas");
    if seen && updated >= wanted && available >= wanted && all <= wanted {
        return Rollout::Done;
    }
    Rollout::Waiting(format!("{} of {wanted} replicas are available", available.min(updated)))
}

/// What keeps a container of these pods from running.
pub(super) fn troubles(pods: &Json) -> Option<String> {
    let pods = pods["items"].as_array()?.iter();
    let containers = pods.filter_map(|pod| pod.pointer("/status/containerStatuses")?.as_array()).flatten();
    let waiting = containers.filter_map(|container| container.pointer("/state/waiting"));
    let text = |waiting: &Json| match waiting["message"].as_str() {
        Some(message) => format!("{}: {message}", word(waiting, "/reason")),
        None => word(waiting, "/reason").to_owned(),
    };
    waiting.map(text).find(|text| text != "ContainerCreating")
}

/// The path of an object.
pub(super) fn path(object: &Json) -> String {
    format!("{}/{}", collection(object), word(object, "/metadata/name"))
}

/// The path of all objects of an object's kind and namespace.
fn collection(object: &Json) -> String {
    let version = word(object, "/apiVersion");
    let root = if version.contains('/') { "apis" } else { "api" };
    let kind = word(object, "/kind").to_lowercase();
    let plural = match kind.strip_suffix("cy") {
        Some(stem) => format!("{stem}cies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    };
    match object.pointer("/metadata/namespace").and_then(Json::as_str) {
        Some(namespace) => format!("/{root}/{version}/namespaces/{namespace}/{plural}"),
        None => format!("/{root}/{version}/{plural}"),
    }
}

fn word<'j>(value: &'j Json, path: &str) -> &'j str {
    value.pointer(path).and_then(Json::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Profile, render};

    #[test]
    fn every_object_has_the_path_that_an_api_server_gives_it() {
        let rendered = render(&Profile::Production.values(), "mesh");
        let paths: Vec<String> =
            rendered.class.iter().chain([&rendered.namespace]).chain(&rendered.objects).map(path).collect();
        let expected = [
            "/apis/gateway.networking.k8s.io/v1/gatewayclasses/mesh",
            "/api/v1/namespaces/mesh",
            "/api/v1/namespaces/mesh/serviceaccounts/service-mesh-controller",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/service-mesh-controller-mesh",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/service-mesh-controller-mesh",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/mesh/roles/service-mesh-controller",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/mesh/rolebindings/service-mesh-controller",
            "/api/v1/namespaces/mesh/services/service-mesh-controller",
            "/apis/apps/v1/namespaces/mesh/deployments/service-mesh-controller",
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/service-mesh-controller-mesh",
            "/apis/security.mesh.io/v1beta1/namespaces/mesh/authorizationpolicies/default-deny",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn a_rollout_is_done_when_only_new_replicas_are_left_and_available() {
        let deployment = |generation: u64, updated: u64, all: u64, available: u64| {
            json!({
                "metadata": {"generation": 2},
                "spec": {"replicas": 2},
                "status": {"observedGeneration": generation, "updatedReplicas": updated, "replicas": all,
                    "availableReplicas": available},
            })
        };
        let waiting = |n: u64| Rollout::Waiting(format!("{n} of 2 replicas are available"));
        let table = [
            (deployment(2, 2, 2, 2), Rollout::Done),
            (deployment(1, 2, 2, 2), waiting(2)),
            (deployment(2, 1, 3, 2), waiting(1)),
            (deployment(2, 2, 3, 2), waiting(2)),
            (json!({"spec": {"replicas": 2}}), waiting(0)),
        ];
        for (deployment, expected) in table {
            assert_eq!(rollout(&deployment), expected, "{deployment}");
        }
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_said_in_the_servers_words() {
        let state = json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}});
        let pods = json!({"items": [{"status": {"containerStatuses": [{"state": state}]}}]});
        assert_eq!(troubles(&pods).as_deref(), Some("ErrImagePull: no such image"));
        assert_eq!(troubles(&json!({"items": [{}]})), None);
    }
}
