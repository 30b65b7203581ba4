//! Text to trees with places: a YAML reader with limits. It knows nothing about kinds or fields.
//!
//! A stream is split at its document markers before it is parsed, so that one unreadable document does not
//! take the others with it. Scalars are resolved as Kubernetes resolves them (YAML 1.1 words for truth
//! values, `0755` octal), because the same file must mean the same to both.

mod build;
mod node;
mod scalar;
mod split;

pub use node::{Entry, Node, Value};

use mesh_model::Position;

/// Most bytes of one text.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Most levels of nested lists and mappings.
pub const MAX_DEPTH: usize = 64;
/// Most nodes of one document.
pub const MAX_NODES: usize = 2_000_000;
/// Most nodes of one document that come from anchors and aliases.
pub const MAX_COPIED_NODES: usize = 200_000;

/// One document of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// How many lines of the text come before the document. Places inside count from its own first line.
    pub line_offset: u32,
    /// The tree, or why there is none.
    pub root: Result<Node, SyntaxError>,
}

/// Why a document could not be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct SyntaxError {
    /// The place, counted like the places of the document.
    pub position: Position,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A character that YAML does not allow (YAML 1.2.2, section 5.1).
    #[error("character {0:?} is not allowed")]
    Character(char),
    /// One key twice; the place is the second one.
    #[error("the key {key:?} is there twice, first at {first}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Place of the first one, counted like the places of the document.
        first: Position,
    },
    /// An alias inside of what it names, or one that names nothing.
    #[error("the alias names something that is not complete before it")]
    EndlessAlias,
    /// A key that is not a text.
    #[error("a key must be a text, and this is {0}")]
    KeyType(&'static str),
    /// A merge key with a value that cannot be merged.
    #[error("`<<` needs a mapping, or a list of mappings")]
    Merge,
    /// Bytes that are not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// A number that JSON cannot express.
    #[error("{0} is not a finite number")]
    NotFinite(String),
    /// The parser's complaint.
    #[error("{0}")]
    Syntax(String),
    /// A tag that means nothing here, or does not fit its value.
    #[error("the tag {0} cannot be used here")]
    Tag(String),
    /// Anchors and aliases that grow beyond [`MAX_COPIED_NODES`].
    #[error("anchors and aliases stand for more than {MAX_COPIED_NODES} values")]
    TooManyCopies,
    /// Nesting beyond [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A text beyond [`MAX_BYTES`].
    #[error("{0} bytes are more than {MAX_BYTES}")]
    TooLarge(usize),
    /// A document beyond [`MAX_NODES`].
    #[error("more than {MAX_NODES} values in one document")]
    TooManyNodes,
}

/// Reads every document of a text. Empty documents are left out.
pub fn read(bytes: &[u8]) -> Vec<Document> {
    match chunks(bytes) {
        Ok(chunks) => chunks.into_iter().filter_map(Chunk::parse).collect(),
        Err(error) => vec![Document { line_offset: 0, root: Err(error) }],
    }
}

/// The text of one document, or of none when it holds comments only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chunk<'t> {
    /// How many lines of the whole text come before.
    pub line_offset: u32,
    /// The text, with its document marker.
    pub text: &'t str,
}

impl Chunk<'_> {
    /// Reads the document.
    pub fn parse(self) -> Option<Document> {
        let root = build::document(self.text).transpose()?;
        Some(Document { line_offset: self.line_offset, root })
    }
}

/// Splits a text at its document markers.
///
/// # Errors
/// When the text as a whole cannot be read: too large, or not UTF-8.
pub fn chunks(bytes: &[u8]) -> Result<Vec<Chunk<'_>>, SyntaxError> {
    if bytes.len() > MAX_BYTES {
        return Err(at_start(Problem::TooLarge(bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        SyntaxError { position: split::end_of(&good), problem: Problem::NotUtf8 }
    })?;
    Ok(split::split(text.strip_prefix('\u{feff}').unwrap_or(text)))
}

const fn at_start(problem: Problem) -> SyntaxError {
    SyntaxError { position: Position { line: 1, column: 1 }, problem }
}

#[cfg(test)]
mod tests;
