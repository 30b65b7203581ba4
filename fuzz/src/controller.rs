//! Targets of mesh-controller: text to trees, and text to objects.

use std::sync::Arc;

use mesh_controller::objects::Object;
use mesh_controller::source;
use mesh_controller::yaml::{self, Node, Value};

use crate::planted;

/// The YAML reader: the same bytes give the same trees, within the limits.
pub fn yaml(bytes: &[u8]) {
    let documents = yaml::read(bytes);
    for document in &documents {
        let Ok(root) = &document.root else { continue };
        assert!(depth(root) <= yaml::MAX_DEPTH + 1, "deeper than the limit");
        planted(three_lists(root));
    }
}

fn children(node: &Node) -> Vec<&Node> {
    match &node.value {
        Value::Map(entries) => entries.iter().map(|entry| &entry.node).collect(),
        Value::Seq(items) => items.iter().collect(),
        _ => vec![],
    }
}

fn depth(node: &Node) -> usize {
    1 + children(node).into_iter().map(depth).max().unwrap_or(0)
}

/// Three lists directly in each other.
fn three_lists(node: &Node) -> bool {
    let lists = |node: &Node| matches!(node.value, Value::Seq(_));
    let nested = lists(node)
        && children(node).iter().any(|inner| lists(inner) && children(inner).iter().any(|leaf| lists(leaf)));
    nested || children(node).into_iter().any(three_lists)
}

/// Whole documents: what loads prints and loads again as the same object.
pub fn objects(bytes: &[u8]) {
    let file: Arc<str> = Arc::from("fuzz.yaml");
    let loaded = source::load(bytes, &file);
    for stored in &loaded.objects {
        let object = stored.object();
        let printed = object.print().expect("a parsed object prints");
        let again = Object::parse(object.kind(), printed);
        assert_eq!(again.as_ref().ok(), Some(object), "{again:?}");
    }
    for finding in &loaded.findings {
        assert!(!finding.to_string().is_empty());
    }
    planted(loaded.objects.iter().any(|stored| &*stored.name().name != "cart"));
}
