//! The check of shape and bounds, which also fills in defaults. It does not evaluate rules.

use mesh_model::{FieldPath, Position, Reason, Severity};
use serde_json::{Map, Value as Json};

use super::explain;
use super::format::Format;
use super::table::{Id, Kind, Registry, Schema};
use super::{MAX_VIOLATIONS, UnknownFields, Violation};
use mesh_yaml::{Entry, Node, Value};

/// A step of the path; texts are borrowed so that paths are written only when something is wrong.
enum Step<'n> {
    Field(&'n str),
    Index(usize),
}

pub(super) struct Walk<'n> {
    registry: &'n Registry,
    unknown: UnknownFields,
    path: Vec<Step<'n>>,
    found: Vec<Violation>,
}

impl<'n> Walk<'n> {
    pub(super) const fn new(registry: &'n Registry, unknown: UnknownFields) -> Self {
        Self { registry, unknown, path: Vec::new(), found: Vec::new() }
    }

    pub(super) fn into_violations(self) -> Vec<Violation> {
        self.found
    }

    /// Checks a whole document.
    pub(super) fn document(&mut self, schema: Id, root: &'n Node) -> Json {
        self.value(schema, root)
    }

    /// Checks a value and returns it with its defaults.
    fn value(&mut self, id: Id, node: &'n Node) -> Json {
        let schema = self.registry.schema(id);
        let value = match (schema.kind, &node.value) {
            (Some(Kind::Object) | None, Value::Map(entries)) => self.object(schema, node, entries),
            (Some(Kind::Array) | None, Value::Seq(items)) => match self.array(schema, node, items) {
                Some(items) => items,
                None => return Json::Null,
            },
            (Some(Kind::String | Kind::IntOrString) | None, Value::String(text)) => {
                self.text(schema, node, text);
                node.to_json()
            }
            (Some(Kind::Integer | Kind::IntOrString) | None, Value::Number(number)) if !number.is_f64() => {
                self.integer(schema, node, number);
                node.to_json()
            }
            (Some(Kind::Boolean) | None, Value::Bool(_)) => node.to_json(),
            (Some(kind), _) => {
                self.wrong_type(schema, kind, node);
                return Json::Null;
            }
            (None, _) => node.to_json(),
        };
        self.allowed(schema, node, &value);
        self.alternatives(schema, node, &value);
        value
    }

    fn object(&mut self, schema: &'n Schema, node: &'n Node, entries: &'n [Entry]) -> Json {
        let mut fields = Map::new();
        for entry in entries {
            self.path.push(Step::Field(&entry.key));
            if let Some(value) = self.field(schema, entry) {
                fields.insert(entry.key.clone(), value);
            }
            self.path.pop();
        }
        for (name, id) in &schema.properties {
            let is_status = self.path.is_empty() && name == "status";
            if let (false, false, Some(default)) =
                (fields.contains_key(name), is_status, &self.registry.schema(*id).default)
            {
                fields.insert(name.clone(), filled(self.registry, *id, default.clone()));
            }
        }
        for name in schema.required.iter().filter(|name| !fields.contains_key(*name)) {
            let path = self.here().field(name);
            let unread = entries.iter().any(|entry| &entry.key == name && entry.node.value != Value::Null);
            if !unread {
                self.push(
                    Reason::MissingField,
                    (path, node.position),
                    format!("the field {name} is missing"),
                    None,
                );
            }
        }
        let (least, most) = (schema.bounds.min_properties, schema.bounds.max_properties);
        self.count(node, entries.len(), (least, most), "entries");
        Json::Object(fields)
    }

    /// The value of one field; none where it counts as absent.
    fn field(&mut self, schema: &'n Schema, entry: &'n Entry) -> Option<Json> {
        let child = schema.properties.get(&entry.key).or(schema.values.as_ref());
        let Some(child) = child else {
            if schema.open {
                return Some(entry.node.to_json());
            }
            self.unknown_field(schema, entry);
            return None;
        };
        if let Some(format) = schema.key_format.filter(|format| !format.accepts(&entry.key)) {
            let message = format!("{:?} cannot be a key here", explain::shorten(&entry.key));
            self.report(entry.key_position, message, Some(format.describe().to_owned()));
        }
        let child_schema = self.registry.schema(*child);
        if entry.node.value == Value::Null && (schema.own || child_schema.default.is_some()) {
            return None;
        }
        Some(self.value(*child, &entry.node))
    }

    fn unknown_field(&mut self, schema: &Schema, entry: &Entry) {
        let nearest = explain::nearest(&entry.key, schema.properties.keys().map(String::as_str));
        let suggestion = match nearest {
            Some(name) => format!("did you mean {name}?"),
            None if schema.properties.is_empty() => "no fields are known here".to_owned(),
            None => {
                let names: Vec<&str> = schema.properties.keys().map(String::as_str).collect();
                format!("known fields are {}", names.join(", "))
            }
        };
        let message = format!("there is no field {:?} here", explain::shorten(&entry.key));
        let path = self.here();
        self.push(Reason::UnknownField, (path, entry.key_position), message, Some(suggestion));
        if let (UnknownFields::Prune, Some(last)) = (self.unknown, self.found.last_mut()) {
            last.severity = Severity::Warning;
        }
    }

    /// The items; none when there are too many to look at.
    fn array(&mut self, schema: &'n Schema, node: &'n Node, items: &'n [Node]) -> Option<Json> {
        let (least, most) = (schema.bounds.min_items, schema.bounds.max_items);
        self.count(node, items.len(), (least, most), "items");
        if most.is_some_and(|most| items.len() > most) {
            return None;
        }
        let Some(id) = schema.items else { return Some(node.to_json()) };
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            self.path.push(Step::Index(index));
            values.push(self.value(id, item));
            self.path.pop();
        }
        self.unique(schema, items, &values);
        Some(Json::Array(values))
    }

    fn unique(&mut self, schema: &'n Schema, items: &'n [Node], values: &[Json]) {
        if !schema.set && schema.keys.is_empty() {
            return;
        }
        let key = |value: &Json| match schema.set {
            true => value.to_string(),
            false => schema.keys.iter().map(|key| format!("{}\n", value[key])).collect(),
        };
        let mut seen = std::collections::HashMap::new();
        for (index, value) in values.iter().enumerate().filter(|(_, value)| !value.is_null()) {
            let Some(first) = seen.insert(key(value), index) else { continue };
            let what = if schema.set { explain::plain(value) } else { schema.keys.join(" and ") };
            let message = format!("{what} must be unique, and item {first} has the same");
            self.path.push(Step::Index(index));
            self.report(items[index].position, message, None);
            self.path.pop();
        }
    }

    fn text(&mut self, schema: &Schema, node: &Node, text: &str) {
        let length = text.chars().count();
        let bounds = &schema.bounds;
        self.count(node, length, (bounds.min_length, bounds.max_length), "characters");
        if bounds.max_length.is_some_and(|most| length > most) || length < bounds.min_length {
            return;
        }
        let shown =
            if schema.secret { "the value".to_owned() } else { format!("{:?}", explain::shorten(text)) };
        if let Some(pattern) = schema.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
            let right = explain::pattern(&pattern.text);
            self.report(node.position, format!("{shown} does not have the right form"), Some(right));
        }
        if let Some(format) = bounds.format.filter(|format| !format.accepts(text)) {
            let right = format.describe().to_owned();
            self.report(node.position, format!("{shown} does not have the right form"), Some(right));
        }
    }

    fn integer(&mut self, schema: &Schema, node: &Node, number: &serde_json::Number) {
        let (mut least, mut most) = match schema.bounds.format {
            Some(Format::Int32) => (i64::from(i32::MIN), i64::from(i32::MAX)),
            _ => (i64::MIN, i64::MAX),
        };
        least = schema.bounds.minimum.map_or(least, |minimum| minimum.max(least));
        most = schema.bounds.maximum.map_or(most, |maximum| maximum.min(most));
        let number_in_range = number.as_i64().is_some_and(|number| (least..=most).contains(&number));
        if !number_in_range {
            let right = match (least, most) {
                (_, i64::MAX) => format!("at least {least}"),
                _ => format!("from {least} to {most}"),
            };
            self.report(node.position, format!("{number} is out of bounds"), Some(right));
        }
    }

    fn allowed(&mut self, schema: &Schema, node: &Node, value: &Json) {
        let allowed = &schema.bounds.allowed;
        if allowed.is_empty() || allowed.contains(value) {
            return;
        }
        let known = allowed.iter().filter_map(Json::as_str);
        let nearest = value.as_str().and_then(|text| explain::nearest(text, known));
        let list = explain::one_of(allowed);
        let right = nearest.map_or_else(|| list.clone(), |name| format!("did you mean {name}? It is {list}"));
        self.report(node.position, format!("{} is not allowed here", explain::plain(value)), Some(right));
    }

    fn wrong_type(&mut self, schema: &Schema, expected: Kind, node: &Node) {
        let (word, suggestion) = match (expected, &node.value) {
            (Kind::String, Value::Bool(_) | Value::Number(_)) if schema.secret => {
                ("a text", Some("put quotes around it".to_owned()))
            }
            (Kind::String, Value::Bool(_)) => ("a text", Some("put quotes around it".to_owned())),
            (Kind::String, Value::Number(number)) => {
                ("a text", Some(format!("write \"{number}\" with quotes")))
            }
            (Kind::String, _) => ("a text", None),
            (Kind::Integer, Value::String(text)) if text.parse::<i64>().is_ok() => {
                ("a whole number", Some(format!("write {text} without quotes")))
            }
            (Kind::Integer, _) => ("a whole number", None),
            (Kind::Boolean, _) => ("a truth value", Some("true or false".to_owned())),
            (Kind::IntOrString, _) => ("a whole number or a text", None),
            (Kind::Array, _) => ("a list", Some("begin each item with `- `".to_owned())),
            (Kind::Object, _) => ("a mapping", None),
        };
        let message = format!("this must be {word}, and is {}", node.type_name());
        self.report(node.position, message, suggestion);
    }

    fn count(&mut self, node: &Node, count: usize, (least, most): (usize, Option<usize>), what: &str) {
        let right = match most {
            Some(most) if count > most => format!("at most {most}"),
            _ if count < least => format!("at least {least}"),
            _ => return,
        };
        self.report(node.position, format!("{count} {what} are here"), Some(right));
    }

    /// `oneOf` and its relatives. What is reported is why the first alternative does not fit, at the place
    /// where it does not.
    fn alternatives(&mut self, schema: &Schema, node: &Node, value: &Json) {
        let fits = |id: &Id| misfit(self.registry, *id, value);
        let failed = schema.all_of.iter().find_map(fits).or_else(|| {
            let any = schema.any_of.first().filter(|_| schema.any_of.iter().all(|id| fits(id).is_some()));
            any.and_then(fits)
        });
        let matching = schema.one_of.iter().filter(|id| fits(id).is_none()).count();
        let one = schema.one_of.first().filter(|_| matching == 0).and_then(fits);
        let Some(Misfit { field, message }) = failed.or(one) else { return };
        let path = field.as_ref().map_or_else(|| self.here(), |field| self.here().field(field));
        let at = field.and_then(|field| node.field(&field).map(|node| node.position));
        self.push(Reason::InvalidValue, (path, at.unwrap_or(node.position)), message, None);
    }

    fn here(&self) -> FieldPath {
        self.path.iter().fold(FieldPath::root(), |path, step| match step {
            Step::Field(name) => path.field(name),
            Step::Index(index) => path.index(*index),
        })
    }

    fn report(&mut self, position: Position, message: String, suggestion: Option<String>) {
        let path = self.here();
        self.push(Reason::InvalidValue, (path, position), message, suggestion);
    }

    fn push(
        &mut self,
        reason: Reason,
        (path, position): (FieldPath, Position),
        message: String,
        suggestion: Option<String>,
    ) {
        if self.found.len() <= MAX_VIOLATIONS * 4 {
            let severity = Severity::Error;
            self.found.push(Violation { severity, reason, path, position, message, suggestion });
        }
    }
}

/// Why a value does not fit a schema that only restricts it.
struct Misfit {
    field: Option<String>,
    message: String,
}

fn misfit(registry: &Registry, id: Id, value: &Json) -> Option<Misfit> {
    let schema = registry.schema(id);
    let here = |message: String| Some(Misfit { field: None, message });
    let shown = explain::plain(value);
    if !schema.bounds.allowed.is_empty() && !schema.bounds.allowed.contains(value) {
        return here(format!("{shown} is not {}", explain::one_of(&schema.bounds.allowed)));
    }
    if let (Some(format), Some(text)) = (schema.bounds.format, value.as_str())
        && !format.accepts(text)
    {
        return here(format!("{shown:?} is not {}", format.describe()));
    }
    if let Some(negated) = schema.negated
        && misfit(registry, negated, value).is_none()
    {
        return here(format!("{shown} is not allowed here"));
    }
    if !schema.any_of.is_empty() && schema.any_of.iter().all(|id| misfit(registry, *id, value).is_some()) {
        let words = schema.any_of.iter().filter_map(|id| registry.schema(*id).bounds.format);
        let words: Vec<&str> = words.map(Format::describe).collect();
        return here(format!("{shown:?} is neither {}", words.join(" nor ")));
    }
    schema.properties.iter().find_map(|(name, id)| {
        let inner = misfit(registry, *id, value.get(name)?)?;
        Some(Misfit { field: Some(name.clone()), message: inner.message })
    })
}

/// A default with the defaults of what is inside of it.
fn filled(registry: &Registry, id: Id, value: Json) -> Json {
    let schema = registry.schema(id);
    match value {
        Json::Array(items) => match schema.items {
            Some(item) => items.into_iter().map(|value| filled(registry, item, value)).collect(),
            None => Json::Array(items),
        },
        Json::Object(mut fields) => {
            for (name, child) in &schema.properties {
                let value = fields.remove(name).or_else(|| registry.schema(*child).default.clone());
                if let Some(value) = value {
                    fields.insert(name.clone(), filled(registry, *child, value));
                }
            }
            Json::Object(fields)
        }
        value => value,
    }
}
