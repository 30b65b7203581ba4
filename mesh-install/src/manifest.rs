//! Objects as YAML for people to read: block style, identifying fields first, remarks above what they are about.
//! Only printing; texts are read elsewhere.

use std::fmt::Write as _;

use serde_json::Value as Json;

/// The field whose text is printed as a remark above its object. An API server never sees it.
pub const NOTE: &str = "#";

/// Fields that come first, in this order; the others follow alphabetically.
const FIRST: [&str; 5] = ["apiVersion", "kind", "metadata", "name", "namespace"];

/// Documents as one text.
pub fn print(objects: &[Json]) -> String {
    let documents: Vec<String> = objects.iter().map(document).collect();
    documents.join("---\n")
}

/// One document, or any other tree.
pub fn document(value: &Json) -> String {
    let mut text = String::new();
    if let Some(note) = value.get(NOTE).and_then(Json::as_str) {
        remark(&mut text, note, 0);
    }
    block(&mut text, value, 0);
    text
}

/// The value without its remarks.
pub fn without_notes(value: &Json) -> Json {
    match value {
        Json::Array(items) => Json::Array(items.iter().map(without_notes).collect()),
        Json::Object(fields) => {
            let fields = fields.iter().filter(|(name, _)| *name != NOTE);
            Json::Object(fields.map(|(name, value)| (name.clone(), without_notes(value))).collect())
        }
        scalar => scalar.clone(),
    }
}

fn remark(text: &mut String, note: &str, indent: usize) {
    for line in note.lines() {
        let _ = writeln!(text, "{:indent$}# {line}", "");
    }
}

/// A value on lines of its own. An item of a list begins after its dash, on the dash's line.
fn block(text: &mut String, value: &Json, indent: usize) {
    match value {
        Json::Object(fields) if fields.keys().any(|name| name != NOTE) => {
            for (nth, (name, value)) in ordered(value).into_iter().enumerate() {
                let pad = if nth == 0 && text.ends_with("- ") { 0 } else { indent };
                let _ = write!(text, "{:pad$}{}:", "", scalar(name));
                nested(text, value, indent);
            }
        }
        Json::Array(items) if !items.is_empty() => {
            for item in items {
                if let Some(note) = item.get(NOTE).and_then(Json::as_str) {
                    remark(text, note, indent);
                }
                let pad = if text.ends_with("- ") { 0 } else { indent };
                let _ = write!(text, "{:pad$}- ", "");
                block(text, item, indent + 2);
            }
        }
        _ => {
            let _ = writeln!(text, "{}", inline(value));
        }
    }
}

/// The value of a field: on the field's line, or below it.
fn nested(text: &mut String, value: &Json, indent: usize) {
    match value {
        Json::Object(fields) if !fields.is_empty() => {
            text.push('\n');
            block(text, value, indent + 2);
        }
        Json::Array(items) if !items.is_empty() => {
            text.push('\n');
            block(text, value, indent);
        }
        _ => {
            let _ = writeln!(text, " {}", inline(value));
        }
    }
}

fn ordered(value: &Json) -> Vec<(&str, &Json)> {
    let fields = value.as_object().into_iter().flatten().filter(|(name, _)| *name != NOTE);
    let mut fields: Vec<(&str, &Json)> = fields.map(|(name, value)| (name.as_str(), value)).collect();
    let rank = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    fields.sort_by_key(|(name, _)| (rank(name), *name));
    fields
}

fn inline(value: &Json) -> String {
    match value {
        Json::Array(_) => "[]".to_owned(),
        Json::Object(_) => "{}".to_owned(),
        Json::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// A text, in quotes unless every reader takes it for this very text without them.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./()$=".contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '$');
    let inside = text.chars().all(|c| plain(c) || c == ':') && !text.ends_with(':');
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if starts && inside && !word.contains(&text.to_lowercase().as_str()) {
        return text.to_owned();
    }
    Json::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Json {
        mesh_yaml::read(text.as_bytes()).remove(0).root.unwrap().to_json()
    }

    #[test]
    fn what_is_printed_reads_back_as_it_was() {
        let value = json!({
            "metadata": {"name": "a", "labels": {}},
            "kind": "Thing",
            "empty": [],
            "nested": [[1, 2], [{"a": [{"b": null}]}], "x"],
            "texts": ["", "true", "No", "1", "1.5", "a: b", "a#b", "- a", "null", "0x1f", "1e3", "ä\n\"ö\"",
                "cluster.local", "a:b", "$(NAME)", "--flag=$(NAME)", "*", "~", "512Mi", "50m", "2026-11-26"],
            "numbers": [0, -1, 15012, 1.5, true, false],
            "15012": "a key that looks like a number",
        });
        assert_eq!(read(&document(&value)), value);
    }

    #[test]
    fn remarks_stand_above_their_object_and_are_no_part_of_it() {
        let value = json!({"kind": "Role", "rules": [{NOTE: "why", "verbs": ["get"], "name": "x"}]});
        let text = "kind: Role\nrules:\n# why\n- name: x\n  verbs:\n  - get\n";
        assert_eq!(document(&value), text);
        assert_eq!(
            without_notes(&value),
            json!({"kind": "Role", "rules": [{"verbs": ["get"], "name": "x"}]})
        );
        assert_eq!(read(text), without_notes(&value));
    }
}
