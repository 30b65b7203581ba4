//! What an object of a server becomes.

use serde_json::json;

use super::*;
use crate::objects::{HttpRoute, Secret};

fn resource(kind: ObjectKind, version: &'static str) -> Resource {
    Resource { kind, version, plural: "any".to_owned() }
}

fn route(spec: Value) -> Item {
    let metadata = json!({"namespace": "a", "name": "r", "uid": "u", "generation": 3, "resourceVersion": "17",
        "annotations": {LAST_APPLIED: "{}", "kept": "yes"}, "managedFields": [{"manager": "m"}]});
    let status = json!({"parents": [{"fromTheFuture": true}]});
    let value = json!({"metadata": metadata, "spec": spec, "status": status});
    read(&resource(ObjectKind::HttpRoute, "v1"), value).expect("it has a name")
}

#[test]
fn an_object_is_kept_with_its_version_and_without_what_nobody_reads() {
    let item = route(json!({"hostnames": ["a.example"]}));
    assert_eq!((&*item.version, &item.findings[..]), ("17", &[][..]));
    let stored = item.stored.expect("it is usable");
    assert_eq!(stored.source().origin, Origin::Api { generation: 3 });
    let live = stored.live().expect("a server sent it");
    assert_eq!((&*live.uid, &*live.resource_version), ("u", "17"));
    assert_eq!(live.status, json!({"parents": [{"fromTheFuture": true}]}), "byte for byte");
    let route = stored.get::<HttpRoute>().expect("a route");
    assert_eq!(route.metadata.annotations.keys().collect::<Vec<_>>(), ["kept"]);
    assert!(route.metadata.managed_fields.is_empty() && route.status.is_none());
    assert_eq!(route.metadata.resource_version, None, "a written status must change nothing");
}

#[test]
fn an_unknown_field_is_a_finding_and_the_object_counts() {
    let item = route(json!({"hostnames": ["a.example"], "fromTheFuture": {"x": 1}}));
    assert!(item.stored.is_some());
    let finding = &item.findings[0];
    assert_eq!(
        (finding.severity, finding.path.to_string()),
        (Severity::Warning, "spec.fromTheFuture".to_owned())
    );
    assert_eq!(finding.object.as_ref().map(|o| o.origin.clone()), Some(Origin::Api { generation: 3 }));
}

#[test]
fn an_object_that_its_rules_refuse_is_not_usable() {
    // Refused by the rules of newer definitions; an older one lets it through.
    let filter = json!({"type": "RequestMirror"});
    let item = route(json!({"rules": [{"filters": [filter]}]}));
    assert!(item.stored.is_none());
    assert!(item.findings.iter().any(|finding| finding.severity == Severity::Error), "{:?}", item.findings);
}

#[test]
fn a_value_of_a_newer_definition_is_not_usable_and_says_where() {
    let item = route(json!({"rules": [{"filters": [{"type": "FromTheFuture"}]}]}));
    assert!(item.stored.is_none());
    assert_eq!(item.findings[0].path.to_string(), "spec.rules[0].filters[0].type");
}

#[test]
fn a_secret_loses_its_annotations_and_keeps_its_bytes() {
    let metadata = json!({"namespace": "a", "name": "s", "annotations": {"x": "copy of a key"}});
    let value = json!({"metadata": metadata, "type": "kubernetes.io/tls", "data": {"tls.key": "a2V5"}});
    let item = read(&resource(ObjectKind::Secret, "v1"), value).expect("it has a name");
    let stored = item.stored.expect("it is usable");
    let secret = stored.get::<Secret>().expect("a secret");
    assert_eq!(secret.value("tls.key"), Some(&b"key"[..]));
    assert!(secret.metadata.annotations.is_empty());
}

#[test]
fn fields_of_newer_core_objects_are_nobodys_concern() {
    let value = json!({"metadata": {"namespace": "a", "name": "s"}, "spec": {"fromTheFuture": 1, "ports": [{"port": 80, "protocol": "TCP"}]}});
    let item = read(&resource(ObjectKind::Service, "v1"), value).expect("it has a name");
    assert!(item.stored.is_some() && item.findings.is_empty(), "{:?}", item.findings);
}
