//! Parser events to a tree, within limits. It resolves aliases and merge keys and refuses duplicate keys.

use std::collections::HashMap;

use mesh_model::Position;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};

use super::{
    Entry, MAX_COPIED_NODES, MAX_DEPTH, MAX_NODES, Node, Problem, SyntaxError, Value, scalar, split,
};

/// The tree of the one document in a text; none when it is empty.
///
/// # Errors
/// When the text is not YAML or breaks a limit.
pub(super) fn document(text: &str) -> Result<Option<Node>, SyntaxError> {
    check_characters(text)?;
    tree(text).map_err(|error| clarify(text, error))
}

fn tree(text: &str) -> Result<Option<Node>, SyntaxError> {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    let root = loop {
        let (event, position) = next(&mut parser)?;
        match event {
            Event::StreamEnd => return Ok(None),
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event => break builder.node(&mut parser, event, position, 0)?,
        }
    };
    let empty = root.value == Value::Null;
    loop {
        match next(&mut parser)? {
            (Event::StreamEnd, _) => return Ok((!empty).then_some(root)),
            (Event::Nothing | Event::DocumentEnd, _) => {}
            (_, position) => return Err(fail(position, Problem::Syntax("a second document begins".into()))),
        }
    }
}

/// Moves a complaint about a tab to the line that has it: the parser names the scalar before.
fn clarify(text: &str, error: SyntaxError) -> SyntaxError {
    let Problem::Syntax(complaint) = &error.problem else { return error };
    if complaint == "recursion limit exceeded" {
        return fail(error.position, Problem::TooDeep);
    }
    let before = text.lines().take(error.position.line as usize - 1).count();
    let tabbed = text.lines().skip(before).position(|line| line.trim_start_matches(' ').starts_with('\t'));
    match (complaint.contains("tab"), tabbed) {
        (true, Some(lines)) => {
            let line = error.position.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
            let problem = Problem::Syntax("a tab cannot indent; use spaces".to_owned());
            fail(Position { line, column: 1 }, problem)
        }
        _ => error,
    }
}

/// Refuses what YAML does not allow in a stream. A zero byte in particular ends the text for the parser,
/// which would drop the rest of it silently.
fn check_characters(text: &str) -> Result<(), SyntaxError> {
    let refused = |c: char| match c {
        '\t' | '\n' | '\r' | '\u{85}' => false,
        _ => c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{feff}'),
    };
    match text.char_indices().find(|(_, c)| refused(*c)) {
        Some((at, c)) => Err(fail(split::end_of(&text[..at]), Problem::Character(c))),
        None => Ok(()),
    }
}

fn next<'t>(parser: &mut Parser<'t, StrInput<'t>>) -> Result<(Event<'t>, Position), SyntaxError> {
    match parser.next_event() {
        Some(Ok((event, span))) => Ok((event, place(&span.start))),
        Some(Err(error)) => Err(fail(place(error.marker()), Problem::Syntax(error.info().to_owned()))),
        None => Ok((Event::StreamEnd, Position { line: 1, column: 1 })),
    }
}

fn place(marker: &Marker) -> Position {
    let clamp = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: clamp(marker.line()).max(1), column: clamp(marker.col()).saturating_add(1) }
}

const fn fail(position: Position, problem: Problem) -> SyntaxError {
    SyntaxError { position, problem }
}

#[derive(Default)]
struct Builder {
    /// Complete nodes by the number of their anchor.
    anchors: HashMap<usize, Node>,
    nodes: usize,
    copied: usize,
}

impl Builder {
    fn node<'t>(
        &mut self,
        parser: &mut Parser<'t, StrInput<'t>>,
        event: Event<'t>,
        position: Position,
        depth: usize,
    ) -> Result<Node, SyntaxError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(fail(position, Problem::TooManyNodes));
        }
        let (value, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, position),
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar_value(&text, style, tag.as_deref());
                (value.map_err(|problem| fail(position, problem))?, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), "seq").map_err(|problem| fail(position, problem))?;
                (self.sequence(parser, position, depth + 1)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), "map").map_err(|problem| fail(position, problem))?;
                (self.mapping(parser, position, depth + 1)?, anchor)
            }
            _ => return Err(fail(position, Problem::Syntax("the document ends too early".into()))),
        };
        let node = Node { position, value };
        if anchor > 0 {
            self.count_copies(&node, position)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, position: Position) -> Result<Node, SyntaxError> {
        let named = self.anchors.get(&anchor).ok_or_else(|| fail(position, Problem::EndlessAlias))?.clone();
        self.count_copies(&named, position)?;
        Ok(named)
    }

    fn count_copies(&mut self, node: &Node, position: Position) -> Result<(), SyntaxError> {
        self.copied += node.count();
        match self.copied > MAX_COPIED_NODES {
            true => Err(fail(position, Problem::TooManyCopies)),
            false => Ok(()),
        }
    }

    fn sequence<'t>(
        &mut self,
        parser: &mut Parser<'t, StrInput<'t>>,
        position: Position,
        depth: usize,
    ) -> Result<Value, SyntaxError> {
        check_depth(depth, position)?;
        let mut items = Vec::new();
        loop {
            let (event, position) = next(parser)?;
            if event == Event::SequenceEnd {
                return Ok(Value::Seq(items));
            }
            items.push(self.node(parser, event, position, depth)?);
        }
    }

    fn mapping<'t>(
        &mut self,
        parser: &mut Parser<'t, StrInput<'t>>,
        position: Position,
        depth: usize,
    ) -> Result<Value, SyntaxError> {
        check_depth(depth, position)?;
        let mut entries = Vec::new();
        let mut merged = Vec::new();
        let mut seen = HashMap::new();
        loop {
            let (event, key_position) = next(parser)?;
            if event == Event::MappingEnd {
                return Ok(Value::Map(merge(entries, merged)));
            }
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = key_text(self.node(parser, event, key_position, depth)?)?;
            let (event, position) = next(parser)?;
            let node = self.node(parser, event, position, depth)?;
            if let Some(first) = seen.insert(key.clone(), key_position) {
                return Err(fail(key_position, Problem::DuplicateKey { key, first }));
            }
            match is_merge {
                true => merged.extend(mergeable(node)?),
                false => entries.push(Entry { key, key_position, node }),
            }
        }
    }
}

fn check_depth(depth: usize, position: Position) -> Result<(), SyntaxError> {
    match depth > MAX_DEPTH {
        true => Err(fail(position, Problem::TooDeep)),
        false => Ok(()),
    }
}

fn key_text(node: Node) -> Result<String, SyntaxError> {
    let (position, type_name) = (node.position, node.type_name());
    match node.value {
        Value::String(text) => Ok(text),
        _ => Err(fail(position, Problem::KeyType(type_name))),
    }
}

/// The entries that a merge key brings, first come first.
fn mergeable(node: Node) -> Result<Vec<Entry>, SyntaxError> {
    let position = node.position;
    match node.value {
        Value::Map(entries) => Ok(entries),
        Value::Seq(items) if items.iter().all(|item| matches!(item.value, Value::Map(_))) => {
            items.into_iter().try_fold(Vec::new(), |mut all, item| {
                all.extend(mergeable(item)?);
                Ok(all)
            })
        }
        _ => Err(fail(position, Problem::Merge)),
    }
}

/// Adds merged entries where the mapping has no own entry of that key.
fn merge(mut entries: Vec<Entry>, merged: Vec<Entry>) -> Vec<Entry> {
    for entry in merged {
        if !entries.iter().any(|own| own.key == entry.key) {
            entries.push(entry);
        }
    }
    entries
}

fn scalar_value(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, Problem> {
    let Some(tag) = tag else {
        return match style {
            ScalarStyle::Plain => scalar::resolve(text),
            _ => Ok(Value::String(text.to_owned())),
        };
    };
    let wrong = || Problem::Tag(tag.to_string());
    if is_text_tag(tag) {
        return Ok(Value::String(text.to_owned()));
    }
    if !tag.is_yaml_core_schema() {
        return Err(wrong());
    }
    let value = scalar::resolve(text)?;
    match (tag.suffix.as_str(), &value) {
        ("bool", Value::Bool(_)) | ("null", Value::Null) | ("float", Value::Number(_)) => Ok(value),
        ("int", Value::Number(number)) if !number.is_f64() => Ok(value),
        _ => Err(wrong()),
    }
}

/// `!!str`, and `!` which marks a scalar as text.
fn is_text_tag(tag: &Tag) -> bool {
    (tag.is_yaml_core_schema() && tag.suffix == "str") || (tag.suffix == "!" || tag.suffix.is_empty())
}

fn check_tag(tag: Option<&Tag>, expected: &str) -> Result<(), Problem> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == expected) => {
            Err(Problem::Tag(tag.to_string()))
        }
        _ => Ok(()),
    }
}
