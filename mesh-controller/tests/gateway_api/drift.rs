//! The generated schemas say what the module's definitions say, keyword by keyword.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::definitions::versions;

const GENERATED: &str = include_str!("../../../mesh-objects/src/generated/schemas.json");
const SAME: [&str; 16] = [
    "default",
    "enum",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "nullable",
    "pattern",
    "required",
    "type",
    "allOf",
];
const RENAMED: [(&str, &str); 3] = [
    ("x-kubernetes-list-map-keys", "keys"),
    ("x-kubernetes-list-type", "list"),
    ("x-kubernetes-validations", "rules"),
];

struct Drift<'d> {
    nodes: &'d [Json],
    found: Vec<String>,
}

impl Drift<'_> {
    fn compare(&mut self, path: &str, defined: &Json, standard: Option<&Json>, number: &Json) {
        let number = usize::try_from(number.as_u64().expect("a number")).expect("a small number");
        let node = self.nodes[number].clone();
        for keyword in SAME {
            self.same(path, keyword, defined.get(keyword), node.get(keyword));
        }
        for (keyword, name) in RENAMED {
            self.same(path, keyword, defined.get(keyword), node.get(name));
        }
        let keywords = defined.as_object().expect("a schema").keys();
        let nested = ["additionalProperties", "anyOf", "items", "not", "oneOf", "properties"];
        for keyword in keywords.filter(|k| !SAME.contains(&k.as_str()) && !nested.contains(&k.as_str())) {
            let known = RENAMED.iter().any(|(renamed, _)| renamed == keyword);
            if !known && keyword != "description" && keyword != "x-kubernetes-map-type" {
                self.found.push(format!("{path}: the keyword {keyword} is new"));
            }
        }
        self.nested(path, defined, standard, &node);
    }

    fn nested(&mut self, path: &str, defined: &Json, standard: Option<&Json>, node: &Json) {
        for (keyword, name) in [("additionalProperties", "values"), ("items", "items"), ("not", "not")] {
            match (defined.get(keyword), node.get(name)) {
                (Some(defined), Some(number)) => {
                    let standard = standard.and_then(|standard| standard.get(keyword));
                    self.compare(&format!("{path}[]"), defined, standard, number);
                }
                (None, None) => {}
                _ => self.found.push(format!("{path}: {keyword}")),
            }
        }
        for keyword in ["anyOf", "oneOf"] {
            let defined = defined[keyword].as_array().cloned().unwrap_or_default();
            let numbers = node[keyword].as_array().cloned().unwrap_or_default();
            assert_eq!(defined.len(), numbers.len(), "{path}: {keyword}");
            for (defined, number) in defined.iter().zip(&numbers) {
                self.compare(path, defined, None, number);
            }
        }
        let empty = serde_json::Map::new();
        let fields = |schema: &Json| schema["properties"].as_object().unwrap_or(&empty).clone();
        let (properties, numbers) = (fields(defined), fields(node));
        let names: BTreeSet<_> = properties.keys().chain(numbers.keys()).collect();
        for name in names {
            let child = standard.and_then(|standard| standard["properties"].get(name));
            match (properties.get(name), numbers.get(name)) {
                (Some(defined), Some(number)) => {
                    self.compare(&format!("{path}.{name}"), defined, child, number)
                }
                _ => self.found.push(format!("{path}.{name} is on one side only")),
            }
            let listed = node["experimental"].as_array().is_some_and(|list| list.iter().any(|n| n == name));
            let standard_has_map = standard.is_some_and(|standard| standard.get("properties").is_some());
            if standard_has_map && listed == child.is_some() {
                self.found.push(format!("{path}.{name}: which channel has it"));
            }
        }
    }

    fn same(&mut self, path: &str, keyword: &str, defined: Option<&Json>, generated: Option<&Json>) {
        if defined != generated {
            self.found.push(format!("{path}: {keyword} is {defined:?} in the module and {generated:?} here"));
        }
    }
}

#[test]
fn generated_schemas_equal_the_definitions_of_the_module() {
    let generated: Json = serde_json::from_str(GENERATED).expect("the generated file is JSON");
    let kinds = generated["kinds"].as_object().expect("kinds");
    let defined = versions("experimental");
    assert!(kinds.keys().eq(defined.keys()), "kinds differ: {:?}", kinds.keys());
    let mut drift = Drift { nodes: generated["nodes"].as_array().expect("nodes"), found: Vec::new() };
    for (name, version) in defined {
        let standard = versions("standard").get(name).map(|version| &version.schema);
        drift.compare(name, &version.schema, standard, &kinds[name]);
    }
    assert!(drift.found.is_empty(), "run `cargo xtask schemas`:\n{}", drift.found.join("\n"));
}
