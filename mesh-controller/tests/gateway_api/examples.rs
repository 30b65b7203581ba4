//! The module's examples: the valid ones are read without a finding and printed back equal, the invalid ones
//! are refused with the path of the field.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_controller::source::load;
use mesh_controller::yaml;
use serde_json::Value as Json;

use crate::definitions::versions;
use crate::module::manifests;

/// Findings that an example has, by file, with the reason why that is right. There is none.
const FINDINGS: [(&str, &str); 0] = [];

#[test]
fn every_example_is_read_without_findings_and_printed_back_equal() {
    let mut objects = 0;
    for (name, text) in manifests("examples") {
        let loaded = load(&text, &Arc::from(name.as_str()));
        let expected: Vec<_> =
            FINDINGS.iter().filter(|(file, _)| *file == name).map(|(_, text)| *text).collect();
        let findings: Vec<_> = loaded.findings.iter().map(ToString::to_string).collect();
        assert_eq!(findings, expected, "{name}");
        let written: Vec<Json> =
            yaml::read(&text).into_iter().map(|d| d.root.expect("a document").to_json()).collect();
        assert_eq!(loaded.objects.len(), written.len(), "{name}");
        for (stored, written) in loaded.objects.iter().zip(written) {
            let printed = stored.object().print().expect("objects can be printed");
            assert_eq!(printed, defaulted(&written), "{name}: {}", stored.name());
            objects += 1;
        }
    }
    assert!(objects >= 117, "only {objects} objects in the examples");
}

/// A document with the defaults of its definition, as an API server would store it.
fn defaulted(document: &Json) -> Json {
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    let name = format!("{} {}", text("apiVersion"), text("kind"));
    let Some(version) = versions("experimental").get(&name) else { return document.clone() };
    let mut document = document.clone();
    document["spec"] = with_defaults(&version.schema["properties"]["spec"], &document["spec"]);
    document
}

fn with_defaults(schema: &Json, value: &Json) -> Json {
    match value {
        Json::Array(items) => items.iter().map(|item| with_defaults(&schema["items"], item)).collect(),
        Json::Object(fields) => {
            let mut fields = fields.clone();
            for (name, nested) in schema["properties"].as_object().into_iter().flatten() {
                if let (false, Some(default)) = (fields.contains_key(name), nested.get("default")) {
                    fields.insert(name.clone(), default.clone());
                }
            }
            let filled = fields.iter().map(|(n, v)| (n.clone(), with_defaults(&schema["properties"][n], v)));
            Json::Object(filled.collect())
        }
        value => value.clone(),
    }
}

/// The first field that is named for each invalid example, below `hack/invalid-examples`.
const INVALID: [(&str, &str); 36] = [
    (
        "experimental/httproute/invalid-filter-externalauth-bad-http-path.yaml",
        "spec.rules[0].filters[0].externalAuth.http.path",
    ),
    ("experimental/httproute/invalid-filter-externalauth-empty.yaml", "spec.rules[0].filters[0]"),
    (
        "experimental/httproute/invalid-filter-externalauth-no-protocol.yaml",
        "spec.rules[0].filters[0].externalAuth.backendRef",
    ),
    (
        "experimental/httproute/invalid-header-value.yaml",
        "spec.rules[0].filters[0].responseHeaderModifier.add[0].value",
    ),
    ("standard/gateway/duplicate-listeners.yaml", "spec.listeners[1]"),
    ("standard/gateway/hostname-tcp.yaml", "spec.listeners"),
    ("standard/gateway/hostname-udp.yaml", "spec.listeners"),
    ("standard/gateway/invalid-addresses.yaml", "spec.addresses[0].value"),
    ("standard/gateway/invalid-listener-name.yaml", "spec.listeners[0].name"),
    ("standard/gateway/invalid-listener-port.yaml", "spec.listeners[0].port"),
    ("standard/gateway/invalid-tls-mode.yaml", "spec.listeners"),
    ("standard/gateway/tlsconfig-tcp.yaml", "spec.listeners"),
    ("standard/gatewayclass/invalid-controller.yaml", "spec.controllerName"),
    ("standard/httproute/duplicate-header-match.yaml", "spec.rules[0].matches[0].headers[1]"),
    ("standard/httproute/duplicate-query-match.yaml", "spec.rules[0].matches[0].queryParams[1]"),
    ("standard/httproute/httproute-portless-backend.yaml", "spec.rules[0].backendRefs[0]"),
    ("standard/httproute/httproute-portless-service.yaml", "spec.rules[0].backendRefs[0]"),
    ("standard/httproute/invalid-backend-group.yaml", "spec.rules[0].backendRefs[0].group"),
    ("standard/httproute/invalid-backend-kind.yaml", "spec.rules[0].backendRefs[0].kind"),
    ("standard/httproute/invalid-backend-port.yaml", "spec.rules[0].backendRefs[0].port"),
    (
        "standard/httproute/invalid-filter-duplicate-header.yaml",
        "spec.rules[0].filters[0].requestHeaderModifier.remove[1]",
    ),
    ("standard/httproute/invalid-filter-duplicate.yaml", "spec.rules[0].filters"),
    ("standard/httproute/invalid-filter-empty.yaml", "spec.rules[0].filters[0]"),
    ("standard/httproute/invalid-filter-wrong-field.yaml", "spec.rules[0].filters[0]"),
    ("standard/httproute/invalid-header-name.yaml", "spec.rules[0].matches[0].headers[0].name"),
    ("standard/httproute/invalid-hostname.yaml", "spec.hostnames[0]"),
    (
        "standard/httproute/invalid-httpredirect-hostname.yaml",
        "spec.rules[0].filters[0].requestRedirect.hostname",
    ),
    ("standard/httproute/invalid-method.yaml", "spec.rules[0].matches[0].method"),
    ("standard/httproute/invalid-path-alphanum-specialchars-mix.yaml", "spec.rules[0].matches[0].path"),
    ("standard/httproute/invalid-path-specialchars.yaml", "spec.rules[0].matches[0].path"),
    ("standard/httproute/invalid-request-redirect-with-backendref.yaml", "spec.rules[0]"),
    ("standard/referencegrant/missing-from.yaml", "spec.from"),
    ("standard/referencegrant/missing-ns.yaml", "spec.from[0].namespace"),
    ("standard/referencegrant/missing-to.yaml", "spec.to"),
    ("standard/tlsroute/invalid-hostname.yaml", "spec.hostnames[0]"),
    ("standard/tlsroute/no-hostname.yaml", "spec.hostnames"),
];

#[test]
fn every_invalid_example_is_refused_with_the_path_of_its_field() {
    let expected: BTreeMap<_, _> = INVALID.into_iter().collect();
    let mut seen = BTreeMap::new();
    for (name, text) in manifests("hack/invalid-examples") {
        let loaded = load(&text, &Arc::from(name.as_str()));
        assert!(loaded.objects.is_empty(), "{name} was accepted");
        let first = loaded.findings.first().unwrap_or_else(|| panic!("{name} has no finding"));
        assert!(first.position.is_some() && first.object.is_some(), "{first}");
        let name = name.strip_prefix("hack/invalid-examples/").expect("a file of that folder").to_owned();
        seen.insert(name, first.path.as_str().to_owned());
    }
    let seen: BTreeMap<_, _> = seen.iter().map(|(name, path)| (name.as_str(), path.as_str())).collect();
    assert_eq!(seen, expected);
}
