//! Which pods get a sidecar, and what the pod then has.

use super::*;

pub(super) fn settings() -> Injection {
    let trust_domain = TrustDomain::default();
    let identity = SpiffeId::for_service_account(&trust_domain, "service-mesh-system", "controller");
    Injection {
        controller_address: "controller.service-mesh-system.svc:15012".to_owned(),
        controller_identity: identity.expect("an identity"),
        image: "proxy:1".to_owned(),
        revision: "default".to_owned(),
        trust_domain,
    }
}

pub(super) fn labels(text: &str) -> TextMap {
    let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn pod(own: &str) -> Value {
    let containers = json!([{"name": "app", "image": "app"}]);
    json!({"metadata": {"labels": labels(own)}, "spec": {"containers": containers, "initContainers": [{"name": "first"}]}})
}

fn word(decision: &Decision) -> String {
    match decision {
        Decision::Inject(_) => "inject".to_owned(),
        Decision::Leave(because) => format!("{because:?}"),
        Decision::Refuse(_) => "refuse".to_owned(),
    }
}

/// The precedence that the documentation states, proves promise-P22.
#[test]
fn labels_decide_in_the_written_order() {
    let table = [
        ("", "", "NotAsked"),
        ("mesh.io/mode=sidecar", "", "inject"),
        ("mesh.io/mode=sidecar", "mesh.io/mode=none istio-injection=disabled", "inject"),
        ("mesh.io/mode=none", "mesh.io/mode=sidecar", "OptedOut"),
        ("mesh.io/mode=none", "istio-injection=enabled", "OptedOut"),
        ("", "mesh.io/mode=sidecar", "inject"),
        ("", "mesh.io/mode=none istio-injection=enabled", "OptedOut"),
        ("", "istio-injection=enabled", "inject"),
        ("", "istio-injection=disabled", "OptedOut"),
        ("", "istio-injection=disabled mesh.io/rev=default", "OptedOut"),
        ("", "mesh.io/rev=default", "inject"),
        ("", "mesh.io/rev=canary", "OtherRevision"),
        ("mesh.io/rev=default", "mesh.io/rev=canary", "inject"),
        ("mesh.io/rev=canary", "mesh.io/mode=sidecar", "OtherRevision"),
        ("mesh.io/rev=default", "", "NotAsked"),
    ];
    for (own, namespace, expected) in table {
        let decision = decide(&pod(own), &labels(namespace), &settings());
        assert_eq!(word(&decision), expected, "pod {own:?}, namespace {namespace:?}");
    }
}

#[test]
fn the_sidecar_starts_first_and_a_second_injection_changes_nothing() {
    let namespace = labels("mesh.io/mode=sidecar");
    let Decision::Inject(injected) = decide(&pod(""), &namespace, &settings()) else { panic!("no sidecar") };
    let names: Vec<&str> = containers(&injected["spec"]).filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(names, [INIT, SIDECAR, "first", "app"]);
    assert!(crate::pods::Pod::read(&named(&injected)).expect("a pod").meshed);
    let again = decide(&injected, &namespace, &settings());
    assert_eq!(again, Decision::Leave(Because::HasSidecar));
}

fn named(pod: &Value) -> Value {
    let mut pod = pod.clone();
    pod["metadata"]["name"] = json!("a");
    pod
}

#[test]
fn only_the_init_container_has_a_capability() {
    let Decision::Inject(injected) = decide(&pod("mesh.io/mode=sidecar"), &labels(""), &settings()) else {
        panic!("no sidecar")
    };
    let [init, proxy] = [0, 1].map(|at| injected["spec"]["initContainers"][at]["securityContext"].clone());
    assert_eq!(init["capabilities"], json!({"add": ["NET_ADMIN"], "drop": ["ALL"]}));
    assert_eq!(proxy["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!((&proxy["runAsUser"], &proxy["runAsNonRoot"]), (&json!(USER), &json!(true)));
}

#[test]
fn what_cannot_have_a_sidecar_is_told_why() {
    let mut as_proxy = pod("");
    as_proxy["spec"]["containers"][0]["securityContext"] = json!({"runAsUser": USER});
    let mut port = pod("");
    port["spec"]["containers"][0]["ports"] = json!([{"containerPort": 15_001}]);
    let mut name = pod("");
    name["spec"]["containers"][0]["name"] = json!(SIDECAR);
    let table = [
        (pod(""), "pod-security.kubernetes.io/enforce=restricted", "mesh.io/mode=node"),
        (pod(""), "pod-security.kubernetes.io/enforce=baseline", "NET_ADMIN"),
        (as_proxy, "", "runs as user 1337"),
        (port, "", "port 15001"),
        (name, "", "the name mesh-proxy"),
    ];
    for (pod, namespace, expected) in table {
        let namespace = labels(&format!("mesh.io/mode=sidecar {namespace}"));
        let Decision::Refuse(why) = decide(&pod, &namespace, &settings()) else { panic!("{expected}") };
        assert!(why.contains(expected), "{why}");
    }
}

#[test]
fn a_pod_on_the_nodes_network_is_left_alone() {
    let mut pod = pod("mesh.io/mode=sidecar");
    pod["spec"]["hostNetwork"] = json!(true);
    assert_eq!(decide(&pod, &labels(""), &settings()), Decision::Leave(Because::HostNetwork));
}
