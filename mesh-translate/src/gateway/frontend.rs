//! Validation of client certificates on HTTPS listeners, per gateway and per port (GEP-91).

use mesh_model::listener::ClientValidation;
use mesh_model::{FieldPath, ListenerProtocol, ListenerTls, Reason};

use super::super::certificate::authorities;
use super::super::entry::Entry;
use super::super::feature::{Feature, off};
use super::super::output::{Report, kind_name};
use super::super::reader::{Reader, Referee};
use super::listener::{Draft, Problem};
use super::tls::From;
use crate::objects::listener::{self as object, FrontendTls, ValidationMode};
use crate::objects::route::ObjectReference;
use crate::objects::{Gateway, ObjectKind};
use crate::status::Condition;

/// One validation, read once for all listeners that use it.
struct Validation {
    insecure_fallback: bool,
    roots: Vec<std::sync::Arc<[u8]>>,
    problem: Option<Problem>,
}

/// Gives each HTTPS listener the validation of its port. Returns the condition that warns of clients without
/// a valid certificate.
pub(super) fn apply(
    reader: &Reader<'_>,
    gateway: &Gateway,
    entry: &Entry,
    drafts: &mut [Draft<'_>],
    report: &mut Report,
) -> Option<Condition> {
    let frontend = gateway.spec.tls.as_ref()?.frontend.as_ref()?;
    let mut insecure = false;
    for (path, ports, validation) in entries(frontend) {
        let validation = read(reader, entry, validation, &path, report);
        insecure |= validation.insecure_fallback;
        for draft in drafts.iter_mut() {
            let https = draft.protocol == Some(ListenerProtocol::Https);
            if https && ports.covers(draft.object.port) {
                give(draft, &validation);
            }
        }
    }
    let warning = "clients without a valid certificate are let in";
    insecure.then(|| {
        Condition::holds("InsecureFrontendValidationMode", "ConfigurationChanged", entry.generation())
            .saying(warning)
    })
}

/// Which ports an entry is for.
enum Ports {
    AllBut(Vec<u16>),
    One(u16),
}

impl Ports {
    fn covers(&self, port: u16) -> bool {
        match self {
            Self::AllBut(others) => !others.contains(&port),
            Self::One(own) => *own == port,
        }
    }
}

fn entries(frontend: &FrontendTls) -> Vec<(FieldPath, Ports, &object::ClientValidation)> {
    let root = FieldPath::from("spec.tls.frontend");
    let own: Vec<u16> = frontend.per_port.iter().map(|p| p.port).collect();
    let default = frontend.default.validation.as_ref();
    let mut found: Vec<_> = default
        .map(|v| (root.field("default").field("validation"), Ports::AllBut(own), v))
        .into_iter()
        .collect();
    for (n, port) in frontend.per_port.iter().enumerate() {
        if let Some(validation) = &port.tls.validation {
            let path = root.field("perPort").index(n).field("tls").field("validation");
            found.push((path, Ports::One(port.port), validation));
        }
    }
    found
}

fn read(
    reader: &Reader<'_>,
    entry: &Entry,
    validation: &object::ClientValidation,
    path: &FieldPath,
    report: &mut Report,
) -> Validation {
    let mut roots = Vec::new();
    let insecure_fallback = validation.mode == ValidationMode::AllowInsecureFallback;
    let fallback = insecure_fallback.then_some(Feature::ClientValidationFallback);
    let mut needed = fallback.into_iter().chain([Feature::ClientValidation]);
    if let Some(feature) = needed.find(|feature| !reader.settings().has(*feature)) {
        report.error(Reason::UnsupportedValue, path, off(feature), "remove it");
        let problem = Some((Reason::UnsupportedValue, off(feature)));
        return Validation { insecure_fallback: false, roots, problem };
    }
    let mut problem = None;
    for (n, reference) in validation.ca_certificate_refs.iter().enumerate() {
        match bundle(reader, entry, reference) {
            Ok(found) => roots.extend(found),
            Err((reason, message)) => {
                let path = path.field("caCertificateRefs").index(n);
                report.error(reason, &path, message.clone(), "name a ConfigMap with ca.crt in PEM");
                problem.get_or_insert((reason, message));
            }
        }
    }
    Validation { insecure_fallback, roots, problem }
}

fn bundle(
    reader: &Reader<'_>,
    entry: &Entry,
    reference: &ObjectReference,
) -> Result<Vec<std::sync::Arc<[u8]>>, Problem> {
    let (group, kind) = (reference.group.as_str(), reference.kind.as_str());
    let of_cluster = ObjectKind::ClusterTrustBundle;
    let namespace = if (group, kind) == (of_cluster.group(), of_cluster.as_str()) {
        if reference.namespace.is_some() {
            let message = format!("ClusterTrustBundle {} is in no namespace", reference.name);
            return Err((Reason::InvalidCACertificateRef, message));
        }
        ""
    } else {
        let namespace = reference.namespace.as_deref().unwrap_or(entry.namespace());
        let to = Referee { group, kind, namespace, name: &reference.name };
        if kind == "ConfigMap" && !reader.granted(From { kind: ObjectKind::Gateway, entry }.referee(), to) {
            let message = format!(
                "{kind} {namespace}/{} is in another namespace, and no grant allows it",
                reference.name
            );
            return Err((Reason::RefNotPermitted, message));
        }
        namespace
    };
    let Some(found) = authorities(reader, (group, kind), (namespace, &reference.name)) else {
        let message = format!("a {} holds no CA certificates, a ConfigMap does", kind_name(group, kind));
        return Err((Reason::InvalidCACertificateKind, message));
    };
    let named = match namespace {
        "" => reference.name.clone(),
        namespace => format!("{namespace}/{}", reference.name),
    };
    found.map_err(|problem| (Reason::InvalidCACertificateRef, format!("{kind} {named}: {problem}")))
}

fn give(draft: &mut Draft<'_>, validation: &Validation) {
    if let Some(problem) = &validation.problem {
        draft.unresolved.get_or_insert_with(|| problem.clone());
    }
    if validation.roots.is_empty() {
        let message = "no CA certificate for clients can be used".to_owned();
        draft.refused.get_or_insert((Reason::NoValidCACertificate, message));
    }
    if let Some(ListenerTls::Terminate { client, .. }) = &mut draft.tls {
        *client = Some(ClientValidation {
            roots: validation.roots.clone(),
            insecure_fallback: validation.insecure_fallback,
        });
    }
}
