//! The SPIFFE Workload API of a pod: a folder that its containers share and nobody else sees, in which the sidecar serves
//! the pod's identity. Who shares the folder is who is asked.

use serde_json::{Map, Value, json};

/// The annotation of a pod whose applications are to have no identity of their own: `none`.
pub const WORKLOAD_API: &str = "mesh.io/workload-api";
/// Where the folder is in every container.
const FOLDER: &str = "/var/run/mesh-workload-api";
/// The socket in it. With an `@`, since some clients send the path in percent-encoding as the authority of their requests,
/// and the sidecar's HTTP/2 takes percent signs only ahead of one.
const SOCKET: &str = "workload@api.sock";
/// The volume behind it.
const VOLUME: &str = "mesh-workload-api";
/// What tells applications where the socket is (SPIFFE Workload Endpoint, section 4).
const VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";

/// Where the sidecar serves; `None` when the pod wants none of it.
///
/// # Errors
/// When the annotation says something unknown.
pub(super) fn socket(pod: &Value) -> Result<Option<String>, String> {
    Ok(super::is_wanted(pod, WORKLOAD_API)?.then(|| format!("{FOLDER}/{SOCKET}")))
}

/// Lets a container of the application open the socket, and tells it where it is unless it knows better. The mount is
/// read-only: whoever could write there could put another socket in its place.
pub(super) fn offer(container: &mut Value) {
    let Some(fields) = container.as_object_mut() else { return };
    let folder =
        |mount: &Value| mount["mountPath"].as_str().map(|path| path.trim_end_matches('/').to_owned());
    // The place is taken by something of the container's own, which stays.
    if items(fields, "volumeMounts").any(|mount| folder(mount).as_deref() == Some(FOLDER)) {
        return;
    }
    add(fields, "volumeMounts", json!({ "name": VOLUME, "mountPath": FOLDER, "readOnly": true }));
    if !items(fields, "env").any(|variable| variable["name"] == VARIABLE) {
        add(fields, "env", json!({ "name": VARIABLE, "value": format!("unix://{FOLDER}/{SOCKET}") }));
    }
}

/// The sidecar's mount, in which it makes the socket.
pub(super) fn mount() -> Value {
    json!({ "name": VOLUME, "mountPath": FOLDER })
}

/// In memory: a pod with a volume on the node's disk is one that autoscalers leave where it is.
pub(super) fn volume() -> Value {
    json!({ "name": VOLUME, "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } })
}

fn items<'f>(fields: &'f Map<String, Value>, list: &str) -> impl Iterator<Item = &'f Value> {
    fields.get(list).and_then(Value::as_array).into_iter().flatten()
}

/// Puts an item at the end of a list. What is no list is left for the API server to refuse.
fn add(fields: &mut Map<String, Value>, list: &str, item: Value) {
    let found = fields.entry(list).or_insert(Value::Null);
    if found.is_null() {
        *found = Value::Array(Vec::new());
    }
    if let Value::Array(items) = found {
        items.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(mut container: Value) -> Value {
        offer(&mut container);
        container
    }

    #[test]
    fn a_container_keeps_what_it_says_itself() {
        let mount = json!({ "name": VOLUME, "mountPath": FOLDER, "readOnly": true });
        let variable =
            json!({ "name": VARIABLE, "value": "unix:///var/run/mesh-workload-api/workload@api.sock" });
        let others = json!([{ "name": "A", "value": "b" }]);
        let own = json!([{ "name": VARIABLE, "value": "unix:///agent.sock" }]);
        let taken = json!([{ "name": "x", "mountPath": format!("{FOLDER}/") }]);
        let table = [
            (json!({}), json!({ "env": [variable], "volumeMounts": [mount] })),
            (json!({ "env": null }), json!({ "env": [variable], "volumeMounts": [mount] })),
            (json!({ "env": others }), json!({ "env": [others[0], variable], "volumeMounts": [mount] })),
            (json!({ "env": own }), json!({ "env": own, "volumeMounts": [mount] })),
            (json!({ "volumeMounts": taken }), json!({ "volumeMounts": taken })),
            (json!({ "env": "x", "volumeMounts": 7 }), json!({ "env": "x", "volumeMounts": 7 })),
            (json!(3), json!(3)),
        ];
        for (container, expected) in table {
            assert_eq!(offered(container.clone()), expected, "{container}");
        }
    }

    #[test]
    fn only_a_known_word_is_understood() {
        let pod = |annotations: Value| json!({ "metadata": { "annotations": annotations } });
        assert!(socket(&json!({})).is_ok_and(|socket| socket.is_some()));
        assert!(socket(&pod(json!({ "a": "b" }))).is_ok_and(|socket| socket.is_some()));
        assert_eq!(socket(&pod(json!({ WORKLOAD_API: "none" }))), Ok(None));
        for word in [json!("None"), json!("false"), json!(""), json!(1)] {
            assert!(socket(&pod(json!({ WORKLOAD_API: word }))).is_err(), "{word}");
        }
    }
}
