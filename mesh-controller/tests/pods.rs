//! Pods in the translation: who is a workload, and what endpoints wait for.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::IpAddr;
use std::sync::Arc;

use mesh_controller::pods::{Pod, SIDECAR};
use mesh_controller::source::load;
use mesh_controller::translate::{Changes, Entry, Settings, Translator};
use mesh_model::{Endpoint, ObjectName, OnNode, Resource};
use serde_json::json;

const OBJECTS: &str = r"
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: cart}
spec: {clusterIP: 10.96.0.9, ports: [{name: http, port: 80}, {name: metrics, port: 15020}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: cart-1, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: metrics, port: 15020}, {name: dns, port: 53, protocol: UDP}]
endpoints:
- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: meshed}}
- {addresses: [10.0.0.2], targetRef: {kind: Pod, name: plain}}
- {addresses: [10.0.0.3]}
- {addresses: [10.0.0.4]}
";

fn translator() -> Translator {
    let mut translator = Translator::new(Settings { follows_pods: true, ..Settings::default() });
    let objects = load(OBJECTS.as_bytes(), &Arc::from("in.yaml")).objects;
    translator.update(Changes::of(objects.iter().map(|stored| Entry::of(stored))));
    translator
}

fn pod(name: &str, address: &str, meshed: bool) -> (ObjectName, Option<Pod>) {
    let init = if meshed { json!([{"name": SIDECAR, "restartPolicy": "Always"}]) } else { json!([]) };
    let metadata = json!({"namespace": "shop", "name": name, "labels": {"app": "cart"}});
    let spec = json!({"serviceAccountName": "cart", "initContainers": init});
    let pod = json!({"metadata": metadata, "spec": spec, "status": {"podIP": address}});
    (ObjectName::new("shop", name), Pod::read(&pod))
}

fn take(translator: &mut Translator, pods: Vec<(ObjectName, Option<Pod>)>) {
    translator.update(Changes { pods, ..Changes::default() });
}

/// Address and account of each endpoint of a port.
fn endpoints(translator: &Translator, port: u16) -> Vec<(IpAddr, bool)> {
    let resources = translator.translation().resources.into_values();
    let chunks =
        resources.filter_map(|r| if let Resource::EndpointChunk(chunk) = r { Some(chunk) } else { None });
    let of_port = chunks.filter(|chunk| chunk.port == port).flat_map(|chunk| chunk.endpoints.clone());
    of_port.map(|e: Endpoint| (e.address.ip(), e.identity.is_some())).collect()
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

#[test]
fn an_endpoint_waits_for_its_pod_and_then_says_whether_it_is_meshed() {
    let mut translator = translator();
    assert_eq!(
        endpoints(&translator, 80),
        [(address(3), false), (address(4), false)],
        "pods are not known yet"
    );
    take(&mut translator, vec![pod("meshed", "10.0.0.1", true), pod("plain", "10.0.0.2", false)]);
    let all = [(address(1), true), (address(2), false), (address(3), false), (address(4), false)];
    assert_eq!(endpoints(&translator, 80), all);
    take(&mut translator, vec![(ObjectName::new("shop", "meshed"), None)]);
    assert_eq!(endpoints(&translator, 80), all[1..], "the slice is behind");
}

#[test]
fn a_slice_that_somebody_wrote_by_hand_leads_to_a_meshed_pod_protected_too() {
    let mut translator = translator();
    take(&mut translator, vec![pod("other", "10.0.0.4", true)]);
    assert_eq!(endpoints(&translator, 80), [(address(3), false), (address(4), true)]);
}

#[test]
fn metrics_of_the_sidecar_and_datagrams_are_not_captured() {
    let mut translator = translator();
    take(&mut translator, vec![pod("meshed", "10.0.0.1", true)]);
    assert_eq!(endpoints(&translator, 15_020)[0], (address(1), false));
    assert_eq!(endpoints(&translator, 53)[0], (address(1), false));
}

#[test]
fn only_a_pod_with_a_sidecar_is_a_workload() {
    let mut translator = translator();
    take(&mut translator, vec![pod("meshed", "10.0.0.1", true), pod("plain", "10.0.0.2", false)]);
    let resources = translator.translation().resources.into_values();
    let workloads = resources.filter_map(|r| if let Resource::Workload(w) = r { Some(w) } else { None });
    let found: Vec<_> = workloads.map(|w| (w.name.name.to_string(), w.identity.to_string())).collect();
    assert_eq!(found, [("meshed".to_owned(), "spiffe://cluster.local/ns/shop/sa/cart".to_owned())]);
}

/// A pod on node `n` whose own label asks for the node's proxy.
fn on_node(namespace: &str, name: &str, address: &str) -> (ObjectName, Option<Pod>) {
    let metadata =
        json!({"namespace": namespace, "name": name, "uid": name, "labels": {"mesh.io/mode": "node"}});
    let probe = json!({"httpGet": {"port": 8080}});
    let spec =
        json!({"serviceAccountName": "cart", "nodeName": "n", "containers": [{"readinessProbe": probe}]});
    let pod = json!({"metadata": metadata, "spec": spec, "status": {"podIP": address}});
    (ObjectName::new(namespace, name), Pod::read(&pod))
}

fn workloads(translator: &Translator) -> Vec<(String, Option<OnNode>)> {
    let resources = translator.translation().resources.into_values();
    let workloads = resources.filter_map(|r| if let Resource::Workload(w) = r { Some(w) } else { None });
    workloads.map(|w| (w.name.to_string(), w.on_node.clone())).collect()
}

/// What the proxy of node `n` says it serves.
fn say(translator: &mut Translator, pods: &str) {
    let metadata = "{namespace: service-mesh-system, name: mesh-node.n}";
    let map = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {metadata}\ndata: {{pods: '{pods}'}}\n");
    let objects = load(map.as_bytes(), &Arc::from("map.yaml")).objects;
    translator.update(Changes::of(objects.iter().map(|stored| Entry::of(stored))));
}

#[test]
fn clients_reach_a_pod_with_mutual_tls_once_its_node_says_that_it_serves_it() {
    let mut translator = translator();
    take(&mut translator, vec![on_node("shop", "meshed", "10.0.0.1")]);
    let open = (address(1), false);
    assert_eq!(endpoints(&translator, 80)[0], open);
    for other in [r#"{"shop/meshed": ["10.0.0.7"]}"#, r#"{"shop/other": ["10.0.0.1"]}"#, "not JSON", "[]"] {
        say(&mut translator, other);
        assert_eq!(endpoints(&translator, 80)[0], open, "{other}");
        assert!(!workloads(&translator)[0].1.as_ref().unwrap().confirmed);
    }
    say(&mut translator, r#"{"shop/meshed": ["10.0.0.1"]}"#);
    let expected =
        OnNode { node: Arc::from("n"), confirmed: true, probes: [8080].into(), keeps_names: false };
    assert_eq!(workloads(&translator), [("shop/meshed".to_owned(), Some(expected))]);
    assert_eq!(endpoints(&translator, 80)[0], (address(1), true));
    assert_eq!(endpoints(&translator, 15_020)[0], (address(1), true), "it has no sidecar with a health port");
    assert_eq!(endpoints(&translator, 53)[0], (address(1), false));
}

#[test]
fn pods_of_the_control_plane_are_never_served_by_the_node() {
    let mut translator = translator();
    take(&mut translator, vec![on_node("service-mesh-system", "controller", "10.0.0.9")]);
    assert_eq!(workloads(&translator), []);
}

const BACKEND: &str = r"
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {namespace: shop, name: models}
spec: {type: EndpointSelector, endpointSelector: {matchLabels: {app: model}}, port: {number: 9000}}
";

/// Name, address, readiness and deletion of a pod that the backend selects, or not.
fn served(name: &str, address: &str, (app, ready, ending): (&str, &str, bool)) -> (ObjectName, Option<Pod>) {
    let init = json!([{"name": SIDECAR, "restartPolicy": "Always"}]);
    let mut metadata = json!({"namespace": "shop", "name": name, "labels": {"app": app}});
    if ending {
        metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    let status = json!({"podIP": address, "conditions": [{"type": "Ready", "status": ready}]});
    let spec = json!({"serviceAccountName": "model", "initContainers": init});
    let pod = json!({"metadata": metadata, "spec": spec, "status": status});
    (ObjectName::new("shop", name), Pod::read(&pod))
}

fn ready(translator: &Translator) -> Vec<(IpAddr, bool)> {
    let resources = translator.translation().resources.into_values();
    let chunks =
        resources.filter_map(|r| if let Resource::EndpointChunk(chunk) = r { Some(chunk) } else { None });
    let tcp = chunks.filter(|chunk| chunk.transport == mesh_model::Transport::Tcp);
    let all = tcp.flat_map(|chunk| chunk.endpoints.clone()).filter(|endpoint| endpoint.ready);
    all.map(|e: Endpoint| (e.address.ip(), e.identity.is_some())).collect()
}

#[test]
fn a_backend_has_the_ready_pods_of_its_labels_and_those_that_end_only_while_there_are_no_others() {
    let mut translator = Translator::new(Settings { follows_pods: true, ..Settings::default() });
    let objects = load(BACKEND.as_bytes(), &Arc::from("in.yaml")).objects;
    translator.update(Changes::of(objects.iter().map(|stored| Entry::of(stored))));
    assert_eq!(ready(&translator), []);
    let pods = vec![
        served("a", "10.0.0.1", ("model", "True", false)),
        served("b", "10.0.0.2", ("model", "False", false)),
        served("c", "10.0.0.3", ("model", "True", true)),
        served("d", "10.0.0.4", ("other", "True", false)),
    ];
    take(&mut translator, pods);
    assert_eq!(ready(&translator), [(address(1), true)]);
    take(&mut translator, vec![served("b", "10.0.0.2", ("model", "True", false))]);
    assert_eq!(ready(&translator), [(address(1), true), (address(2), true)]);
    let ending = |name: &str, at: &str| served(name, at, ("model", "True", true));
    take(&mut translator, vec![ending("a", "10.0.0.1"), ending("b", "10.0.0.2")]);
    assert_eq!(ready(&translator).len(), 3, "all end");
    let gone = ["a", "b", "c"].map(|name| (ObjectName::new("shop", name), None));
    take(&mut translator, gone.into());
    assert_eq!(ready(&translator), []);
}
