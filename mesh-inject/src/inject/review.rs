//! The API server's question about a new pod, and the answer (`admission.k8s.io/v1`). Pure.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Decision, Injection, decide};
use mesh_objects::meta::TextMap;
use mesh_objects::scalar::base64_encode;

/// What may differ in an injected pod.
const PLACES: [&str; 4] =
    ["/metadata/annotations", "/spec/containers", "/spec/initContainers", "/spec/volumes"];

/// A question about a pod.
#[derive(Debug)]
pub struct Question {
    uid: String,
    /// The namespace in which the pod is to be.
    pub namespace: String,
    pod: Value,
}

#[derive(Deserialize)]
struct Review {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    uid: String,
    kind: Kind,
    #[serde(default)]
    namespace: String,
    object: Value,
}

#[derive(Deserialize)]
struct Kind {
    group: String,
    version: String,
    kind: String,
}

impl Question {
    /// Reads a question.
    ///
    /// # Errors
    /// When it is none, or is about something else than a pod.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let review: Review = serde_json::from_slice(body).map_err(|error| format!("no question: {error}"))?;
        if (review.api_version.as_str(), review.kind.as_str()) != ("admission.k8s.io/v1", "AdmissionReview") {
            return Err(format!(
                "{} {} is no question that is answered here",
                review.api_version, review.kind
            ));
        }
        let Request { uid, kind, namespace, object } = review.request;
        if (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str()) != ("", "v1", "Pod") {
            return Err(format!("{} {}/{} is no pod", kind.kind, kind.group, kind.version));
        }
        // What is edited must have the form that the edit expects.
        let formed = object["spec"].is_object()
            && object["metadata"].is_object()
            && PLACES.iter().all(|place| is_formed(place, object.pointer(place)));
        if !formed || uid.is_empty() || namespace.is_empty() {
            return Err("the question is not whole".to_owned());
        }
        Ok(Self { uid, namespace, pod: object })
    }
}

fn is_formed(place: &str, found: Option<&Value>) -> bool {
    match found {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => place.starts_with("/spec") && items.iter().all(Value::is_object),
        Some(value) => place.starts_with("/metadata") && value.is_object(),
    }
}

/// The answer, with the decision for the log.
pub fn answer(question: &Question, namespace: &TextMap, settings: &Injection) -> (Value, Decision) {
    let decision = decide(&question.pod, namespace, settings);
    let mut response = json!({ "uid": question.uid, "allowed": true });
    match &decision {
        Decision::Inject(pod) => {
            let patch = Value::Array(patch(&question.pod, pod)).to_string();
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(base64_encode(patch.as_bytes()));
        }
        Decision::Leave(_) => {}
        Decision::Refuse(why) => {
            response["allowed"] = json!(false);
            response["status"] = json!({ "code": 403, "reason": "Forbidden", "message": why });
        }
    }
    let review =
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
    (review, decision)
}

/// Steps from one pod to the other (RFC 6902). Each replaces a whole field: nothing depends on an index.
fn patch(from: &Value, to: &Value) -> Vec<Value> {
    let changed = PLACES.iter().filter(|place| from.pointer(place) != to.pointer(place));
    changed.map(|place| json!({ "op": "add", "path": place, "value": to.pointer(place) })).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;
    use mesh_objects::scalar::base64_decode;

    fn review(object: &Value) -> Value {
        let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
        let request = json!({"uid": "u", "kind": kind, "namespace": "shop", "object": object});
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
    }

    fn read(value: &Value) -> Result<Question, String> {
        Question::read(value.to_string().as_bytes())
    }

    #[test]
    fn the_patch_makes_the_pod_that_files_get() {
        let labels = json!({"mesh.io/mode": "sidecar"});
        let pod = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a"}]}});
        let question = read(&review(&pod)).expect("a question");
        let (review, decision) = answer(&question, &TextMap::new(), &settings());
        let Decision::Inject(injected) = decision else { panic!("no sidecar") };
        let text =
            review["response"]["patch"].as_str().and_then(|t| base64_decode(t.as_bytes())).expect("a patch");
        let steps: Vec<Value> = serde_json::from_slice(&text).expect("steps");
        let mut patched = pod;
        for step in steps {
            let (parent, field) = step["path"].as_str().expect("a path").rsplit_once('/').expect("a field");
            patched.pointer_mut(parent).expect("its parent")[field] = step["value"].clone();
        }
        assert_eq!(patched, *injected);
    }

    #[test]
    fn a_refusal_says_why_and_a_pod_that_stays_needs_no_patch() {
        let pod = json!({"metadata": {}, "spec": {"containers": []}});
        let question = read(&review(&pod)).expect("a question");
        let asked = |text: &str| super::super::tests::labels(text);
        let (left, _) = answer(&question, &asked(""), &settings());
        assert_eq!(left["response"], json!({"uid": "u", "allowed": true}));
        let restricted = "mesh.io/mode=sidecar pod-security.kubernetes.io/enforce=restricted";
        let (refused, _) = answer(&question, &asked(restricted), &settings());
        assert_eq!(refused["response"]["allowed"], false);
        assert!(
            refused["response"]["status"]["message"].as_str().is_some_and(|why| why.contains("NET_ADMIN"))
        );
    }

    #[test]
    fn hostile_questions_are_refused_and_break_nothing() {
        let good = review(&json!({"metadata": {}, "spec": {"containers": []}}));
        let table = [
            json!(null),
            json!([]),
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}),
            json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": good["request"]}),
            review(&json!(7)),
            review(&json!({"metadata": [], "spec": {}})),
            review(&json!({"metadata": {"annotations": []}, "spec": {}})),
            review(&json!({"metadata": {}, "spec": {"initContainers": {}}})),
            review(&json!({"metadata": {}, "spec": {"volumes": ["x"]}})),
        ];
        for hostile in table {
            assert!(read(&hostile).is_err(), "{hostile}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Question::read(deep.as_bytes()).is_err());
        let odd = json!({"metadata": {"labels": 1}, "spec": {"containers": [{"ports": {}, "name": 3}], "securityContext": "x"}});
        let question = read(&review(&odd)).expect("odd, but whole");
        answer(&question, &super::super::tests::labels("mesh.io/mode=sidecar"), &settings());
    }
}
