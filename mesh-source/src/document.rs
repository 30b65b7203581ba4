//! One document to objects: which kind it is, whether it fits its schema, and its parsed type. Places count
//! from the document's first line, so that the outcome depends on its text alone.

use std::sync::Arc;

use mesh_model::{FieldPath, ObjectName, Position, Reason, Severity};

use mesh_objects::schema::{self, UnknownFields, Violation};
use mesh_objects::{Object, ObjectKind, Scope, group};
use mesh_yaml::{Chunk, Node, Problem, SyntaxError, Value};

/// Kinds that are part of the specification and not of files: the controller of a cluster makes the one that there is.
const NOT_IN_FILES: [&str; 1] = ["XMesh"];

/// What one object of a document became.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The object, unless something is wrong with it.
    pub object: Option<Arc<Object>>,
    /// Kind and name as far as they can be read.
    pub label: Option<(Arc<str>, ObjectName)>,
    /// The tree; none when the text could not be read.
    pub root: Option<Arc<Node>>,
    /// What is wrong.
    pub violations: Vec<Violation>,
    /// Place of the first of two equal keys, when that is what is wrong.
    pub first_key: Option<Position>,
}

/// Reads the objects of one document: one, or the items of a `List`.
pub fn parse(chunk: Chunk<'_>) -> Vec<Parsed> {
    let Some(document) = chunk.parse() else { return Vec::new() };
    let root = match document.root {
        Ok(root) => root,
        Err(error) => return vec![unreadable(&error)],
    };
    match list_items(&root) {
        Some(items) => items.iter().map(|item| object(item.clone())).collect(),
        None => vec![object(root)],
    }
}

/// The items of `kind: List`, which tools print for several objects.
fn list_items(root: &Node) -> Option<&[Node]> {
    let is_list =
        root.field("kind")?.as_str() == Some("List") && root.field("apiVersion")?.as_str() == Some("v1");
    match &root.field("items")?.value {
        Value::Seq(items) if is_list => Some(items),
        _ => None,
    }
}

fn unreadable(error: &SyntaxError) -> Parsed {
    let (reason, suggestion, first_key) = match &error.problem {
        Problem::DuplicateKey { first, .. } => {
            (Reason::DuplicateKey, Some("keep one of the two"), Some(*first))
        }
        Problem::KeyType(_) => (Reason::InvalidSyntax, Some("put quotes around the key"), None),
        _ => (Reason::InvalidSyntax, None, None),
    };
    let message = match &error.problem {
        Problem::DuplicateKey { key, .. } => format!("the key {key:?} is there twice"),
        problem => problem.to_string(),
    };
    let violation = Violation {
        severity: Severity::Error,
        reason,
        path: FieldPath::root(),
        position: error.position,
        message,
        suggestion: suggestion.map(str::to_owned),
    };
    Parsed { object: None, label: None, root: None, violations: vec![violation], first_key }
}

fn object(mut root: Node) -> Parsed {
    let (object, violations) = match identify(&root) {
        Ok((kind, api_version)) => typed(kind, &api_version, &root),
        Err(violation) => (None, vec![*violation]),
    };
    let label = label(&root);
    if root.field("kind").and_then(Node::as_str) == Some("Secret") {
        forget_texts(&mut root, &["data", "stringData"]);
    }
    Parsed { object: object.map(Arc::new), label, root: Some(Arc::new(root)), violations, first_key: None }
}

/// Empties what is below these fields and keeps the places: the tree stays for findings, and secrets need to
/// be in memory only once.
fn forget_texts(root: &mut Node, fields: &[&str]) {
    let Value::Map(entries) = &mut root.value else { return };
    for entry in entries.iter_mut().filter(|entry| fields.contains(&entry.key.as_str())) {
        let Value::Map(values) = &mut entry.node.value else { continue };
        for value in values {
            value.node.value = Value::Null;
        }
    }
}

fn typed(kind: ObjectKind, api_version: &str, root: &Node) -> (Option<Object>, Vec<Violation>) {
    let mut checked = schema::check(kind, api_version, root, UnknownFields::Refuse);
    if !checked.is_valid() {
        return (None, checked.violations);
    }
    match Object::parse(kind, checked.value) {
        Ok(object) => (Some(object), checked.violations),
        Err(error) => {
            let message = format!("the value cannot be used: {error}");
            checked.violations.push(wrong(Reason::InvalidValue, FieldPath::root(), root.position, message));
            (None, checked.violations)
        }
    }
}

/// Kind and `apiVersion` of a document, or what is wrong with them.
fn identify(root: &Node) -> Result<(ObjectKind, String), Box<Violation>> {
    if !matches!(root.value, Value::Map(_)) {
        let message = format!("an object must be a mapping, and this is {}", root.type_name());
        return Err(Box::new(wrong(Reason::InvalidValue, FieldPath::root(), root.position, message)));
    }
    let text = |name: &str| {
        let path = FieldPath::root().field(name);
        let Some(node) = root.field(name).filter(|node| node.value != Value::Null) else {
            let message = format!("the field {name} is missing");
            return Err(Box::new(wrong(Reason::MissingField, path, root.position, message)));
        };
        let message = || format!("this must be a text, and is {}", node.type_name());
        let wrong_type = || Box::new(wrong(Reason::InvalidValue, path, node.position, message()));
        Ok((node.as_str().ok_or_else(wrong_type)?.to_owned(), node.position))
    };
    let (api_version, version_position) = text("apiVersion")?;
    let (kind, kind_position) = text("kind")?;
    match ObjectKind::find(&api_version, &kind) {
        Some(found) => Ok((found, api_version)),
        None => Err(Box::new(unknown_kind(&api_version, &kind, (version_position, kind_position)))),
    }
}

fn unknown_kind(api_version: &str, kind: &str, (version_at, kind_at): (Position, Position)) -> Violation {
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let path = |name: &str| FieldPath::root().field(name);
    if group == group::EXPERIMENTAL && NOT_IN_FILES.contains(&kind) {
        let message = format!("{kind} is experimental, and of clusters only");
        return wrong(Reason::UnsupportedValue, path("kind"), kind_at, message);
    }
    let same_kind: Vec<_> = ObjectKind::ALL.iter().filter(|known| known.as_str() == kind).collect();
    if let Some(known) = same_kind.first() {
        let versions: Vec<String> = known.versions().iter().map(|v| qualified(known.group(), v)).collect();
        let message = format!("{kind} is not known in {api_version}");
        let violation = wrong(Reason::UnknownKind, path("apiVersion"), version_at, message);
        return Violation { suggestion: Some(format!("write {}", versions.join(" or "))), ..violation };
    }
    let of_group: Vec<&str> =
        ObjectKind::ALL.iter().filter(|k| k.group() == group).map(|k| k.as_str()).collect();
    let suggestion = match (schema::nearest(kind, of_group.iter().copied()), of_group.is_empty()) {
        (Some(name), _) => format!("did you mean {name}?"),
        (None, false) => format!("known kinds of this group are {}", of_group.join(", ")),
        (None, true) => {
            let groups = [group::GATEWAY, group::SECURITY, group::LOCAL, group::DISCOVERY];
            format!("known groups are the core group, {}", groups.join(", "))
        }
    };
    let violation = wrong(
        Reason::UnknownKind,
        path("kind"),
        kind_at,
        format!("the kind {kind} of {api_version} is not known"),
    );
    Violation { suggestion: Some(suggestion), ..violation }
}

fn qualified(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn wrong(reason: Reason, path: FieldPath, position: Position, message: String) -> Violation {
    Violation { severity: Severity::Error, reason, path, position, message, suggestion: None }
}

/// Kind and name, so that a finding can say whom it is about even when the object is not usable.
fn label(root: &Node) -> Option<(Arc<str>, ObjectName)> {
    let kind = root.field("kind")?.as_str()?;
    let metadata = root.field("metadata")?;
    let name = metadata.field("name")?.as_str()?;
    let known = root.field("apiVersion").and_then(Node::as_str).and_then(|v| ObjectKind::find(v, kind));
    let namespace = match known.map(ObjectKind::scope) {
        Some(Scope::Cluster) => "",
        _ => metadata.field("namespace").and_then(Node::as_str).unwrap_or("default"),
    };
    Some((Arc::from(kind), ObjectName::new(namespace, name)))
}
