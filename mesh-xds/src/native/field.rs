//! Checks of single fields of received messages, and the error that names the field. No messages here.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

/// Why a payload is not a valid resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A field is missing or holds a value that the model does not have.
    #[error("{path}: {problem}")]
    Field {
        /// The field, such as `rules[2].filters[0].action`.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The bytes are not a message of the type.
    #[error("not a message of this type: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// The name under which the resource travelled is not its key.
    #[error("the resource calls itself {key:?}")]
    Name {
        /// The key inside.
        key: String,
    },
    /// The type is none of the mesh's.
    #[error("{0:?} is not a type of the mesh")]
    UnknownType(String),
}

pub(super) type Decoded<T> = Result<T, DecodeError>;

/// The error of one field.
pub(super) fn wrong(field: &str, problem: impl Display) -> DecodeError {
    DecodeError::Field { path: field.to_owned(), problem: problem.to_string() }
}

/// Adds the enclosing field to the path of an error.
pub(super) trait Within {
    fn within(self, field: &str) -> Self;
}

impl<T> Within for Decoded<T> {
    fn within(self, field: &str) -> Self {
        self.map_err(|error| match error {
            DecodeError::Field { path, problem } if path.is_empty() => wrong(field, problem),
            DecodeError::Field { path, problem } => {
                DecodeError::Field { path: format!("{field}.{path}"), problem }
            }
            other => other,
        })
    }
}

pub(super) fn needed<T>(field: &str, value: Option<T>) -> Decoded<T> {
    value.ok_or_else(|| wrong(field, "is missing or of a kind that is not known here"))
}

pub(super) fn parsed<T>(field: &str, text: &str) -> Decoded<T>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error| wrong(field, error))
}

/// Decodes every element; errors name its place.
pub(super) fn each<W, M, L>(field: &str, wires: L, decode: impl Fn(W) -> Decoded<M>) -> Decoded<Vec<M>>
where
    L: IntoIterator<Item = W>,
{
    let numbered = wires.into_iter().enumerate();
    numbered.map(|(at, wire)| decode(wire).within(&format!("{field}[{at}]"))).collect()
}

/// Parses every text of a list.
pub(super) fn each_parsed<T>(field: &str, texts: &[String]) -> Decoded<Vec<T>>
where
    T: FromStr,
    T::Err: Display,
{
    let place = |at: usize| format!("{field}[{at}]");
    texts.iter().enumerate().map(|(at, text)| parsed(&place(at), text)).collect()
}

/// A port from 1 to 65535.
pub(super) fn port(field: &str, number: u32) -> Decoded<u16> {
    u16::try_from(number).ok().filter(|p| *p != 0).ok_or_else(|| wrong(field, format!("{number} is no port")))
}

/// A number of 16 bits.
pub(super) fn short(field: &str, number: u32) -> Decoded<u16> {
    u16::try_from(number).map_err(|_| wrong(field, format!("{number} is more than 65535")))
}

/// Visible ASCII without blanks, as in paths and tokens.
pub(super) fn graphic(field: &str, text: &str) -> Decoded<Arc<str>> {
    match text.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(Arc::from(text)),
        false => Err(wrong(field, "holds a blank, a control character or a byte outside ASCII")),
    }
}

/// A text that is not empty.
pub(super) fn text(field: &str, text: &str) -> Decoded<Arc<str>> {
    if text.is_empty() { Err(wrong(field, "is empty")) } else { Ok(Arc::from(text)) }
}

/// A list of byte strings, none of them empty.
pub(super) fn ders(field: &str, list: Vec<Vec<u8>>) -> Decoded<Vec<Arc<[u8]>>> {
    each(field, list, |der| if der.is_empty() { Err(wrong("", "is empty")) } else { Ok(Arc::from(der)) })
}
