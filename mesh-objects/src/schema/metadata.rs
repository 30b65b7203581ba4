//! Names of objects: present, of the form that their kind needs, in a namespace or not. Labels are checked
//! by schema.

use mesh_model::{FieldPath, Position, Reason, Severity};

use super::Violation;
use super::format::{Format, is_dns_label, is_dns_subdomain, is_service_name};
use crate::{ObjectKind, Scope};
use mesh_yaml::Node;

pub(super) fn check(kind: ObjectKind, root: &Node) -> Vec<Violation> {
    let path = FieldPath::root().field("metadata");
    let Some(metadata) = root.field("metadata") else { return Vec::new() };
    let mut found = Vec::new();
    match metadata.field("name").and_then(|name| Some((name.as_str()?, name.position))) {
        Some((name, position)) => {
            if let Some(suggestion) = wrong_name(kind, name) {
                let message = format!("{name:?} cannot be the name of a {}", kind.as_str());
                found.push(violation(
                    Reason::InvalidValue,
                    (path.field("name"), position),
                    message,
                    suggestion,
                ));
            }
        }
        None => found.push(violation(
            Reason::MissingField,
            (path.field("name"), metadata.position),
            "an object needs a name".to_owned(),
            "add `name:`; generated names exist in a cluster only",
        )),
    }
    let namespace = metadata.field("namespace").filter(|namespace| namespace.as_str() != Some(""));
    if let (Scope::Cluster, Some(namespace)) = (kind.scope(), namespace) {
        let message = format!("a {} does not live in a namespace", kind.as_str());
        let place = (path.field("namespace"), namespace.position);
        found.push(violation(Reason::InvalidValue, place, message, "remove the field"));
    }
    found
}

/// What the name should look like, if it does not.
fn wrong_name(kind: ObjectKind, name: &str) -> Option<&'static str> {
    match kind {
        ObjectKind::Namespace => (!is_dns_label(name)).then_some(Format::DnsLabel.describe()),
        ObjectKind::Service => (!is_service_name(name)).then_some(
            "at most 63 lower-case letters, digits and '-', beginning with a letter, ending with a letter or digit",
        ),
        // One of a signer is named `<signer>:<name>`, with colons for slashes.
        ObjectKind::ClusterTrustBundle => (!name.split(':').all(is_dns_subdomain)).then_some(
            "parts of at most 253 lower-case letters, digits, '-' and '.', with ':' between them",
        ),
        _ => (!is_dns_subdomain(name)).then_some(Format::DnsSubdomain.describe()),
    }
}

fn violation(
    reason: Reason,
    (path, position): (FieldPath, Position),
    message: String,
    suggestion: &str,
) -> Violation {
    let suggestion = Some(suggestion.to_owned());
    Violation { severity: Severity::Error, reason, path, position, message, suggestion }
}
