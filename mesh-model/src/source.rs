//! Where a resource came from, so that every decision can name its origin.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::name::ObjectName;

/// A place in a text file. Lines and columns count from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Which version of an object, or which place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Origin {
    /// An object of an API server, at this `metadata.generation`.
    Api {
        /// The generation that was read.
        generation: i64,
    },
    /// Made by the mesh itself.
    Builtin,
    /// A document in a file, at the line where it begins.
    File {
        /// The path as the user gave it.
        path: Arc<str>,
        /// Line of the document's first key, from 1; 0 where it is left out, so that an edit above the document
        /// changes nothing that was made from it.
        line: u32,
    },
}

/// The object that a resource was made from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceRef {
    /// Kind of the object, such as `HTTPRoute`.
    pub kind: Arc<str>,
    /// Its namespace and name.
    pub object: ObjectName,
    /// Its version or place.
    pub origin: Origin,
}

impl SourceRef {
    /// A source from its parts.
    pub fn new(kind: impl Into<Arc<str>>, object: ObjectName, origin: Origin) -> Self {
        Self { kind: kind.into(), object, origin }
    }
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.object)?;
        match &self.origin {
            Origin::Api { generation } => write!(f, " (generation {generation})"),
            Origin::Builtin => write!(f, " (built in)"),
            Origin::File { path, line: 0 } => write!(f, " ({path})"),
            Origin::File { path, line } => write!(f, " ({path}:{line})"),
        }
    }
}
