//! Pods as far as the mesh looks at them: who runs where, with which labels, behind a sidecar or not, and at which ports
//! the kubelet asks how they are. Pure; pods are
//! not objects that users write for the mesh, so they are not kept in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mesh_model::ObjectName;
use serde_json::Value;

use mesh_objects::meta::TextMap;

use crate::inject::{DNS, MODE, containers, is_wanted, probes};

/// The name of the sidecar among a pod's init containers: what makes a pod a meshed one.
pub const SIDECAR: &str = "mesh-proxy";

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub name: ObjectName,
    /// Its labels, which policies select by.
    pub labels: TextMap,
    /// The account it runs as.
    pub account: String,
    /// Addresses that are its own. None while it has none, when it uses the node's, and when it has ended: then
    /// another pod may have them.
    pub addresses: Vec<IpAddr>,
    /// Addresses at which it takes requests: its own, or its node's when it uses that. None while it is not ready.
    pub serves: Vec<IpAddr>,
    /// Whether it is being removed. It may take requests still, and should get none while others can.
    pub ending: bool,
    /// Whether a sidecar takes its connections.
    pub meshed: bool,
    /// What tells it from an earlier pod of the same name.
    pub uid: String,
    /// The node it runs on; empty while it has none.
    pub node: String,
    /// Ports of its own at which the kubelet asks how it is.
    pub probes: BTreeSet<u16>,
    /// Whether its annotation wants its questions for names left alone.
    pub keeps_names: bool,
}

impl Pod {
    /// Reads a pod; `None` when it has no name, which no server sends.
    pub fn read(pod: &Value) -> Option<Self> {
        let (metadata, spec, status) = (pod.get("metadata")?, &pod["spec"], &pod["status"]);
        let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
        let name = ObjectName::new(text(metadata, "namespace"), metadata.get("name")?.as_str()?);
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let labels: BTreeMap<String, String> =
            labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
        let on_node = spec["hostNetwork"] == Value::Bool(true);
        let ended = matches!(status["phase"].as_str(), Some("Failed" | "Succeeded"));
        let account = spec["serviceAccountName"].as_str().filter(|name| !name.is_empty());
        Some(Self {
            name,
            labels,
            account: account.unwrap_or("default").to_owned(),
            addresses: if on_node || ended { Vec::new() } else { addresses(status) },
            serves: if ended || !is_ready(status) { Vec::new() } else { addresses(status) },
            ending: metadata.get("deletionTimestamp").is_some_and(Value::is_string),
            meshed: !on_node && has_sidecar(spec),
            uid: text(metadata, "uid"),
            node: text(spec, "nodeName"),
            probes: containers(spec).flat_map(probes::ports).collect(),
            // Nobody refuses a pod for an unknown word here, so it counts as the wish to stay as it is.
            keeps_names: is_wanted(pod, DNS) != Ok(true),
        })
    }

    /// Whether the proxy of its node is to serve it: the pod's label decides, or else that of its namespace. One that has
    /// a sidecar is served already, and one with the node's network has no connections of its own.
    pub fn is_for_node(&self, namespace: &TextMap) -> bool {
        let mode = self.labels.get(MODE).or_else(|| namespace.get(MODE));
        mode.is_some_and(|mode| mode == "node")
            && !self.meshed
            && !self.node.is_empty()
            && !self.addresses.is_empty()
    }
}

fn is_ready(status: &Value) -> bool {
    let conditions = status["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn addresses(status: &Value) -> Vec<IpAddr> {
    let several = status["podIPs"].as_array().into_iter().flatten().map(|entry| &entry["ip"]);
    let parsed = several.chain([&status["podIP"]]).filter_map(|ip| ip.as_str()?.parse().ok());
    let mut addresses: Vec<IpAddr> = parsed.collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Whether the pod has our sidecar: an init container that goes on running.
pub fn has_sidecar(spec: &Value) -> bool {
    let containers = spec["initContainers"].as_array().into_iter().flatten();
    let ours = |container: &Value| container["name"] == SIDECAR && container["restartPolicy"] == "Always";
    containers.into_iter().any(ours)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: Value, phase: &str) -> Pod {
        let metadata = json!({"namespace": "shop", "name": "cart-0", "labels": {"app": "cart"}});
        let ips = json!([{"ip": "10.0.0.7"}, {"ip": "fd00::7"}]);
        let status = json!({"phase": phase, "podIP": "10.0.0.7", "podIPs": ips});
        Pod::read(&json!({"metadata": metadata, "spec": spec, "status": status})).expect("it has a name")
    }

    #[test]
    fn a_pod_with_our_running_init_container_is_meshed() {
        let sidecar = json!([{"name": SIDECAR, "restartPolicy": "Always"}]);
        let found = pod(json!({"serviceAccountName": "cart", "initContainers": sidecar}), "Running");
        assert_eq!((found.account.as_str(), found.meshed, found.addresses.len()), ("cart", true, 2));
        let once = json!([{"name": SIDECAR}]);
        assert!(!pod(json!({"initContainers": once}), "Running").meshed);
        let app = json!([{"name": SIDECAR, "restartPolicy": "Always"}]);
        assert!(!pod(json!({"containers": app}), "Running").meshed);
    }

    #[test]
    fn the_nearest_label_puts_a_pod_with_connections_of_its_own_in_the_care_of_its_node() {
        let label = |mode: &str| TextMap::from([(MODE.to_owned(), mode.to_owned())]);
        let sidecar = json!([{"name": SIDECAR, "restartPolicy": "Always"}]);
        let table = [
            (json!({"nodeName": "n"}), "", "node", true),
            (json!({"nodeName": "n"}), "none", "node", false),
            (json!({"nodeName": "n"}), "node", "sidecar", true),
            (json!({"nodeName": "n"}), "", "sidecar", false),
            (json!({}), "node", "", false),
            (json!({"nodeName": "n", "hostNetwork": true}), "node", "", false),
            (json!({"nodeName": "n", "initContainers": sidecar}), "node", "", false),
        ];
        for (spec, own, around, expected) in table {
            let mut found = pod(spec.clone(), "Running");
            if !own.is_empty() {
                found.labels.extend(label(own));
            }
            let around = if around.is_empty() { TextMap::new() } else { label(around) };
            assert_eq!(found.is_for_node(&around), expected, "{spec} {own} {around:?}");
        }
    }

    #[test]
    fn ports_of_probes_are_known_by_number_and_by_name() {
        let app = json!([{
            "ports": [{"name": "web", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"port": "web"}},
            "livenessProbe": {"tcpSocket": {"port": 9090}},
            "startupProbe": {"exec": {"command": ["true"]}},
        }]);
        let late = json!([{"restartPolicy": "Always", "startupProbe": {"grpc": {"port": 7000}}}]);
        let found = pod(json!({"containers": app, "initContainers": late}), "Running");
        assert_eq!(found.probes, [7000, 8080, 9090].into());
    }

    #[test]
    fn only_a_ready_pod_serves_and_at_the_nodes_address_too() {
        let read = |phase: &str, ready: &str, host: bool| {
            let conditions =
                json!([{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready}]);
            let status = json!({"phase": phase, "podIP": "10.0.0.7", "conditions": conditions});
            let metadata = json!({"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"});
            let spec = json!({"hostNetwork": host});
            Pod::read(&json!({"metadata": metadata, "spec": spec, "status": status})).expect("it has a name")
        };
        let table = [
            ("Running", "True", false, 1),
            ("Running", "True", true, 1),
            ("Running", "False", false, 0),
            ("Failed", "True", false, 0),
        ];
        for (phase, ready, host, expected) in table {
            let found = read(phase, ready, host);
            assert_eq!((found.serves.len(), found.ending), (expected, true), "{phase} {ready} {host}");
        }
        assert!(!pod(json!({}), "Running").ending);
    }

    #[test]
    fn addresses_of_the_node_and_of_ended_pods_are_not_the_pods_own() {
        assert!(pod(json!({"hostNetwork": true}), "Running").addresses.is_empty());
        assert!(pod(json!({}), "Succeeded").addresses.is_empty());
        assert_eq!(pod(json!({}), "Pending").account, "default");
    }
}
