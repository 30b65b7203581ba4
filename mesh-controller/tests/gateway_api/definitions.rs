//! The resource definitions of the module, read with our own reader.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use mesh_controller::yaml;
use serde_json::Value as Json;

use crate::module;

/// One served version of a kind.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) schema: Json,
}

/// The served versions of one channel by `<apiVersion> <kind>`.
pub(crate) fn versions(channel: &'static str) -> &'static BTreeMap<String, Version> {
    static STANDARD: LazyLock<BTreeMap<String, Version>> = LazyLock::new(|| read("standard"));
    static EXPERIMENTAL: LazyLock<BTreeMap<String, Version>> = LazyLock::new(|| read("experimental"));
    if channel == "standard" { &STANDARD } else { &EXPERIMENTAL }
}

/// The kinds of the group of experiments that are read.
const EXPERIMENTAL: [&str; 3] = ["XBackend", "XBackendTrafficPolicy", "XTelemetryPolicy"];

fn read(channel: &str) -> BTreeMap<String, Version> {
    let mut found = BTreeMap::new();
    for (name, text) in module::manifests(&format!("config/crd/{channel}")) {
        for document in yaml::read(&text) {
            let definition = document.root.unwrap_or_else(|error| panic!("{name}: {error}")).to_json();
            if definition["kind"] != "CustomResourceDefinition" {
                continue;
            }
            let group = definition["spec"]["group"].as_str().unwrap_or_default();
            let kind = definition["spec"]["names"]["kind"].as_str().expect("a kind").to_owned();
            let is_read = group == "gateway.networking.k8s.io" || EXPERIMENTAL.contains(&kind.as_str());
            if !is_read {
                continue;
            }
            let versions = definition["spec"]["versions"].as_array().expect("versions");
            for version in versions.iter().filter(|version| version["served"] == true) {
                let api_version = format!("{group}/{}", version["name"].as_str().expect("a version"));
                let schema = version["schema"]["openAPIV3Schema"].clone();
                let key = format!("{api_version} {kind}");
                found.insert(key, Version { api_version, kind: kind.clone(), schema });
            }
        }
    }
    assert!(!found.is_empty(), "the module has no definitions in channel {channel}");
    found
}

/// A schema with the metadata that the API server checks by itself.
pub(crate) fn with_metadata(schema: &Json) -> Json {
    let mut schema = schema.clone();
    schema["properties"]["metadata"] = own_definition("ObjectMeta");
    schema["required"] = serde_json::json!(["apiVersion", "kind", "metadata", "spec"]);
    schema
}

/// One of our own definitions, with everything it names written out.
pub(crate) fn own_definition(name: &str) -> Json {
    let own: Json = serde_json::from_str(OWN).expect("our own schemas are JSON");
    resolved(&own["defs"][name], &own["defs"])
}

/// Our own kinds by `<apiVersion> <kind>`, written out.
pub(crate) fn own_kinds() -> BTreeMap<String, Json> {
    let own: Json = serde_json::from_str(OWN).expect("our own schemas are JSON");
    let kinds = own["kinds"].as_object().expect("kinds");
    kinds.iter().map(|(name, schema)| (name.clone(), resolved(schema, &own["defs"]))).collect()
}

const OWN: &str = include_str!("../../../mesh-objects/src/schema/own.json");

fn resolved(schema: &Json, definitions: &Json) -> Json {
    let mut schema = match schema {
        Json::String(name) => definitions[name].clone(),
        schema => schema.clone(),
    };
    for keyword in ["items", "values"] {
        if let Some(nested) = schema.get(keyword) {
            schema[keyword] = resolved(nested, definitions);
        }
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) {
        for nested in properties.values_mut() {
            *nested = resolved(nested, definitions);
        }
    }
    // The generated form and ours name two keywords differently from the definitions.
    if let Some(values) = schema.as_object_mut().and_then(|schema| schema.remove("values")) {
        schema["additionalProperties"] = values;
    }
    schema
}
