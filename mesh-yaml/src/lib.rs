//! Text to trees with places: a YAML reader with limits. It knows nothing about kinds or fields.
#![doc = include_str!("../README.md")]

mod reader;

pub use reader::{
    Chunk, Document, Entry, MAX_BYTES, MAX_COPIED_NODES, MAX_DEPTH, MAX_NODES, Node, Problem, SyntaxError,
    Value, chunks, read,
};
