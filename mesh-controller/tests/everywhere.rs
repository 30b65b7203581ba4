//! Policies of the root namespace hold in every namespace; those of others in their own.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;

use mesh_controller::source::FileSource;
use mesh_controller::translate::{Entry, Settings, translate};
use mesh_model::engine::authorize;
use mesh_model::{
    ConnectionFacts, Kind, Mesh, ObjectName, Origin, Plaintext, ResourceKey, SourceRef, Workload,
};

const POLICIES: &str = "\
apiVersion: security.mesh.io/v1beta1
kind: AuthorizationPolicy
metadata: {name: default-deny, namespace: root}
spec: {action: ALLOW, rules: []}
---
apiVersion: security.mesh.io/v1beta1
kind: AuthorizationPolicy
metadata: {name: open, namespace: shop}
spec: {rules: [{}]}
";

fn enters(root: Option<&str>, namespace: &str) -> bool {
    let snapshot = FileSource::from_text("in.yaml", POLICIES.as_bytes()).snapshot();
    assert!(snapshot.findings.is_empty(), "{:?}", snapshot.findings);
    let settings = Settings { root_namespace: root.map(str::to_owned), ..Settings::default() };
    let translation = translate(snapshot.store.iter().map(|stored| Entry::of(stored)), settings);
    let mesh = Mesh::from_resources(translation.resources.into_values());
    let name = ObjectName::new(namespace, "cart");
    let workload = Workload {
        key: ResourceKey::local(Kind::Workload, name.clone()),
        source: SourceRef::new("Pod", name.clone(), Origin::Builtin),
        name,
        labels: BTreeMap::new(),
        identity: format!("spiffe://cluster.local/ns/{namespace}/sa/cart").parse().unwrap(),
        addresses: Vec::new(),
        plaintext: Plaintext::default(),
        on_node: None,
        outside: mesh_model::Outside::Allowed,
    };
    let facts = ConnectionFacts {
        source: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2:80".parse().unwrap(),
        peer: None,
        sni: None,
    };
    authorize(&mesh.policies_for(&workload), &facts, None).allowed
}

#[test]
fn a_policy_of_the_root_namespace_that_allows_nobody_closes_the_mesh_until_another_one_opens_a_part() {
    let table = [(Some("root"), "bank", false), (Some("root"), "shop", true), (None, "bank", true)];
    for (root, namespace, expected) in table {
        assert_eq!(enters(root, namespace), expected, "{root:?} {namespace}");
    }
}
