//! The generator of `mesh-objects/src/generated/schemas.json`: structure, bounds, defaults and rules of the
//! Gateway API's resource definitions, without their texts. No validation and no fetching of the module.
//!
//! Equal schema nodes are written once and named by their number, so that what is shared between kinds and
//! versions is compiled once by the reader. The experimental channel is the superset that is written; what the
//! standard channel lacks is listed under `experimental`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};
use serde_json::{Map, Value, json};

const OUTPUT: &str = "mesh-objects/src/generated/schemas.json";
const GROUP: &str = "gateway.networking.k8s.io";
/// Kinds that are experiments as a whole, as far as they are read.
const EXPERIMENTAL_GROUP: &str = "gateway.networking.x-k8s.io";
const EXPERIMENTAL_KINDS: [&str; 3] = ["XBackend", "XBackendTrafficPolicy", "XTelemetryPolicy"];

/// Keywords that are kept, with the name they get.
const KEPT: &[(&str, &str)] = &[
    ("default", "default"),
    ("enum", "enum"),
    ("format", "format"),
    ("maxItems", "maxItems"),
    ("maxLength", "maxLength"),
    ("maxProperties", "maxProperties"),
    ("maximum", "maximum"),
    ("minItems", "minItems"),
    ("minLength", "minLength"),
    ("minProperties", "minProperties"),
    ("minimum", "minimum"),
    ("nullable", "nullable"),
    ("pattern", "pattern"),
    ("required", "required"),
    ("type", "type"),
    ("x-kubernetes-list-map-keys", "keys"),
    ("x-kubernetes-list-type", "list"),
    ("x-kubernetes-validations", "rules"),
];
/// Keywords without a meaning for validation.
const DROPPED: &[&str] = &["description", "x-kubernetes-map-type"];

/// Writes the schemas of an unpacked module `sigs.k8s.io/gateway-api`.
///
/// # Errors
/// When the arguments, the module or its definitions are not as expected.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let [flag, module] = arguments else { bail!("usage: cargo xtask schemas --module DIR") };
    if flag != "--module" {
        bail!("usage: cargo xtask schemas --module DIR");
    }
    let text = generate(Path::new(module))?;
    let path = root.join(OUTPUT);
    std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    crate::say(&format!("written: {OUTPUT}"));
    Ok(())
}

fn generate(module: &Path) -> anyhow::Result<String> {
    let experimental = versions(&module.join("config/crd/experimental"))?;
    let standard = versions(&module.join("config/crd/standard"))?;
    let mut table = Table::default();
    let mut kinds = Map::new();
    for (name, schema) in &experimental {
        let number = table.add(schema, standard.get(name).unwrap_or(&Value::Null))?;
        kinds.insert(name.clone(), number);
    }
    let mut text = format!("{{\"kinds\":{},\n\"nodes\":[", Value::Object(kinds));
    for (number, node) in table.nodes.iter().enumerate() {
        write!(text, "{}\n{node}", if number == 0 { "" } else { "," })?;
    }
    text.push_str("\n]}\n");
    Ok(text)
}

/// The schemas of a folder of definitions by `<group>/<version> <kind>`.
fn versions(folder: &Path) -> anyhow::Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for path in files(folder)? {
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for definition in documents(&text).with_context(|| path.display().to_string())? {
            if definition["kind"] != "CustomResourceDefinition" {
                continue;
            }
            let group = definition["spec"]["group"].as_str().context("a definition without group")?;
            let kind = definition["spec"]["names"]["kind"].as_str().context("a definition without kind")?;
            if group != GROUP && !(group == EXPERIMENTAL_GROUP && EXPERIMENTAL_KINDS.contains(&kind)) {
                continue;
            }
            let versions =
                definition["spec"]["versions"].as_array().context("a definition without versions")?;
            for version in versions.iter().filter(|version| version["served"] == true) {
                let name = version["name"].as_str().context("a version without name")?;
                let schema = version["schema"]["openAPIV3Schema"].clone();
                found.insert(format!("{group}/{name} {kind}"), schema);
            }
        }
    }
    if found.is_empty() {
        bail!("{} holds no resource definitions of {GROUP}", folder.display());
    }
    Ok(found)
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    Ok(paths)
}

/// Schema nodes, each distinct one once.
#[derive(Default)]
struct Table {
    nodes: Vec<Value>,
    numbers: HashMap<String, usize>,
}

impl Table {
    /// Adds a schema with all that is below it, and returns its number.
    fn add(&mut self, schema: &Value, standard: &Value) -> anyhow::Result<Value> {
        let schema = schema.as_object().context("a schema that is not an object")?;
        let mut node = Map::new();
        for (keyword, value) in schema {
            if let Some((_, name)) = KEPT.iter().find(|(kept, _)| kept == keyword) {
                node.insert((*name).to_owned(), value.clone());
            } else if let Some((name, nested)) = self.nested(keyword, value, &standard[keyword])? {
                node.insert(name.to_owned(), nested);
            } else if !DROPPED.contains(&keyword.as_str()) {
                bail!("the keyword {keyword} is not known to this generator");
            }
        }
        if let Some(Value::Object(properties)) = schema.get("properties")
            && let Some(Value::Object(known)) = standard.get("properties")
        {
            let added: Vec<_> = properties.keys().filter(|name| !known.contains_key(*name)).collect();
            if !added.is_empty() {
                node.insert("experimental".to_owned(), json!(added));
            }
        }
        Ok(self.number(Value::Object(node)))
    }

    /// The numbers of the schemas that a keyword holds, under the name it gets.
    fn nested<'k>(
        &mut self,
        keyword: &'k str,
        value: &Value,
        standard: &Value,
    ) -> anyhow::Result<Option<(&'k str, Value)>> {
        let nested = match keyword {
            "additionalProperties" => return Ok(Some(("values", self.add(value, standard)?))),
            "items" | "not" => self.add(value, standard)?,
            "allOf" | "anyOf" | "oneOf" => {
                let schemas =
                    value.as_array().context("alternatives that are not a list")?.iter().enumerate();
                let numbers = schemas.map(|(at, schema)| self.add(schema, &standard[at]));
                Value::Array(numbers.collect::<Result<_, _>>()?)
            }
            "properties" => {
                let schemas = value.as_object().context("properties that are not an object")?;
                let numbers = schemas
                    .iter()
                    .map(|(name, schema)| Ok((name.clone(), self.add(schema, &standard[name])?)));
                Value::Object(numbers.collect::<anyhow::Result<_>>()?)
            }
            _ => return Ok(None),
        };
        Ok(Some((keyword, nested)))
    }

    fn number(&mut self, node: Value) -> Value {
        let text = node.to_string();
        let next = self.nodes.len();
        let number = *self.numbers.entry(text).or_insert(next);
        if number == next {
            self.nodes.push(node);
        }
        json!(number)
    }
}

/// Every document of a YAML text. Enough for definitions: no anchors, no tags.
fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut parser = Parser::new_from_str(text);
    let mut found = Vec::new();
    loop {
        match next(&mut parser)? {
            Event::StreamEnd => return Ok(found),
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event => found.push(value(&mut parser, event)?),
        }
    }
}

fn next<'t>(parser: &mut Parser<'t, StrInput<'t>>) -> anyhow::Result<Event<'t>> {
    let (event, _) = parser.next_event().context("the text ends early")??;
    Ok(event)
}

fn value<'t>(parser: &mut Parser<'t, StrInput<'t>>, event: Event<'t>) -> anyhow::Result<Value> {
    match event {
        Event::Scalar(text, style, 0, None) => Ok(scalar(&text, style)),
        Event::SequenceStart(0, None) => {
            let mut items = Vec::new();
            loop {
                match next(parser)? {
                    Event::SequenceEnd => return Ok(Value::Array(items)),
                    event => items.push(value(parser, event)?),
                }
            }
        }
        Event::MappingStart(0, None) => {
            let mut map = Map::new();
            loop {
                let key = match next(parser)? {
                    Event::MappingEnd => return Ok(Value::Object(map)),
                    Event::Scalar(text, ..) => text.into_owned(),
                    _ => bail!("a key that is not a text"),
                };
                let event = next(parser)?;
                map.insert(key, value(parser, event)?);
            }
        }
        _ => bail!("an anchor, alias or tag"),
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return text.into();
    }
    match text {
        "true" => true.into(),
        "false" => false.into(),
        "null" | "~" | "" => Value::Null,
        _ => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
    }
}
