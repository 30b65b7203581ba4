//! Our own schemas as one tree each, for whoever makes resource definitions of them. No checking.

use serde_json::Value as Json;

const OWN: &str = include_str!("own.json");

/// The schema of a kind of ours, with everything it names written out. Keywords are those of the file: `values`
/// is `additionalProperties`, `rules` are CEL, and formats are names of ours.
pub fn own_schema(api_version: &str, kind: &str) -> Option<Json> {
    let own: Json = serde_json::from_str(OWN).ok()?;
    let schema = own["kinds"].get(format!("{api_version} {kind}"))?;
    Some(written_out(schema, &own["defs"]))
}

fn written_out(schema: &Json, definitions: &Json) -> Json {
    let mut schema = match schema {
        Json::String(name) => definitions[name].clone(),
        schema => schema.clone(),
    };
    for keyword in ["items", "values"] {
        if let Some(nested) = schema.get(keyword) {
            schema[keyword] = written_out(nested, definitions);
        }
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) {
        for nested in properties.values_mut() {
            *nested = written_out(nested, definitions);
        }
    }
    schema
}
