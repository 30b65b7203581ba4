//! One object of an API server to one of the store, or to what is wrong with it. Pure: no server is asked.

use std::sync::Arc;

use mesh_model::{FieldPath, Finding, ObjectName, Origin, Position, Reason, Severity, SourceRef};
use serde_json::{Map, Value};

use super::served::Resource;
use super::unusable::Unusable;
use crate::objects::{Object, ObjectKind, Scope, group};
use crate::schema::{self, UnknownFields, Violation};
use crate::store::{Live, ObjectKey, Stored};
use crate::yaml::{self, Node};

/// What kubectl keeps in an annotation: the whole object once more, with whatever secret it holds.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object as it was read.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Kind and name.
    pub(super) key: ObjectKey,
    /// The version it was read at.
    pub(super) version: Arc<str>,
    /// The object; none when it cannot be used.
    pub(super) stored: Option<Arc<Stored>>,
    /// What is kept of an object that cannot be used.
    pub(super) unusable: Option<Arc<Unusable>>,
    /// What is wrong with it.
    pub(super) findings: Vec<Finding>,
}

/// Reads an object. `None` when it has no name, which no server sends.
pub(super) fn read(resource: &Resource, mut value: Value) -> Option<Item> {
    let kind = resource.kind;
    let root = value.as_object_mut()?;
    let (key, version) = identity(kind, root)?;
    let metadata = root.get_mut("metadata")?.as_object_mut()?;
    let generation = metadata.get("generation").and_then(Value::as_i64).unwrap_or_default();
    let uid = metadata.get("uid").and_then(Value::as_str).unwrap_or_default().into();
    strip(kind, metadata);
    let api_version = resource.api_version();
    // The items of a list do not repeat what they are.
    root.insert("apiVersion".to_owned(), Value::from(api_version.as_str()));
    root.insert("kind".to_owned(), Value::from(kind.as_str()));
    let status = match has_own_status(kind) {
        true => root.remove("status").unwrap_or_default(),
        false => Value::Null,
    };
    let source = SourceRef::new(kind.as_str(), key.name.clone(), Origin::Api { generation });
    let (object, findings) = check(kind, &api_version, value, &source);
    let (stored, unusable) = match object {
        Ok(object) => {
            let api_version = api_version.into();
            let live = Live { api_version, resource_version: Arc::clone(&version), uid, status };
            (Some(Arc::new(Stored::from_server(Arc::new(object), generation, live))), None)
        }
        Err(value) => {
            let live = (Arc::clone(&version), generation, status);
            (None, Some(Arc::new(Unusable::new(live, &value, &findings))))
        }
    };
    Some(Item { key, version, stored, unusable, findings })
}

/// Kind, name and version of an object.
pub(super) fn identity(kind: ObjectKind, root: &Map<String, Value>) -> Option<(ObjectKey, Arc<str>)> {
    let metadata = root.get("metadata")?;
    let text = |name: &str| metadata.get(name).and_then(Value::as_str);
    let namespace = match kind.scope() {
        Scope::Cluster => "",
        Scope::Namespaced => text("namespace")?,
    };
    let key = ObjectKey::new(kind, ObjectName::new(namespace, text("name")?));
    Some((key, text("resourceVersion").unwrap_or_default().into()))
}

/// Whether the status of a kind is what controllers say about a wish, and no part of what is translated.
fn has_own_status(kind: ObjectKind) -> bool {
    !matches!(kind.group(), group::CORE | group::DISCOVERY)
}

/// Leaves out what nobody here reads and what changes without meaning.
fn strip(kind: ObjectKind, metadata: &mut Map<String, Value>) {
    for field in ["managedFields", "resourceVersion", "selfLink"] {
        metadata.remove(field);
    }
    if kind == ObjectKind::Secret {
        metadata.remove("annotations");
    }
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.remove(LAST_APPLIED);
    }
}

/// The object, or its value when it cannot be used.
fn check(
    kind: ObjectKind,
    api_version: &str,
    value: Value,
    source: &SourceRef,
) -> (Result<Object, Value>, Vec<Finding>) {
    let tree = node(value);
    let checked = schema::check(kind, api_version, &tree, UnknownFields::Prune);
    let valid = checked.is_valid();
    let worth_saying = |violation: &Violation| has_own_status(kind) || violation.severity == Severity::Error;
    let violations = checked.violations.into_iter().filter(worth_saying);
    let mut findings: Vec<Finding> = violations.map(|violation| finding(violation, source)).collect();
    if !valid {
        return (Err(plain(tree)), findings);
    }
    match Object::parse(kind, checked.value) {
        Ok(object) => (Ok(object), findings),
        Err(error) => {
            let message = format!("the value cannot be used: {error}");
            findings.push(Finding::error(Reason::InvalidValue, source, FieldPath::root(), message));
            (Err(plain(tree)), findings)
        }
    }
}

fn finding(violation: Violation, source: &SourceRef) -> Finding {
    Finding {
        severity: violation.severity,
        reason: violation.reason,
        object: Some(source.clone()),
        file: None,
        position: None,
        path: violation.path,
        message: violation.message,
        suggestion: violation.suggestion,
    }
}

/// A value as the tree that schemas look at. It has no places.
fn node(value: Value) -> Node {
    let position = Position { line: 1, column: 1 };
    let value = match value {
        Value::Array(items) => yaml::Value::Seq(items.into_iter().map(node).collect()),
        Value::Bool(value) => yaml::Value::Bool(value),
        Value::Null => yaml::Value::Null,
        Value::Number(number) => yaml::Value::Number(number),
        Value::Object(fields) => yaml::Value::Map(fields.into_iter().map(entry).collect()),
        Value::String(text) => yaml::Value::String(text),
    };
    Node { position, value }
}

fn entry((key, value): (String, Value)) -> yaml::Entry {
    yaml::Entry { key, key_position: Position { line: 1, column: 1 }, node: node(value) }
}

/// A tree as the value that it was made from.
fn plain(node: Node) -> Value {
    match node.value {
        yaml::Value::Seq(items) => Value::Array(items.into_iter().map(plain).collect()),
        yaml::Value::Bool(value) => Value::Bool(value),
        yaml::Value::Null => Value::Null,
        yaml::Value::Number(number) => Value::Number(number),
        yaml::Value::Map(fields) => fields.into_iter().map(|field| (field.key, plain(field.node))).collect(),
        yaml::Value::String(text) => Value::String(text),
    }
}

/// An object as a test writes it down, which must be usable.
#[cfg(test)]
pub(super) fn stored(kind: ObjectKind, value: Value) -> Arc<Stored> {
    let resource = Resource { kind, version: "v1", plural: String::new() };
    read(&resource, value).and_then(|item| item.stored).expect("a usable object")
}

#[cfg(test)]
mod tests;
