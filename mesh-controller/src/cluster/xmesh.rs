//! The object that stands for the mesh itself (`XMesh`, Gateway API v1.7.0, experimental channel): made when it is not
//! there, never edited, and its status kept. Only the leader writes. A cluster without the kind is asked now and then.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Map, Value, json};

use super::feed::Pauses;
use super::{Access, CallError, Fault};
use crate::translate::{Feature, Settings};

const API_VERSION: &str = "gateway.networking.x-k8s.io/v1alpha1";
const PATH: &str = "/apis/gateway.networking.x-k8s.io/v1alpha1/xmeshes";
/// The name of the object that is made.
const NAME: &str = "mesh";
/// How often a cluster without the kind is asked again.
const LOOK: Duration = Duration::from_secs(30);
/// How long a server keeps a watch, in seconds.
const WATCH_SECONDS: u64 = 290;

/// What the mesh does beyond what gateways do: ordered by name.
const FEATURES: [&str; 10] = [
    "Mesh",
    "MeshClusterIPMatching",
    "MeshConsumerRoute",
    "MeshHTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteNamedRouteRule",
    "MeshHTTPRouteQueryParamMatching",
    "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRewritePath",
    "MeshHTTPRouteSchemeRedirect",
];

/// Features of routes that hold for services as parents, too.
const SHARED: [Feature; 7] = [
    Feature::GrpcRoute,
    Feature::HttpRoute,
    Feature::Redirect303,
    Feature::Redirect307,
    Feature::Redirect308,
    Feature::ParentRefPort,
    Feature::ResponseHeaders,
];

/// Keeps the objects as they should be, for ever.
pub(super) async fn keep(access: Access, settings: Settings) {
    let mut pauses = Pauses::default();
    let mut leading = access.leading.clone();
    loop {
        if !*leading.borrow_and_update() {
            if leading.changed().await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            outcome = follow(&access, &settings) => match outcome {
                Ok(()) => pauses.reset(),
                Err(error) if error.fault() == Fault::NotFound => tokio::time::sleep(LOOK).await,
                Err(error) => {
                    if pauses.is_first() {
                        tracing::warn!(%error, "the object of the mesh is not up to date; trying again");
                    }
                    pauses.wait().await;
                }
            },
            _ = leading.changed() => {}
        }
    }
}

/// Looks at all objects, and then at each that changes, until the server ends the watch.
async fn follow(access: &Access, settings: &Settings) -> Result<(), CallError> {
    let list = access.api.get(PATH).await?;
    let objects = list["items"].as_array().cloned().unwrap_or_default();
    if !objects.iter().any(|object| is_ours(object, settings)) {
        make(access, settings).await?;
    }
    for object in &objects {
        report(access, settings, object).await?;
    }
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let options = format!("watch=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}");
    let mut events = pin!(access.api.watch(&format!("{PATH}?{options}")).await?);
    while let Some(event) = events.next().await {
        match event? {
            super::client::Event::Set(object) => report(access, settings, &object).await?,
            super::client::Event::Deleted(object) if is_ours(&object, settings) => return Ok(()),
            super::client::Event::Bookmark(_) | super::client::Event::Deleted(_) => {}
        }
    }
    Ok(())
}

fn is_ours(object: &Value, settings: &Settings) -> bool {
    object["spec"]["controllerName"] == json!(settings.mesh_controller_name)
}

async fn make(access: &Access, settings: &Settings) -> Result<(), CallError> {
    let spec = json!({"controllerName": settings.mesh_controller_name});
    let object =
        json!({"apiVersion": API_VERSION, "kind": "XMesh", "metadata": {"name": NAME}, "spec": spec});
    match access.api.create(PATH, &object).await {
        // Somebody else's object has the name; it is not ours to edit.
        Err(error) if error.fault() == Fault::Conflict => Ok(()),
        outcome => outcome.map(drop),
    }
}

async fn report(access: &Access, settings: &Settings, object: &Value) -> Result<(), CallError> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let now = super::status::to_seconds(access.clock.wall());
    let Some(status) = status(object, settings, &now) else { return Ok(()) };
    let wanted =
        json!({"apiVersion": API_VERSION, "kind": "XMesh", "metadata": {"name": name}, "status": status});
    match access.api.apply(&format!("{PATH}/{name}/status"), &wanted).await {
        Err(error) if error.fault() == Fault::NotFound => Ok(()),
        outcome => outcome.map(drop),
    }
}

/// The status that an object of ours should have, when it has another one.
fn status(object: &Value, settings: &Settings, now: &str) -> Option<Value> {
    if !is_ours(object, settings) {
        return None;
    }
    let (holds, reason, message) = match object["spec"]["parametersRef"].is_null() {
        true => ("True", "Accepted", "the mesh is served"),
        false => ("False", "InvalidParameters", "parameters are not supported: remove spec.parametersRef"),
    };
    let shared = SHARED.iter().filter(|feature| settings.has(**feature)).map(|feature| feature.as_str());
    let mut names: Vec<&str> = FEATURES.into_iter().chain(shared).collect();
    names.sort_unstable();
    let features: Vec<Value> = names.into_iter().map(|name| json!({"name": name})).collect();
    let mut condition = json!({
        "type": "Accepted",
        "status": holds,
        "reason": reason,
        "message": message,
        "observedGeneration": object["metadata"]["generation"],
    });
    let found = object["status"]["conditions"].as_array().into_iter().flatten();
    let before = found.into_iter().find(|condition| condition["type"] == "Accepted");
    let is_same =
        |before: &Value| before.as_object().map(without_time) == condition.as_object().map(without_time);
    if before.is_some_and(is_same) && object["status"]["supportedFeatures"] == json!(features) {
        return None;
    }
    let kept = before.filter(|before| before["status"] == condition["status"]);
    let time = kept.map_or_else(|| json!(now), |before| before["lastTransitionTime"].clone());
    condition["lastTransitionTime"] = time;
    Some(json!({"conditions": [condition], "supportedFeatures": features}))
}

fn without_time(condition: &Map<String, Value>) -> Map<String, Value> {
    let fields = condition.iter().filter(|(name, _)| *name != "lastTransitionTime");
    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(spec: &Value, status: &Value) -> Value {
        json!({"metadata": {"name": "mesh", "generation": 3}, "spec": spec, "status": status})
    }

    fn ours() -> Value {
        json!({"controllerName": Settings::default().mesh_controller_name})
    }

    #[test]
    fn features_are_sorted_and_a_status_that_says_it_already_stays() {
        let settings = Settings::default();
        let written = status(&object(&ours(), &json!({})), &settings, "T").expect("a status");
        assert_eq!(written["conditions"][0]["status"], "True");
        assert_eq!(written["conditions"][0]["observedGeneration"], 3);
        let names: Vec<&str> = written["supportedFeatures"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|f| f["name"].as_str())
            .collect();
        assert!(names.is_sorted() && names.len() == 17, "{names:?}");
        assert_eq!(status(&object(&ours(), &written), &settings, "later"), None);
    }

    #[test]
    fn parameters_are_refused_and_other_meshes_left_alone() {
        let mut spec = ours();
        spec["parametersRef"] = json!({"group": "", "kind": "ConfigMap", "name": "x"});
        let written = status(&object(&spec, &json!({})), &Settings::default(), "T").expect("a status");
        assert_eq!(written["conditions"][0]["reason"], "InvalidParameters");
        let other = json!({"controllerName": "example.com/mesh"});
        assert_eq!(status(&object(&other, &json!({})), &Settings::default(), "T"), None);
    }
}
