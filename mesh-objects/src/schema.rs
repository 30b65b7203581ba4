//! Strict checks of a document against the schema of its kind, and its defaults. Nothing about references
//! between objects: those bind late.
//!
//! The order is an API server's: shape, bounds and defaults first; then, when these hold, the rules that span
//! several fields. Where a server would drop what it does not know, a file's object is refused, because a
//! misspelled field must not be ignored in silence.

mod accept;
mod explain;
mod format;
mod metadata;
mod own;
mod rules;
mod table;
mod walk;

use mesh_model::{FieldPath, Position, Reason, Severity};
use serde_json::Value as Json;

use crate::ObjectKind;
use mesh_yaml::Node;

pub use own::own_schema;

/// What is done with fields that a kind does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownFields {
    /// Left out with a warning, for objects that an API server has already taken.
    Prune,
    /// An error, for files.
    Refuse,
}

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// How bad it is.
    pub severity: Severity,
    /// Why, from the closed list.
    pub reason: Reason,
    /// The field.
    pub path: FieldPath,
    /// The place, counted from the first line of the document.
    pub position: Position,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub suggestion: Option<String>,
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The value with its defaults. Only meaningful when no violation is an error.
    pub value: Json,
    /// What is wrong, in the order of the document.
    pub violations: Vec<Violation>,
}

impl Checked {
    /// Whether nothing is wrong that makes the object unusable.
    pub fn is_valid(&self) -> bool {
        self.violations.iter().all(|violation| violation.severity != Severity::Error)
    }
}

/// Most violations that are listed for one object.
pub const MAX_VIOLATIONS: usize = 25;

/// Checks a document whose kind is known.
pub fn check(kind: ObjectKind, api_version: &str, root: &Node, unknown: UnknownFields) -> Checked {
    let registry = table::registry();
    let Some(schema) = registry.kind(api_version, kind.as_str()) else {
        return Checked { value: Json::Null, violations: vec![no_schema(api_version, root)] };
    };
    let mut walk = walk::Walk::new(registry, unknown);
    let value = walk.document(schema, root);
    let mut checked = Checked { value, violations: walk.into_violations() };
    if checked.is_valid() {
        checked.violations.extend(metadata::check(kind, root));
        checked.violations.extend(rules::check(registry, schema, &checked.value, root));
    }
    truncate(&mut checked.violations);
    checked
}

fn no_schema(api_version: &str, root: &Node) -> Violation {
    Violation {
        severity: Severity::Error,
        reason: Reason::UnknownKind,
        path: FieldPath::root().field("apiVersion"),
        position: root.position,
        message: format!("{api_version} has no schema here"),
        suggestion: None,
    }
}

fn truncate(violations: &mut Vec<Violation>) {
    let Some(more) = violations.len().checked_sub(MAX_VIOLATIONS).filter(|more| *more > 0) else { return };
    violations.truncate(MAX_VIOLATIONS);
    if let Some(last) = violations.last_mut() {
        last.message = format!("{} (and {more} more problems in this object)", last.message);
    }
}

/// The known name that a misspelled one probably means.
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    explain::nearest(name, known)
}

#[cfg(test)]
mod tests;
