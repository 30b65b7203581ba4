//! Tests of the schema check: shape, bounds, defaults and rules, each with the path that is named.

use serde_json::json;

use super::*;
use mesh_yaml as yaml;

fn checked(kind: ObjectKind, api_version: &str, body: &str, unknown: UnknownFields) -> Checked {
    let text = format!("apiVersion: {api_version}\nkind: {}\nmetadata: {{name: a}}\n{body}", kind.as_str());
    let mut documents = yaml::read(text.as_bytes());
    let root = documents.remove(0).root.unwrap_or_else(|error| panic!("{error} at {}", error.position));
    check(kind, api_version, &root, unknown)
}

/// `path: message; suggestion` of every violation.
fn wrong(kind: ObjectKind, body: &str) -> Vec<String> {
    let group = kind.group();
    let version = kind.versions()[0];
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let checked = checked(kind, &api_version, body, UnknownFields::Refuse);
    let words = |v: &Violation| match &v.suggestion {
        Some(suggestion) => format!("{}: {}; {suggestion}", v.path, v.message),
        None => format!("{}: {}", v.path, v.message),
    };
    checked.violations.iter().map(words).collect()
}

fn check_table(kind: ObjectKind, table: &[(&str, &str)]) {
    for (body, expected) in table {
        let expected: Vec<&str> = if expected.is_empty() { Vec::new() } else { vec![expected] };
        assert_eq!(wrong(kind, body), expected, "{body}");
    }
}

#[test]
fn every_rule_is_cel_and_every_pattern_an_expression() {
    let registry = table::registry();
    for schema in registry.schemas() {
        for rule in &schema.rules {
            assert!(rule.program().is_some(), "{}", rule.rule);
        }
        assert!(
            schema.pattern.as_ref().is_none_or(|pattern| pattern.regex().is_some()),
            "{:?}",
            schema.pattern
        );
    }
}

#[test]
fn services_follow_the_rules_of_kubernetes() {
    let names = "spec.ports[1]: port and protocol must be unique, and item 0 has the same";
    check_table(
        ObjectKind::Service,
        &[
            ("spec: {ports: [{port: 80}]}", ""),
            ("spec: {ports: [{name: a, port: 80}, {name: b, port: 80, protocol: UDP}]}", ""),
            ("spec: {clusterIP: None}", ""),
            ("spec: {type: ExternalName, externalName: a.test}", ""),
            ("spec: {type: ExternalName}", "spec: a service of type ExternalName needs externalName"),
            ("spec: {}", "spec: a service needs a port, unless it is headless or of type ExternalName"),
            ("spec: {ports: [{name: a, port: 80}, {name: b, port: 80}]}", names),
            (
                "spec: {ports: [{port: 80}, {port: 81}]}",
                "spec: every port needs a name when there are several",
            ),
            (
                "spec: {ports: [{name: a, port: 80}, {name: a, port: 81}]}",
                "spec: names of ports must be different",
            ),
            ("spec: {ports: [{port: 0}]}", "spec.ports[0].port: 0 is out of bounds; from 1 to 65535"),
            (
                "spec: {ports: [{port: 80.5}]}",
                "spec.ports[0].port: this must be a whole number, and is a number",
            ),
            (
                "spec: {ports: [{port: \"80\"}]}",
                "spec.ports[0].port: this must be a whole number, and is a text; write 80 without quotes",
            ),
            ("spec: {ports: [{port: 80, targetPort: http}]}", ""),
            ("spec: {ports: [{port: 80, targetPort: 8080}]}", ""),
            (
                "spec: {clusterIP: 10.0.0, ports: [{port: 80}]}",
                "spec.clusterIP: \"10.0.0\" does not have the right form; an IP address or None",
            ),
            (
                "spec: {type: clusterip, ports: [{port: 80}]}",
                "spec.type: clusterip is not allowed here; did you mean ClusterIP? It is one of ClusterIP, ExternalName, \
                 LoadBalancer, NodePort",
            ),
            (
                "spec: {selector: {app: true}, ports: [{port: 80}]}",
                "spec.selector.app: this must be a text, and is a truth value; put quotes around it",
            ),
        ],
    );
}

#[test]
fn policies_must_say_what_they_mean() {
    let rule = |rule: &str| format!("spec: {{rules: [{rule}]}}");
    let empty_from = rule("{from: []}");
    let empty_source = rule("{from: [{source: {}}]}");
    let empty_list = rule("{from: [{source: {principals: []}}]}");
    let no_values = rule("{when: [{key: source.ip}]}");
    let istio = rule("{key: source.ip}");
    let port = rule("{to: [{operation: {ports: [\"http\"]}}]}");
    let range = rule("{from: [{source: {ipBlocks: [10.0.0.0/33]}}]}");
    check_table(
        ObjectKind::AuthorizationPolicy,
        &[
            ("spec: {}", ""),
            ("spec: {rules: [{}]}", ""),
            (
                "spec: {action: Allow}",
                "spec.action: Allow is not allowed here; did you mean ALLOW? It is one of ALLOW, AUDIT, DENY",
            ),
            // An empty list would mean everyone: it is refused rather than guessed at.
            (&empty_from, "spec.rules[0].from: 0 items are here; at least 1"),
            (&empty_source, "spec.rules[0].from[0].source: 0 entries are here; at least 1"),
            (&empty_list, "spec.rules[0].from[0].source.principals: 0 items are here; at least 1"),
            (&no_values, "spec.rules[0].when[0]: a condition needs values or notValues"),
            (&istio, "spec.rules[0].key: there is no field \"key\" here; known fields are from, to, when"),
            (
                &port,
                "spec.rules[0].to[0].operation.ports[0]: \"http\" does not have the right form; a port from 1 to 65535, as text",
            ),
            (
                &range,
                "spec.rules[0].from[0].source.ipBlocks[0]: \"10.0.0.0/33\" does not have the right form; an IP address, or \
                 a range such as 10.0.0.0/8",
            ),
        ],
    );
}

#[test]
fn values_of_secrets_are_never_shown() {
    let found = wrong(ObjectKind::Secret, "data: {tls.key: \"hunter2 hunter2\"}");
    assert_eq!(
        found,
        ["data[\"tls.key\"]: the value does not have the right form; base64 with padding (RFC 4648)"]
    );
    let found = wrong(ObjectKind::Secret, "stringData: {password: 12345}");
    assert_eq!(found, ["stringData.password: this must be a text, and is a number; put quotes around it"]);
}

#[test]
fn endpoints_must_be_addresses_of_the_slices_type() {
    check_table(
        ObjectKind::EndpointSlice,
        &[
            ("addressType: IPv4\nendpoints: [{addresses: [10.0.0.1]}]", ""),
            // What a server says when there are none.
            ("addressType: IPv4\nendpoints: null\nports: null", ""),
            ("addressType: IPv4", ""),
            (
                "addressType: IPv4\nendpoints: [{addresses: [\"::1\"]}]",
                ".: every address must be of the slice's addressType",
            ),
        ],
    );
}

#[test]
fn either_certificates_or_options_are_enough_to_end_tls() {
    let gateway = |tls: &str| {
        format!(
            "spec:\n  gatewayClassName: mesh\n  listeners:\n  - {{name: a, port: 443, protocol: HTTPS, tls: {tls}}}"
        )
    };
    assert_eq!(wrong(ObjectKind::Gateway, &gateway("{options: {a: b}}")), [""; 0]);
    assert_eq!(wrong(ObjectKind::Gateway, &gateway("{certificateRefs: [{name: a}]}")), [""; 0]);
    assert_eq!(wrong(ObjectKind::Gateway, &gateway("{}")).len(), 1);
}

#[test]
fn defaults_are_filled_in_below_lists_and_other_defaults() {
    let checked = checked(
        ObjectKind::HttpRoute,
        "gateway.networking.k8s.io/v1",
        "spec: {parentRefs: [{name: g}], rules: [{backendRefs: [{name: s, port: 80}]}]}",
        UnknownFields::Refuse,
    );
    let expected = json!({
        "parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"}],
        "rules": [{
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "backendRefs": [{"group": "", "kind": "Service", "name": "s", "port": 80, "weight": 1}]
        }]
    });
    assert_eq!((checked.violations.len(), &checked.value["spec"]), (0, &expected));
    assert_eq!(checked.value.get("status"), None);
}

#[test]
fn null_is_absent_where_kubernetes_takes_it_so() {
    let route = |body: &str| wrong(ObjectKind::HttpRoute, body);
    assert_eq!(route("spec: {rules: null}"), [""; 0]);
    assert_eq!(
        route("spec: {hostnames: null}"),
        ["spec.hostnames: this must be a list, and is nothing; begin each item with `- `"]
    );
    assert_eq!(route("spec: null").len(), 1);
    check_table(ObjectKind::ConfigMap, &[("data: null\nimmutable: ~", "")]);
}

#[test]
fn unknown_fields_of_an_api_server_are_left_out_with_a_warning() {
    let body = "spec: {rules: [{backendRefs: [{name: s, port: 80, wieght: 5}]}]}";
    let checked = checked(ObjectKind::HttpRoute, "gateway.networking.k8s.io/v1", body, UnknownFields::Prune);
    assert!(checked.is_valid());
    assert_eq!(checked.violations.len(), 1);
    let violation = &checked.violations[0];
    assert_eq!((violation.severity, violation.reason), (Severity::Warning, Reason::UnknownField));
    assert_eq!(violation.path.as_str(), "spec.rules[0].backendRefs[0].wieght");
    assert_eq!(violation.suggestion.as_deref(), Some("did you mean weight?"));
    assert_eq!(checked.value["spec"]["rules"][0]["backendRefs"][0].get("wieght"), None);
}

#[test]
fn names_have_the_form_that_their_kind_needs() {
    let named = |kind: ObjectKind, metadata: &str| {
        let (version, spec) = match kind {
            ObjectKind::ClusterTrustBundle => ("certificates.k8s.io/v1beta1", "spec: {trustBundle: a}"),
            ObjectKind::Service => ("v1", "spec: {ports: [{port: 1}]}"),
            _ => ("v1", ""),
        };
        let text = format!("apiVersion: {version}\nkind: {}\nmetadata: {metadata}\n{spec}", kind.as_str());
        let root = yaml::read(text.as_bytes()).remove(0).root.unwrap_or_else(|error| panic!("{error}"));
        let found = check(kind, version, &root, UnknownFields::Refuse).violations;
        found.iter().map(|v| v.path.to_string()).collect::<Vec<_>>()
    };
    let long = format!("{{name: {}}}", "a".repeat(64));
    assert_eq!(named(ObjectKind::ConfigMap, "{name: a.b}"), [""; 0]);
    assert_eq!(named(ObjectKind::ConfigMap, &long), [""; 0]);
    assert_eq!(named(ObjectKind::ConfigMap, "{name: A}"), ["metadata.name"]);
    assert_eq!(named(ObjectKind::ClusterTrustBundle, "{name: \"a.example:path:b\"}"), [""; 0]);
    assert_eq!(named(ObjectKind::ClusterTrustBundle, "{name: a/b}"), ["metadata.name"]);
    assert_eq!(named(ObjectKind::ConfigMap, "{}"), ["metadata.name"]);
    assert_eq!(named(ObjectKind::ConfigMap, "{generateName: a-}"), ["metadata.name"]);
    assert_eq!(named(ObjectKind::ConfigMap, "{name: a, namespace: A_b}"), ["metadata.namespace"]);
    assert_eq!(named(ObjectKind::ConfigMap, "{name: a, labels: {\"a b\": c}}"), ["metadata.labels[\"a b\"]"]);
    assert_eq!(named(ObjectKind::Namespace, &long), ["metadata.name"]);
    assert_eq!(named(ObjectKind::Namespace, "{name: a, namespace: b}"), ["metadata.namespace"]);
    assert_eq!(named(ObjectKind::Service, "{name: 1a}"), ["metadata.name"]);
}
