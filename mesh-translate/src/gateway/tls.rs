//! TLS of a listener: its mode and its certificates.

use mesh_model::{FieldPath, Kind, ListenerProtocol, ListenerTls, ObjectName, Reason, ResourceKey};

use super::super::certificate;
use super::super::entry::Entry;
use super::super::feature::{Feature, off};
use super::super::node::Parent;
use super::super::output::kind_name;
use super::super::reader::{Reader, Referee};
use super::listener::{Draft, Problem};
use crate::objects::listener::TlsMode;
use crate::objects::route::SecretObjectReference;
use crate::objects::{ObjectKind, Secret};

/// The object that refers.
pub(in super::super) struct From<'a> {
    pub(in super::super) kind: ObjectKind,
    pub(in super::super) entry: &'a Entry,
}

impl From<'_> {
    pub(super) fn referee(&self) -> Referee<'_> {
        let name = &self.entry.source.object.name;
        let (group, kind) = (self.kind.group(), self.kind.as_str());
        Referee { group, kind, namespace: self.entry.namespace(), name }
    }
}

/// Reads mode and certificates into the draft.
pub(super) fn read(reader: &Reader<'_>, draft: &mut Draft<'_>) {
    let object = draft.object;
    let secured = matches!(draft.protocol, Some(ListenerProtocol::Https | ListenerProtocol::Tls));
    if !secured {
        if object.tls.is_some() && draft.protocol.is_some() {
            let message = format!("a {} listener has no TLS", object.protocol);
            draft.refuse(Reason::InvalidValue, "tls", message, "remove tls, or use HTTPS or TLS");
        }
        return;
    }
    let Some(tls) = &object.tls else {
        let message = format!("an {} listener needs tls", object.protocol);
        draft.refuse(Reason::MissingField, "tls", message, "name a certificate in tls.certificateRefs");
        return;
    };
    let path = draft.path.field("tls");
    if !tls.options.is_empty() {
        draft.report.unsupported(&path.field("options"), "a TLS option");
    }
    if tls.mode == TlsMode::Passthrough {
        if draft.protocol == Some(ListenerProtocol::Https) {
            let message = "TLS ends at an HTTPS listener".to_owned();
            draft.refuse(Reason::UnsupportedValue, "tls", message, "use mode Terminate, or protocol TLS");
        }
        draft.tls = Some(ListenerTls::Passthrough);
        return;
    }
    if draft.protocol == Some(ListenerProtocol::Tls) && !reader.settings().has(Feature::TlsTerminate) {
        let message = off(Feature::TlsTerminate);
        draft.refuse(Reason::UnsupportedValue, "tls", message, "use mode Passthrough");
    }
    let certificates = certificates(reader, draft, &tls.certificate_refs, &path.field("certificateRefs"));
    if certificates.is_empty() {
        draft.unusable = draft
            .unresolved
            .clone()
            .or(Some((Reason::InvalidCertificateRef, "the listener names no certificate".to_owned())));
        if tls.certificate_refs.is_empty() {
            let message = "the listener names no certificate";
            let path = path.field("certificateRefs");
            draft.report.error(
                Reason::InvalidCertificateRef,
                &path,
                message,
                "name a Secret of type kubernetes.io/tls",
            );
            draft.unresolved.get_or_insert((Reason::InvalidCertificateRef, message.to_owned()));
        }
    }
    draft.tls = Some(ListenerTls::Terminate { certificates, client: None });
}

fn certificates(
    reader: &Reader<'_>,
    draft: &mut Draft<'_>,
    references: &[SecretObjectReference],
    path: &FieldPath,
) -> Vec<ResourceKey> {
    let kind = match draft.owner {
        Parent::Gateway(_) => ObjectKind::Gateway,
        Parent::ListenerSet(_) => ObjectKind::ListenerSet,
    };
    let mut usable = Vec::new();
    for (n, reference) in references.iter().enumerate() {
        let from = From { kind, entry: draft.entry };
        match certificate_secret(reader, reference, &from) {
            Ok(secret) => {
                // What was there before is shown on, and it is said why.
                if let Some(problem) = outlasted(reader, &secret) {
                    let reason = Reason::InvalidCertificateRef;
                    let right = "name a Secret with tls.crt and tls.key in PEM";
                    draft.report.error(reason, &path.index(n), problem.clone(), right);
                    draft.unresolved.get_or_insert((reason, problem));
                }
                usable.push(ResourceKey::local(Kind::Certificate, secret));
            }
            Err((reason, message)) => {
                let right = match reason {
                    Reason::RefNotPermitted => "add a ReferenceGrant in the Secret's namespace",
                    _ => "name a Secret with tls.crt and tls.key in PEM",
                };
                draft.report.error(reason, &path.index(n), message.clone(), right);
                draft.unresolved.get_or_insert((reason, message));
            }
        }
    }
    usable
}

/// Why the newest version of a secret is not the one in force.
fn outlasted(reader: &Reader<'_>, name: &ObjectName) -> Option<String> {
    let problem = reader.object::<Secret>(name)?.1.problem.as_ref()?;
    Some(format!("Secret {name}: {problem}; the certificate before it stays in force"))
}

/// The secret of a certificate reference, when it may be used and holds a certificate with its key. Whether
/// the reference is permitted comes before whether it leads somewhere.
pub(in super::super) fn certificate_secret(
    reader: &Reader<'_>,
    reference: &SecretObjectReference,
    from: &From<'_>,
) -> Result<ObjectName, Problem> {
    let invalid = |message: String| Err((Reason::InvalidCertificateRef, message));
    if !reference.group.is_empty() || reference.kind != "Secret" {
        return invalid(format!(
            "a {} holds no certificate, a Secret does",
            kind_name(&reference.group, &reference.kind)
        ));
    }
    let namespace = reference.namespace.as_deref().unwrap_or(from.entry.namespace());
    let to = Referee { group: "", kind: "Secret", namespace, name: &reference.name };
    if !reader.granted(from.referee(), to) {
        let message =
            format!("Secret {namespace}/{} is in another namespace, and no grant allows it", reference.name);
        return Err((Reason::RefNotPermitted, message));
    }
    let name = ObjectName::new(namespace, reference.name.as_str());
    let Some((secret, _)) = reader.object::<Secret>(&name) else {
        return invalid(format!("there is no Secret {name}"));
    };
    match certificate::parse(secret) {
        Ok(_) => Ok(name),
        Err(problem) => invalid(format!("Secret {name}: {problem}")),
    }
}
