//! What is said about objects of each kind, and about none that is somebody else's.

use std::collections::BTreeSet;

use super::super::holdings::{Holdings, Update};
use super::super::item;
use super::super::served::Resource;
use super::*;

const GATEWAYS: &str = "mesh.io/gateway-controller";
const MESH: &str = "mesh.io/mesh-controller";

fn read(kind: ObjectKind, value: Value) -> item::Item {
    let resource = Resource { kind, version: kind.versions()[0], plural: String::new() };
    item::read(&resource, value).expect("it has a name")
}

fn of(name: &str, spec: Value) -> Value {
    let metadata = json!({"namespace": "shop", "name": name, "generation": 4, "resourceVersion": "1"});
    json!({"metadata": metadata, "spec": spec})
}

/// Gateways of ours and of somebody else, a set of listeners, a service.
fn store() -> ObjectStore {
    let mut holdings = Holdings::default();
    let mut set = |kind, value| holdings.take(Update::Set(read(kind, value)));
    for (class, controller) in [("mesh", GATEWAYS), ("other", "other.example/c")] {
        let value = json!({"metadata": {"name": class}, "spec": {"controllerName": controller}});
        set(ObjectKind::GatewayClass, value);
        let listeners = json!([{"name": "http", "port": 80, "protocol": "HTTP"}]);
        let spec = json!({"gatewayClassName": class, "listeners": listeners});
        set(ObjectKind::Gateway, of(&format!("of-{class}"), spec));
        let spec = json!({"parentRef": {"name": format!("of-{class}")}, "listeners": listeners});
        set(ObjectKind::ListenerSet, of(&format!("set-{class}"), spec));
    }
    set(ObjectKind::Service, of("cart", json!({"ports": [{"port": 80}]})));
    holdings.snapshot().0.store
}

/// What is said about an object that nothing can be made of.
fn says(kind: ObjectKind, mut spec: Value) -> Option<Value> {
    spec["listeners"] = json!("no list");
    spec["rules"] = json!("no list");
    spec["validation"] = json!("no mapping");
    spec["selector"] = json!("no mapping");
    spec["retryConstraint"] = json!("no mapping");
    spec["tracing"] = json!("no mapping");
    spec["description"] = json!({"no": "text"});
    let item = read(kind, of("x", spec));
    assert!(item.stored.is_none(), "{kind:?} is usable");
    let store = store();
    let owners = Owners { store: &store, gateways: GATEWAYS, mesh: MESH };
    item.unusable.expect("something is kept").says(&item.key, &owners)
}

/// Types and reasons of the conditions, which all fail and tell the field.
fn conditions(list: &Value) -> Vec<(String, String)> {
    let of = |condition: &Value| {
        assert_eq!((&condition["status"], &condition["observedGeneration"]), (&json!(false), &json!(4)));
        let message = condition["message"].as_str().expect("a text");
        assert!(message.contains("not in force: spec."), "{message}");
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        (text("type"), text("reason"))
    };
    list.as_array().into_iter().flatten().map(of).collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(kind, reason)| ((*kind).to_owned(), (*reason).to_owned())).collect()
}

#[test]
fn gateways_and_their_listener_sets_are_neither_accepted_nor_programmed() {
    let both = pairs(&[("Accepted", "Invalid"), ("Programmed", "Invalid")]);
    let gateway = |class: &str| says(ObjectKind::Gateway, json!({"gatewayClassName": class}));
    assert_eq!(conditions(&gateway("mesh").expect("it is ours")["conditions"]), both);
    let set = |parent: &str| says(ObjectKind::ListenerSet, json!({"parentRef": {"name": parent}}));
    assert_eq!(conditions(&set("of-mesh").expect("it is ours")["conditions"]), both);
    for silent in [gateway("other"), gateway("unknown"), set("of-other"), set("unknown")] {
        assert_eq!(silent, None);
    }
}

#[test]
fn a_class_of_ours_is_not_accepted_and_one_of_others_is_theirs() {
    let class = |controller: &str| says(ObjectKind::GatewayClass, json!({"controllerName": controller}));
    let said = class(GATEWAYS).expect("it is ours");
    assert_eq!(conditions(&said["conditions"]), pairs(&[("Accepted", "Unsupported")]));
    assert_eq!(class("other.example/c"), None);
}

#[test]
fn a_route_hears_it_from_each_parent_of_ours_by_the_name_that_signs_for_it() {
    let parents = json!([
        {"name": "of-mesh"}, {"name": "of-other"}, {"name": "unknown"}, {"name": "of-mesh", "namespace": "elsewhere"},
        {"kind": "ListenerSet", "name": "set-mesh"}, {"kind": "ListenerSet", "name": "set-other"},
        {"group": "", "kind": "Service", "name": "cart"}, {"group": "", "kind": "Service", "name": "unknown"},
        {"group": "other.example", "kind": "Thing", "name": "x"},
    ]);
    for kind in [ObjectKind::HttpRoute, ObjectKind::GrpcRoute, ObjectKind::TlsRoute, ObjectKind::TcpRoute] {
        let said = says(kind, json!({"parentRefs": parents})).expect("a route");
        let entries = said["parents"].as_array().expect("a list");
        let names = entries.iter().map(|entry| (&entry["parentRef"]["name"], &entry["controllerName"]));
        let expected = [("of-mesh", GATEWAYS), ("set-mesh", GATEWAYS), ("cart", MESH)];
        let expected = expected.map(|(name, controller)| (json!(name), json!(controller)));
        assert!(names.eq(expected.iter().map(|(name, controller)| (name, controller))), "{said}");
        for entry in entries {
            assert_eq!(conditions(&entry["conditions"]), pairs(&[("Accepted", "UnsupportedValue")]));
        }
    }
}

#[test]
fn a_policy_names_its_targets_as_ancestors() {
    let targets =
        json!([{"group": "", "kind": "Service", "name": "cart"}, {"kind": "Service", "name": "odd"}]);
    for kind in [ObjectKind::BackendTlsPolicy, ObjectKind::XBackendTrafficPolicy] {
        let said = says(kind, json!({"targetRefs": targets})).expect("a policy");
        let [entry] = said["ancestors"].as_array().expect("a list").as_slice() else { panic!("{said}") };
        assert_eq!(entry["ancestorRef"]["namespace"], "shop");
        assert_eq!(entry["controllerName"], GATEWAYS);
        assert_eq!(conditions(&entry["conditions"]), pairs(&[("Accepted", "Invalid")]));
    }
}

#[test]
fn our_own_policies_have_one_condition() {
    let kinds = BTreeSet::from([ObjectKind::AuthorizationPolicy, ObjectKind::PeerAuthentication]);
    for kind in kinds {
        let said = says(kind, json!({})).expect("ours");
        assert_eq!(conditions(&said["conditions"]), pairs(&[("Accepted", "Invalid")]), "{kind:?}");
    }
}
