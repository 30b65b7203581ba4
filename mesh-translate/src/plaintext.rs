//! Where workloads let clients in that prove no identity: `PeerAuthentication` of the mesh, the namespace, the workload
//! and the port, the nearest one that says something. Where none does, every client must prove who it is.

use std::collections::BTreeMap;

use mesh_model::{FieldPath, ObjectName, Plaintext, Reason};

use super::entry::Entry;
use super::node::Index;
use super::output::{Output, Report};
use super::reader::Reader;
use crate::objects::meta::TextMap;
use crate::objects::security::{MutualTls, PeerAuthenticationSpec, TlsMode};
use crate::objects::{ObjectKind, PeerAuthentication};
use crate::status::{Condition, ObjectStatus, StatusBody};

/// What is said about one object.
pub(super) fn policy(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let (object, entry) = reader.object::<PeerAuthentication>(name)?;
    let mut report = Report::on(&entry.source);
    let (spec, path) = (&object.spec, FieldPath::from("spec"));
    let ports = path.field("portLevelMtls");
    let written = spec.mtls.iter().map(|tls| (path.field("mtls"), tls));
    let of_ports = spec.port_level_mtls.iter().map(|(port, tls)| (ports.field(port), tls));
    for (path, tls) in written.chain(of_ports) {
        if tls.mode == Some(TlsMode::Disable) {
            let help = "use PERMISSIVE, or take the sidecar away with the label mesh.io/mode=none";
            let message = "a sidecar cannot stop answering mutual TLS; the mode counts as STRICT";
            report.error(Reason::UnsupportedValue, &path.field("mode"), message, help);
        }
    }
    for port in spec.port_level_mtls.keys().filter(|port| number(port).is_none()) {
        let message = format!("{port:?} is no port");
        report.error(Reason::InvalidValue, &ports.field(port), message, "write a number from 1 to 65535");
    }
    if !spec.port_level_mtls.is_empty() && !selects(spec) {
        let message = "ports are looked at only beside a selector of workloads";
        report.error(Reason::InvalidValue, &ports, message, "add spec.selector.matchLabels");
    }
    let refused = report.findings.first().map(|finding| (finding.reason, finding.message.clone()));
    let accepted = Condition::unless("Accepted", refused.as_ref(), entry.generation());
    let body = StatusBody::Conditions { conditions: vec![accepted] };
    let status = ObjectStatus { kind: ObjectKind::PeerAuthentication, name: name.clone(), body };
    Some(Output { findings: report.findings, statuses: vec![status], ..Output::default() })
}

/// What holds for a workload with these labels.
pub(super) fn of_workload(reader: &Reader<'_>, namespace: &str, labels: &TextMap) -> Plaintext {
    let own = seniors(reader, namespace);
    let root = reader.settings().root_namespace.as_deref().filter(|root| *root != namespace);
    let above = root.map(|root| seniors(reader, root)).unwrap_or_default();
    let wide = |found: &[(&PeerAuthentication, &Entry)]| {
        let unselective = found.iter().map(|(object, _)| &object.spec).filter(|spec| !selects(spec));
        unselective.into_iter().find_map(|spec| plain(spec.mtls.as_ref()))
    };
    let chosen =
        own.iter().map(|(object, _)| &object.spec).find(|spec| selects(spec) && matches(spec, labels));
    let elsewhere =
        chosen.and_then(|spec| plain(spec.mtls.as_ref())).or_else(|| wide(&own)).or_else(|| wide(&above));
    let written = chosen.into_iter().flat_map(|spec| &spec.port_level_mtls);
    let ports = written.filter_map(|(port, tls)| Some((number(port)?, plain(Some(tls))?)));
    Plaintext { elsewhere: elsewhere.unwrap_or(false), ports: ports.collect::<BTreeMap<_, _>>() }
}

/// The objects of a namespace; of two for the same workloads the older one counts.
fn seniors<'a>(reader: &Reader<'a>, namespace: &str) -> Vec<(&'a PeerAuthentication, &'a Entry)> {
    let mut found = reader.members::<PeerAuthentication>(Index::PeerAuthentications(namespace.to_owned()));
    found.sort_by_key(|(_, entry)| entry.seniority());
    found
}

fn selects(spec: &PeerAuthenticationSpec) -> bool {
    spec.selector.as_ref().is_some_and(|selector| !selector.match_labels.is_empty())
}

fn matches(spec: &PeerAuthenticationSpec, labels: &TextMap) -> bool {
    let wanted = spec.selector.iter().flat_map(|selector| &selector.match_labels);
    wanted.into_iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether plain text enters; `None` where nothing is said.
fn plain(tls: Option<&MutualTls>) -> Option<bool> {
    match tls?.mode? {
        TlsMode::Disable | TlsMode::Strict => Some(false),
        TlsMode::Permissive => Some(true),
        TlsMode::Unset => None,
    }
}

fn number(port: &str) -> Option<u16> {
    port.parse().ok().filter(|number| *number != 0)
}
