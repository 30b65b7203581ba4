//! What the controller may do in a cluster, each permission with its reason. Reads follow from the kinds that are
//! read, so that a new kind cannot be forgotten.

use std::collections::BTreeMap;

use mesh_objects::{ObjectKind, group};
use serde_json::{Value as Json, json};

use crate::manifest::NOTE;

/// One permission.
struct Rule {
    why: &'static str,
    group: &'static str,
    resources: Vec<String>,
    names: &'static [&'static str],
    verbs: &'static [&'static str],
}

const READ: &[&str] = &["get", "list", "watch"];
/// Server-side apply is a patch, and a create where the object is not there yet.
const APPLY: &[&str] = &["create", "delete", "patch", "update"];

/// Permissions in all namespaces.
pub fn cluster_rules() -> Vec<Json> {
    let mut rules = vec![
        Rule::new(
            "which of our kinds the API server serves and in which versions, now and when that changes",
            "apiextensions.k8s.io",
            &["customresourcedefinitions"],
            &["get", "watch"],
        ),
        Rule::new(
            "a proxy shows the token of its account before it has a certificate",
            "authentication.k8s.io",
            &["tokenreviews"],
            &["create"],
        ),
    ];
    rules.push(Rule::new(
        "one object stands for the mesh itself; it is made when it is not there and never edited",
        "gateway.networking.x-k8s.io",
        &["xmeshes"],
        &["create", "list", "watch"],
    ));
    rules.push(Rule::new(
        "and says in its status what the mesh can do",
        "gateway.networking.x-k8s.io",
        &["xmeshes/status"],
        &["patch"],
    ));
    rules.push(Rule::new(
        "which pods have a sidecar, under which account and address; and whether a token comes from its pod",
        "",
        &["pods"],
        &["get", "list", "watch"],
    ));
    rules.push(Rule::new(
        "what the proxy of a node says is kept as long as the node's object is there",
        "",
        &["nodes"],
        &["get"],
    ));
    rules.extend(reads());
    rules.extend(statuses());
    rules.extend(gateways());
    rules.iter().map(Rule::json).collect()
}

/// What gateways need.
fn gateways() -> [Rule; 3] {
    [
        Rule::new(
            "a class that gateways use is marked, so that it is not deleted under them",
            "gateway.networking.k8s.io",
            &["gatewayclasses"],
            &["patch"],
        ),
        Rule::new(
            "each gateway is a Deployment of proxies, which is removed with it; its status says whether it is up",
            "apps",
            &["deployments"],
            &["create", "delete", "get", "list", "patch", "update", "watch"],
        ),
        Rule::new(
            "with a Service and an account, and its configuration and the roots of trust in ConfigMaps",
            "",
            &["configmaps", "serviceaccounts", "services"],
            APPLY,
        ),
    ]
}

/// Permissions in the controller's own namespace.
pub fn namespace_rules() -> Vec<Json> {
    let rules = [
        Rule::new(
            "the authority's state and the key that seals it are kept in Secrets",
            "",
            &["secrets"],
            &["create"],
        ),
        Rule {
            names: &["mesh-ca"],
            ..Rule::new("of which only the state is ever written again", "", &["secrets"], &["update"])
        },
        Rule::new(
            "one of several controllers writes: the one that holds the Lease",
            "coordination.k8s.io",
            &["leases"],
            &["create", "get", "update"],
        ),
    ];
    rules.iter().map(Rule::json).collect()
}

/// The permission to keep the roots in the registration of the webhook, which has a name of its own.
pub(crate) fn webhook_rule(name: &str) -> Json {
    let mut rule = Rule::new(
        "the API server trusts the webhook by roots that change, and they are kept in its registration",
        "admissionregistration.k8s.io",
        &["mutatingwebhookconfigurations"],
        &["get", "patch"],
    )
    .json();
    rule["resourceNames"] = json!([name]);
    rule
}

/// A read of every kind that is translated, a rule for each group.
fn reads() -> Vec<Rule> {
    let mut groups = BTreeMap::<&str, Vec<String>>::new();
    for kind in read_kinds() {
        groups.entry(kind.group()).or_default().push(plural(kind));
    }
    let rule = |(group, resources)| Rule {
        why: match group {
            group::CORE => {
                "what routes and listeners refer to: backends, certificates, accounts, namespace labels"
            }
            group::CERTIFICATES => {
                "the issuers that a cluster shares, which TLS policies and listeners may trust"
            }
            group::DISCOVERY => "the addresses behind a Service",
            group::GATEWAY => "the Gateway API is what the mesh is configured with",
            group::EXPERIMENTAL => "with policies that are experiments of the Gateway API",
            group::SECURITY => "who may call whom",
            _ => "kinds of our own",
        },
        group,
        resources,
        names: &[],
        verbs: READ,
    };
    groups.into_iter().map(rule).collect()
}

/// A write of every status that is ours to write, and of nothing else of these objects.
fn statuses() -> Vec<Rule> {
    let mut groups = BTreeMap::<&str, Vec<String>>::new();
    for kind in read_kinds().filter(|kind| has_status(*kind)) {
        groups.entry(kind.group()).or_default().push(format!("{}/status", plural(kind)));
    }
    let rule = |(group, resources)| Rule {
        why: "whether an object is in force is said in its status, and only the status is written",
        group,
        resources,
        names: &[],
        verbs: &["patch", "update"],
    };
    groups.into_iter().map(rule).collect()
}

fn read_kinds() -> impl Iterator<Item = ObjectKind> {
    // Processes exist in files only.
    ObjectKind::ALL.iter().copied().filter(|kind| kind.group() != group::LOCAL)
}

fn has_status(kind: ObjectKind) -> bool {
    let upstream = kind.group().starts_with("gateway.networking.") && kind != ObjectKind::ReferenceGrant;
    upstream || kind.group() == group::SECURITY
}

/// The name of a kind in paths and permissions.
pub fn plural(kind: ObjectKind) -> String {
    let name = kind.as_str().to_lowercase();
    match name.strip_suffix("cy") {
        Some(stem) => format!("{stem}cies"),
        None if name.ends_with("ss") => format!("{name}es"),
        None if name.ends_with('s') => name,
        None => format!("{name}s"),
    }
}

impl Rule {
    fn new(
        why: &'static str,
        group: &'static str,
        resources: &[&str],
        verbs: &'static [&'static str],
    ) -> Self {
        let resources = resources.iter().map(|name| (*name).to_owned()).collect();
        Self { why, group, resources, names: &[], verbs }
    }

    fn json(&self) -> Json {
        let mut rule = json!({
            NOTE: self.why,
            "apiGroups": [self.group],
            "resources": self.resources,
            "verbs": self.verbs,
        });
        if !self.names.is_empty() {
            rule["resourceNames"] = json!(self.names);
        }
        rule
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_are_those_of_the_definitions() {
        let table = [
            (ObjectKind::BackendTlsPolicy, "backendtlspolicies"),
            (ObjectKind::Gateway, "gateways"),
            (ObjectKind::GatewayClass, "gatewayclasses"),
            (ObjectKind::HttpRoute, "httproutes"),
        ];
        for (kind, expected) in table {
            assert_eq!(plural(kind), expected);
        }
    }

    #[test]
    fn nothing_is_granted_by_a_wildcard_and_secrets_are_not_written_in_all_namespaces() {
        for rule in cluster_rules() {
            let text = rule.to_string();
            assert!(!text.contains("\"*\""), "{text}");
            let secrets = rule["resources"].as_array().unwrap().contains(&json!("secrets"));
            assert!(!secrets || rule["verbs"] == json!(READ), "{text}");
        }
    }
}
