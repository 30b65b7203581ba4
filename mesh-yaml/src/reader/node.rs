//! The tree: values with the places they were read from. No reading and no meaning of fields.

use mesh_model::{FieldPath, Position};
use serde_json::Number;

/// A value and the place where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The place, counted from the first line of the document.
    pub position: Position,
    /// The value.
    pub value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// A mapping in the order of its text; keys are unique.
    Map(Vec<Entry>),
    /// Nothing.
    Null,
    /// A number.
    Number(Number),
    /// A list.
    Seq(Vec<Node>),
    /// A text.
    String(String),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Place of the key.
    pub key_position: Position,
    /// The value.
    pub node: Node,
}

impl Node {
    /// The value of a key, when this is a mapping that has it.
    pub fn field(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The entries of a mapping; none for other values.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The text, when this is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Where a field is: its own place, or that of the innermost value around it that is there.
    pub fn position(&self, path: &FieldPath) -> Position {
        let (mut node, mut here) = (self, FieldPath::root());
        while &here != path {
            let Some((child, child_path)) = node.child_towards(&here, path) else { break };
            (node, here) = (child, child_path);
        }
        node.position
    }

    fn child_towards(&self, here: &FieldPath, path: &FieldPath) -> Option<(&Self, FieldPath)> {
        let leads = |child: &FieldPath| {
            let rest = path.as_str().strip_prefix(child.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        match &self.value {
            Value::Map(entries) => {
                let mut children = entries.iter().map(|entry| (&entry.node, here.field(&entry.key)));
                children.find(|(_, child)| leads(child))
            }
            Value::Seq(items) => {
                let index = path.as_str().strip_prefix(here.as_str())?.strip_prefix('[')?.split_once(']')?.0;
                let index: usize = index.parse().ok()?;
                Some((items.get(index)?, here.index(index)))
            }
            _ => None,
        }
    }

    /// What the value is, in words.
    pub const fn type_name(&self) -> &'static str {
        match &self.value {
            Value::Bool(_) => "a truth value",
            Value::Map(_) => "a mapping",
            Value::Null => "nothing",
            Value::Number(_) => "a number",
            Value::Seq(_) => "a list",
            Value::String(_) => "a text",
        }
    }

    /// The value without places.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Bool(value) => (*value).into(),
            Value::Map(entries) => {
                let entries = entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json()));
                serde_json::Value::Object(entries.collect())
            }
            Value::Null => serde_json::Value::Null,
            Value::Number(number) => number.clone().into(),
            Value::Seq(items) => items.iter().map(Self::to_json).collect(),
            Value::String(text) => text.as_str().into(),
        }
    }

    /// How many values the tree has, this one included.
    pub(super) fn count(&self) -> usize {
        match &self.value {
            Value::Map(entries) => 1 + entries.iter().map(|entry| entry.node.count()).sum::<usize>(),
            Value::Seq(items) => 1 + items.iter().map(Self::count).sum::<usize>(),
            _ => 1,
        }
    }
}
