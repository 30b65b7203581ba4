//! Injection into objects that hold a pod's template, as files have them.

use serde_json::Value;

use super::{Because, Decision, Injection, decide};
use mesh_objects::meta::TextMap;

/// Why a workload in a file cannot have its sidecar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name}: {why}")]
pub struct Refused {
    /// The object's kind.
    pub kind: String,
    /// The object's name.
    pub name: String,
    /// Why, and what helps.
    pub why: String,
}

/// The object with a sidecar in its template, or in those of its items; `None` when nothing changes. `namespace` gives
/// the labels of a namespace.
///
/// # Errors
/// The first workload that is to have a sidecar and cannot.
pub fn inject_object(
    object: &Value,
    namespace: &dyn Fn(&str) -> TextMap,
    settings: &Injection,
) -> Result<Option<Value>, Refused> {
    let kind = object["kind"].as_str().unwrap_or_default();
    if kind == "List" {
        return list(object, namespace, settings);
    }
    let Some(place) = place(kind) else { return Ok(None) };
    let Some(template) = object.pointer(place) else { return Ok(None) };
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let labels = namespace(if text("namespace").is_empty() { "default" } else { text("namespace") });
    match decide(template, &labels, settings) {
        Decision::Inject(injected) => {
            let mut object = object.clone();
            if let Some(slot) = object.pointer_mut(place) {
                *slot = *injected;
            }
            Ok(Some(object))
        }
        Decision::Leave(
            Because::HasSidecar
            | Because::HostNetwork
            | Because::NotAsked
            | Because::OnNode
            | Because::OptedOut
            | Because::OtherRevision,
        ) => Ok(None),
        Decision::Refuse(why) => Err(Refused { kind: kind.to_owned(), name: text("name").to_owned(), why }),
    }
}

fn list(
    object: &Value,
    namespace: &dyn Fn(&str) -> TextMap,
    settings: &Injection,
) -> Result<Option<Value>, Refused> {
    let mut changed = object.clone();
    let mut any = false;
    for item in changed["items"].as_array_mut().into_iter().flatten() {
        if let Some(injected) = inject_object(item, namespace, settings)? {
            *item = injected;
            any = true;
        }
    }
    Ok(any.then_some(changed))
}

/// Where an object of a kind holds the pod, as a JSON pointer.
fn place(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Pod" => "",
        "DaemonSet" | "Deployment" | "Job" | "ReplicaSet" | "ReplicationController" | "StatefulSet" => {
            "/spec/template"
        }
        "CronJob" => "/spec/jobTemplate/spec/template",
        _ => return None,
    })
}
