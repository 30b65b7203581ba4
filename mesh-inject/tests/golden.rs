//! Pods as they are injected: `golden/in.json` to `golden/out.json`, and to `golden/none.json` when its applications are to
//! have no identity. With `UPDATE_GOLDEN=1` in the environment the outputs are written anew, to be reviewed as a
//! difference.
#![allow(clippy::disallowed_methods, reason = "the environment says whether the outputs are written anew")]

use std::path::Path;

use mesh_inject::inject::{DNS, Decision, Injection, WORKLOAD_API, decide};
use mesh_model::{SpiffeId, TrustDomain};
use serde_json::Value;

fn decided(pod: &Value) -> Decision {
    let trust_domain = TrustDomain::default();
    let identity =
        SpiffeId::for_service_account(&trust_domain, "service-mesh-system", "service-mesh-controller");
    let settings = Injection {
        controller_address: "service-mesh-controller.service-mesh-system.svc:15012".to_owned(),
        controller_identity: identity.expect("an identity"),
        image: "service-mesh/mesh-proxy:dev".to_owned(),
        revision: "default".to_owned(),
        trust_domain,
    };
    let namespace = [("mesh.io/mode".to_owned(), "sidecar".to_owned())].into();
    decide(pod, &namespace, &settings)
}

fn injected(pod: &Value) -> Value {
    match decided(pod) {
        Decision::Inject(pod) => *pod,
        other => panic!("{other:?}"),
    }
}

/// Compares with a file, or writes it.
fn check(name: &str, pod: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = serde_json::to_string_pretty(pod).expect("a value") + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("written");
    }
    assert_eq!(text, std::fs::read_to_string(&path).expect("the golden file"), "{name}");
}

fn given() -> Value {
    serde_json::from_str(include_str!("golden/in.json")).expect("a pod")
}

#[test]
fn a_pod_is_injected_as_reviewed() {
    check("out.json", &injected(&given()));
}

#[test]
fn a_pod_that_wants_no_identity_for_its_applications_has_none() {
    let mut pod = given();
    pod["metadata"]["annotations"][WORKLOAD_API] = "none".into();
    let injected = injected(&pod);
    check("none.json", &injected);
    assert!(!injected.to_string().contains("mesh-workload-api"), "{injected}");
}

#[test]
fn a_pod_that_wants_its_names_left_alone_has_no_rule_and_no_listener_for_them() {
    let mut pod = given();
    assert!(injected(&pod).to_string().contains("--names=15053"));
    pod["metadata"]["annotations"][DNS] = "none".into();
    let left_alone = injected(&pod).to_string();
    assert!(!left_alone.contains("--names") && left_alone.contains(r#"\"names\":null"#), "{left_alone}");
    pod["metadata"]["annotations"][DNS] = "off".into();
    let refused = decided(&pod);
    assert!(
        matches!(&refused, Decision::Refuse(why) if why.contains("the only value is none")),
        "{refused:?}"
    );
}
