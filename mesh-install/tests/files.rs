//! The files of the repository that are made from this crate are what it makes. `MESH_REGENERATE=1` writes them.
#![allow(clippy::disallowed_methods, reason = "the switch that writes the files is read here")]

use std::path::{Path, PathBuf};

use mesh_install::access::{cluster_rules, namespace_rules};
use mesh_install::render::NAMESPACE;
use mesh_install::{Values, manifest, render};
use serde_json::Value as Json;

const WRITTEN: &str =
    "# Made by: MESH_REGENERATE=1 cargo test -p mesh-install. Edit mesh-install, not this file.\n";

#[track_caller]
fn check(path: &str, text: &str) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(PathBuf::from).expect("a workspace").join(path);
    if std::env::var_os("MESH_REGENERATE").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        std::fs::write(&path, text).expect("the file is written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "{} differs; MESH_REGENERATE=1 cargo test -p mesh-install writes it",
        path.display()
    );
}

#[test]
fn the_static_manifest_is_the_default_installation() {
    let rendered = render(&Values::default(), NAMESPACE);
    let objects: Vec<Json> = std::iter::once(rendered.namespace).chain(rendered.objects).collect();
    check("kubernetes/controller-deployment.yaml", &format!("{WRITTEN}{}", manifest::print(&objects)));
    let mut values = Values::default();
    values.node.enabled = true;
    let with_nodes = render(&values, NAMESPACE).objects;
    let of_nodes: Vec<Json> = with_nodes.into_iter().filter(|object| !objects.contains(object)).collect();
    let why = "# For pods with the label mesh.io/mode: node, which then need no sidecar.\n";
    check("kubernetes/node/daemonset.yaml", &format!("{WRITTEN}{why}{}", manifest::print(&of_nodes)));
    let class = rendered.class.expect("the default installation has a class");
    let why = "# Apart from the controller, because a cluster without the Gateway API refuses it.\n";
    check("kubernetes/gateway-class.yaml", &format!("{WRITTEN}{why}{}", manifest::print(&[class])));
}

#[test]
fn the_chart_has_the_permissions() {
    let file = |rules: Vec<Json>| format!("{WRITTEN}{}", manifest::document(&Json::Array(rules)));
    check("helm/service-mesh/files/cluster-rules.yaml", &file(cluster_rules()));
    check("helm/service-mesh/files/namespace-rules.yaml", &file(namespace_rules()));
}

#[test]
fn our_definitions_are_made_from_the_schema_of_the_kinds() {
    for definition in mesh_install::definitions::definitions() {
        let name = definition["metadata"]["name"].as_str().expect("a name");
        let text = format!("{WRITTEN}{}", manifest::document(&definition));
        check(&format!("config/crd/{name}.yaml"), &text);
        check(&format!("helm/service-mesh/crds/{name}.yaml"), &text);
    }
}
