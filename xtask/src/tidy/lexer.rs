//! Splits Rust text into code, string literals and comments, with line numbers. It knows no more of the
//! language than that needs.

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anything that is neither of the others.
    Code,
    /// `//`, `///`, `//!` and `/* */`, marks included.
    Comment,
    /// A string or character literal of any prefix, quotes included.
    Literal,
}

/// A piece within one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) kind: Kind,
    /// First line is 1.
    pub(super) line: usize,
    pub(super) text: &'a str,
}

/// All pieces of a text, in order; a literal or comment of several lines gives one piece for each.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < text.len() {
        let (kind, length) = next(&text[at..]);
        for (nth, part) in text[at..at + length].split('\n').enumerate() {
            if nth > 0 {
                line += 1;
            }
            if !part.is_empty() {
                found.push(Piece { kind, line, text: part });
            }
        }
        at += length;
    }
    found
}

/// The kind and length of what the text begins with; the length is at least one character.
fn next(text: &str) -> (Kind, usize) {
    if text.starts_with("//") {
        return (Kind::Comment, text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return (Kind::Comment, block_comment(text));
    }
    if let Some(length) = literal(text) {
        return (Kind::Literal, length);
    }
    (Kind::Code, code(text))
}

/// Code up to where a literal or comment may begin; a whole identifier is never cut.
fn code(text: &str) -> usize {
    let first = text.chars().next().map_or(1, char::len_utf8);
    if !text.starts_with(is_word) {
        return first;
    }
    text.find(|c| !is_word(c)).unwrap_or(text.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn literal(text: &str) -> Option<usize> {
    for prefix in ["br", "cr", "r"] {
        if let Some(length) = text.strip_prefix(prefix).and_then(raw_string) {
            return Some(prefix.len() + length);
        }
    }
    for prefix in ["b\"", "c\"", "\""] {
        if let Some(body) = text.strip_prefix(prefix) {
            return Some(prefix.len() + quoted(body, '"'));
        }
    }
    character(text)
}

/// The length from the first `#` or quote of a raw string to its end.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.find(|c| c != '#')?;
    let body = text[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(hashes + 1 + length)
}

/// The length up to and with the closing quote.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if !escaped && c == quote {
            return at + c.len_utf8();
        }
        escaped = !escaped && c == '\\';
    }
    text.len()
}

/// A character or byte literal; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let prefix = if text.starts_with("b'") { 2 } else { 1 };
    let body = text.strip_prefix("b'").or_else(|| text.strip_prefix('\''))?;
    let mut chars = body.chars();
    let first = chars.next()?;
    if first == '\\' {
        return Some(prefix + quoted(body, '\''));
    }
    (chars.next() == Some('\'')).then(|| prefix + first.len_utf8() + 1)
}
