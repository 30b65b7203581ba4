//! Resource definitions of our own kinds, made from the schema that files are checked with. What an API server
//! cannot check, such as the keys of labels, is left to the controller, which says it in status.

use mesh_objects::schema::own_schema;
use mesh_objects::{ObjectKind, group};
use serde_json::{Map, Value as Json, json};

use crate::access::plural;

/// The definitions of all our kinds that live in a cluster.
pub fn definitions() -> Vec<Json> {
    let ours = |kind: &&ObjectKind| kind.group().ends_with(".mesh.io") && kind.group() != group::LOCAL;
    ObjectKind::ALL.iter().filter(ours).map(|kind| definition(*kind)).collect()
}

/// The name of a definition.
pub fn name(kind: ObjectKind) -> String {
    format!("{}.{}", plural(kind), kind.group())
}

fn definition(kind: ObjectKind) -> Json {
    let versions = kind.versions();
    let version = |(nth, version): (usize, &&str)| {
        let mut entry = json!({
            "name": version,
            "served": true,
            "storage": nth == 0,
            "schema": {"openAPIV3Schema": root(kind, version)},
            "additionalPrinterColumns": columns(kind),
        });
        if has_status(kind) {
            entry["subresources"] = json!({"status": {}});
        }
        entry
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name(kind), "labels": {"app.kubernetes.io/part-of": "service-mesh"}},
        "spec": {
            "group": kind.group(),
            "names": {
                "kind": kind.as_str(),
                "listKind": format!("{}List", kind.as_str()),
                "plural": plural(kind),
                "singular": kind.as_str().to_lowercase(),
                "categories": ["service-mesh"],
            },
            "scope": "Namespaced",
            "versions": versions.iter().enumerate().map(version).collect::<Vec<_>>(),
        },
    })
}

/// Whether the controller writes a status for a kind of ours.
fn has_status(kind: ObjectKind) -> bool {
    kind.group() == group::SECURITY
}

fn columns(kind: ObjectKind) -> Json {
    let column = |name: &str, kind: &str, path: &str| json!({"name": name, "type": kind, "jsonPath": path});
    let age = column("Age", "date", ".metadata.creationTimestamp");
    if !has_status(kind) {
        return json!([age]);
    }
    let accepted = ".status.conditions[?(@.type==\"Accepted\")].status";
    json!([column("Action", "string", ".spec.action"), column("Accepted", "string", accepted), age])
}

fn root(kind: ObjectKind, version: &str) -> Json {
    let own = own_schema(&format!("{}/{version}", kind.group()), kind.as_str());
    let mut schema = structural(&own.expect("every kind of ours has a schema: a test makes all definitions"));
    schema["properties"]["metadata"] = json!({"type": "object"});
    if has_status(kind) {
        schema["properties"]["status"] = status();
    }
    let required = schema["required"].as_array().into_iter().flatten();
    let own = |name: &&Json| !["apiVersion", "kind", "metadata"].contains(&name.as_str().unwrap_or_default());
    schema["required"] = Json::Array(required.filter(own).cloned().collect());
    if schema["required"] == json!([]) {
        schema.as_object_mut().and_then(|fields| fields.remove("required"));
    }
    schema
}

/// A node of ours as a node of a definition.
fn structural(own: &Json) -> Json {
    let mut node = Map::new();
    for (keyword, value) in own.as_object().into_iter().flatten() {
        match keyword.as_str() {
            "format" => node.extend(format(value.as_str().unwrap_or_default())),
            "items" => drop(node.insert("items".to_owned(), structural(value))),
            "keyFormat" | "secret" => {}
            "keys" => drop(node.insert("x-kubernetes-list-map-keys".to_owned(), value.clone())),
            "list" => drop(node.insert("x-kubernetes-list-type".to_owned(), value.clone())),
            "open" => drop(node.insert("x-kubernetes-preserve-unknown-fields".to_owned(), value.clone())),
            "properties" => {
                let nested = value.as_object().into_iter().flatten();
                let nested = nested.map(|(name, schema)| (name.clone(), structural(schema)));
                node.insert("properties".to_owned(), Json::Object(nested.collect()));
            }
            "rules" => drop(node.insert("x-kubernetes-validations".to_owned(), value.clone())),
            "values" => drop(node.insert("additionalProperties".to_owned(), structural(value))),
            _ => drop(node.insert(keyword.clone(), value.clone())),
        }
    }
    Json::Object(node)
}

/// A format of ours as keywords that an API server knows. Addresses are only roughly checked there: the exact
/// rules would have to be CEL, whose cost in nested lists a server refuses.
fn format(name: &str) -> Map<String, Json> {
    let pattern = |pattern: &str, length: u32| json!({"pattern": pattern, "maxLength": length});
    let keywords = match name {
        "int32" | "int64" | "date-time" | "byte" => json!({"format": name}),
        "cidr" | "cluster-ip" | "ip" | "ip-or-cidr" | "ipv4" | "ipv6" => {
            pattern("^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$", 49)
        }
        "dns-label" => pattern("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", 63),
        "dns-subdomain" => pattern("^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", 253),
        "label-value" => pattern("^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$", 63),
        "port" => pattern(
            "^([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$",
            5,
        ),
        "port-name" => pattern("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", 15),
        _ => json!({}),
    };
    keywords.as_object().cloned().unwrap_or_default()
}

/// Conditions, as every kind of Kubernetes has them.
fn status() -> Json {
    json!({
        "type": "object",
        "properties": {
            "conditions": {
                "type": "array",
                "maxItems": 8,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": {
                    "type": "object",
                    "required": ["lastTransitionTime", "message", "reason", "status", "type"],
                    "properties": {
                        "lastTransitionTime": {"type": "string", "format": "date-time"},
                        "message": {"type": "string", "maxLength": 32768},
                        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                        "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
                        "status": {"type": "string", "enum": ["False", "True", "Unknown"]},
                        "type": {"type": "string", "maxLength": 316},
                    },
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_keeps_its_bounds_defaults_and_rules() {
        let all = definitions();
        let policy = all.iter().find(|d| d["metadata"]["name"] == "authorizationpolicies.security.mesh.io");
        let schema = &policy.unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let spec = &schema["properties"]["spec"];
        assert_eq!(spec["properties"]["action"]["default"], "ALLOW");
        let rule = &spec["properties"]["rules"]["items"]["properties"];
        let validations = &rule["when"]["items"]["x-kubernetes-validations"];
        assert_eq!(validations[0]["rule"], "has(self.values) || has(self.notValues)");
        let labels = &spec["properties"]["selector"]["properties"]["matchLabels"];
        assert_eq!(labels["additionalProperties"]["maxLength"], 63);
    }

    #[test]
    fn nothing_but_keywords_of_a_definition_is_left() {
        const KNOWN: &str = "additionalProperties default enum format items maxItems maxLength maxProperties maximum \
                             minItems minLength minProperties minimum pattern properties required type \
                             x-kubernetes-list-map-keys x-kubernetes-list-type \
                             x-kubernetes-preserve-unknown-fields x-kubernetes-validations";
        fn walk(schema: &Json) {
            for (keyword, value) in schema.as_object().unwrap() {
                assert!(KNOWN.split(' ').any(|known| known == keyword), "{keyword} in {schema}");
                match keyword.as_str() {
                    "properties" => value.as_object().unwrap().values().for_each(walk),
                    "items" | "additionalProperties" => walk(value),
                    _ => {}
                }
            }
        }
        for definition in definitions() {
            for version in definition["spec"]["versions"].as_array().unwrap() {
                walk(&version["schema"]["openAPIV3Schema"]);
            }
        }
    }
}
