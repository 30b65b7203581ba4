//! Values made from a schema: the smallest valid one, the fullest one, and one that reaches a given place.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use regex::Regex;
use serde_json::{Map, Value as Json, json};

use crate::definitions::own_definition;

/// Texts that are tried in this order until one has the right form.
const SAMPLES: [&str; 10] = [
    "HTTP",
    "a",
    "a.b/c",
    "http://a",
    "10s",
    "2026-01-01T00:00:00Z",
    "10.0.0.1",
    "10.0.0.0/8",
    "YQ==",
    "100m",
];

/// One step from a schema to one below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Field(String),
    Item,
}

/// The smallest value that is valid, rules included.
pub(crate) fn minimal(schema: &Json) -> Json {
    if let Some(default) = schema.get("default") {
        return default.clone();
    }
    if let Some(allowed) = schema["enum"].as_array() {
        return allowed[0].clone();
    }
    match schema["type"].as_str() {
        Some("object") => object(schema),
        Some("array") => {
            let least = schema["minItems"].as_u64().unwrap_or(0);
            (0..least).map(|_| minimal(&schema["items"])).collect()
        }
        Some("boolean") => json!(true),
        Some("integer") => integer(schema),
        _ => sample(schema),
    }
}

fn object(schema: &Json) -> Json {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let mut value: Map<String, Json> =
        required.map(|name| (name.to_owned(), minimal(&schema["properties"][name]))).collect();
    let has = |name: &str| schema["properties"].get(name).is_some();
    let mut add = |name: &str, added: Json| {
        value.entry(name.to_owned()).or_insert(added);
    };
    if has("port") && schema["properties"]["kind"]["default"] == "Service" {
        add("port", json!(80));
    }
    if has("wellKnownCACertificates") {
        add("wellKnownCACertificates", json!("System"));
    }
    if has("tracing") {
        add("tracing", json!({}));
    }
    if has("number") && schema["minProperties"] == 1 {
        add("number", json!(80));
    }
    if let (Some(values), Some(1)) = (schema.get("additionalProperties"), schema["minProperties"].as_u64()) {
        add("a", minimal(values));
    }
    if has("certificateRefs") {
        add("certificateRefs", json!([{"name": "a"}]));
    }
    if has("service") && has("method") {
        add("service", json!("a"));
    }
    if has("sourceType") {
        value.insert("sourceType".to_owned(), json!("Literal"));
        value.insert("literalValue".to_owned(), json!("a"));
    }
    if has("routability") {
        value.insert("value".to_owned(), json!("10.0.0.1"));
    }
    complete_union(schema, value)
}

/// Adds the field that a discriminator such as `type` asks for.
fn complete_union(schema: &Json, mut value: Map<String, Json>) -> Json {
    for name in ["protocol", "type"] {
        let chosen = value.get(name).or_else(|| schema["properties"][name].get("default"));
        let Some(chosen) = chosen.and_then(Json::as_str).map(str::to_owned) else { continue };
        if let Some((field, nested)) = field_of(schema, &chosen) {
            value.entry(field).or_insert_with(|| minimal(&nested));
        }
    }
    Json::Object(value)
}

/// The field that a value of a discriminator stands for: the same word in another case.
pub(crate) fn field_of(schema: &Json, chosen: &str) -> Option<(String, Json)> {
    let properties = schema["properties"].as_object()?;
    let mut fields = properties.iter();
    fields
        .find(|(name, _)| name.eq_ignore_ascii_case(chosen))
        .map(|(name, nested)| (name.clone(), nested.clone()))
}

fn integer(schema: &Json) -> Json {
    let least = schema["minimum"].as_i64().unwrap_or(1);
    let most = schema["maximum"].as_i64().unwrap_or(i64::MAX);
    json!(1.clamp(least, most))
}

fn sample(schema: &Json) -> Json {
    let fits = |text: &&&str| {
        let pattern = schema["pattern"].as_str().map(compiled);
        let format = match schema["format"].as_str() {
            Some("date-time") => text.contains('T') && text.contains(':'),
            Some("byte") => **text == "YQ==",
            Some("cidr") => text.contains("/8"),
            Some("ip" | "ip-or-cidr" | "cluster-ip") => **text == "10.0.0.1",
            Some("dns-label" | "dns-subdomain" | "label-value" | "label-key" | "port-name") => **text == "a",
            _ => true,
        };
        format && pattern.is_none_or(|pattern| pattern.is_match(text))
    };
    let found = SAMPLES.iter().find(fits);
    json!(found.unwrap_or_else(|| panic!("no sample fits {schema}")))
}

/// A pattern, compiled once: the same few stand at thousands of places.
fn compiled(pattern: &str) -> Arc<Regex> {
    static COMPILED: Mutex<BTreeMap<String, Arc<Regex>>> = Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().expect("no test panics while it compiles");
    let new = || Arc::new(Regex::new(pattern).expect("a pattern"));
    Arc::clone(compiled.entry(pattern.to_owned()).or_insert_with(new))
}

/// A value with every field, and of every list of allowed values the one at this index.
pub(crate) fn full(schema: &Json, index: usize) -> Json {
    if let Some(allowed) = schema["enum"].as_array() {
        return allowed[index % allowed.len()].clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            // The operators of label selectors are checked by our own list: the definitions have none.
            static OPERATORS: LazyLock<Json> = LazyLock::new(|| own_definition("LabelOperator"));
            let filled = fields.map(|(name, nested)| {
                let nested = if name == "operator" { &*OPERATORS } else { nested };
                (name.clone(), full(nested, index))
            });
            let mut value: Map<_, _> = filled.collect();
            if let Some(nested) = schema.get("additionalProperties") {
                value.insert("a".to_owned(), full(nested, index));
            }
            Json::Object(value)
        }
        Some("array") => json!([full(&schema["items"], index)]),
        Some("boolean") => json!(index.is_multiple_of(2)),
        Some("integer" | "intOrString") => integer(schema),
        _ => sample(schema),
    }
}

/// A value that is valid but for the leaf at the end of the steps.
pub(crate) fn reach(schema: &Json, steps: &[Step], leaf: Json) -> Json {
    match steps {
        [] => leaf,
        [Step::Item, rest @ ..] => json!([reach(&schema["items"], rest, leaf)]),
        [Step::Field(name), rest @ ..] => {
            let child = reach(&schema["properties"][name], rest, leaf);
            let mut value = minimal(schema).as_object().cloned().unwrap_or_default();
            for discriminator in ["protocol", "type"] {
                choose(schema, &mut value, discriminator, name);
            }
            let has = |name: &str| schema["properties"].get(name).is_some();
            if has("mode") && (has("provider") || name == "samplingRate") {
                value.insert("mode".to_owned(), json!("Enabled"));
            }
            if has("provider") {
                let provider = || minimal(&schema["properties"]["provider"]);
                value.entry("provider".to_owned()).or_insert_with(provider);
            }
            if has("mode") && has("clientCertificateRef") {
                let validation = || minimal(&schema["properties"]["validation"]);
                let both = name == "clientCertificateRef";
                value.insert("mode".to_owned(), json!(if both { "ClientAndServer" } else { "ServerOnly" }));
                value.entry("validation".to_owned()).or_insert_with(validation);
            }
            if name == "sessionPersistence" && has("endpointSelector") {
                choose(schema, &mut value, "type", "endpointSelector");
                value.insert(
                    "endpointSelector".to_owned(),
                    minimal(&schema["properties"]["endpointSelector"]),
                );
            }
            if name == "tls" && value.contains_key("protocol") {
                value.insert("protocol".to_owned(), json!("HTTPS"));
            }
            value.insert(name.clone(), child);
            Json::Object(value)
        }
    }
}

/// Sets a discriminator to the value that stands for a field, and removes what the old one stood for.
fn choose(schema: &Json, value: &mut Map<String, Json>, discriminator: &str, field: &str) {
    let allowed = schema["properties"][discriminator]["enum"].as_array().into_iter().flatten();
    let mut words = allowed.filter_map(Json::as_str);
    let Some(word) = words.find(|word| word.eq_ignore_ascii_case(field)) else { return };
    let old = value.insert(discriminator.to_owned(), json!(word));
    let old = old.as_ref().and_then(Json::as_str).or(schema["properties"][discriminator]["default"].as_str());
    if let Some((unused, _)) = old.and_then(|old| field_of(schema, old))
        && unused != field
    {
        value.remove(&unused);
    }
}
