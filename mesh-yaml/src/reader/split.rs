//! Where one document of a stream ends and the next begins (YAML 1.2.2, section 9.1). No parsing.

use mesh_model::Position;

use super::Chunk;

/// Splits at `---` and after `...`. Both are markers wherever a line begins with them (`c-forbidden`), in
/// block and quoted scalars too, so that no knowledge of the text around them is needed.
pub(super) fn split(text: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let mut start = (0, 0_u32);
    let mut directives_only = true;
    for (number, (offset, line)) in (0_u32..).zip(lines(text)) {
        if is_marker(line, "---") && !directives_only {
            push(&mut chunks, text, start, offset);
            start = (offset, number);
        }
        directives_only = (directives_only && is_outside(line)) && !is_marker(line, "---");
        if is_marker(line, "...") {
            let end = offset + line.len();
            push(&mut chunks, text, start, end);
            start = (end, number + 1);
            directives_only = true;
        }
    }
    push(&mut chunks, text, start, text.len());
    chunks
}

fn push<'t>(chunks: &mut Vec<Chunk<'t>>, text: &'t str, (start, line_offset): (usize, u32), end: usize) {
    let text = &text[start..end];
    if !text.trim().is_empty() {
        chunks.push(Chunk { line_offset, text });
    }
}

/// Whether a line may stand before the marker of its own document: directives, comments, blanks.
fn is_outside(line: &str) -> bool {
    let trimmed = line.trim();
    trimmed.is_empty() || trimmed.starts_with('#') || line.starts_with('%')
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Lines with their offsets and their ends; `\n`, `\r\n` and `\r` end a line.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let rest = text.get(offset..).filter(|rest| !rest.is_empty())?;
        let length = match rest.find(['\n', '\r']) {
            Some(at) if rest[at..].starts_with("\r\n") => at + 2,
            Some(at) => at + 1,
            None => rest.len(),
        };
        offset += length;
        Some((offset - length, &rest[..length]))
    })
}

/// The place just after a text.
pub(super) fn end_of(text: &str) -> Position {
    let (mut line, mut column) = (1, 1);
    for (_, content) in lines(text) {
        if content.ends_with(['\n', '\r']) {
            (line, column) = (line + 1, 1);
        } else {
            column = u32::try_from(content.chars().count()).map_or(u32::MAX, |count| count + 1);
        }
    }
    Position { line, column }
}
