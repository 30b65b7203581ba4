//! Backends of their own kind (`XBackend`, GEP-4894): pods by labels, or a name outside of the cluster, with what is
//! spoken to them. Routes see them as services of a name that no Service can have.

mod endpoints;

use std::sync::Arc;

use mesh_model::tls::{ClientCertificate, Roots};
use mesh_model::{
    AppProtocol, BackendTls, FieldPath, Kind, ObjectName, Reason, Resource, ResourceKey, ServicePort,
    Session, Severity, Transport,
};

use super::backend_tls::{issuers, names, no_root, users_of};
use super::entry::Entry;
use super::fact::Fact;
use super::gateway::{From as Referrer, certificate_secret};
use super::node::{Index, Topic, gateway_reference};
use super::output::{Output, Report};
use super::reader::Reader;
use super::session::{self, Owner};
use super::suggest::did_you_mean;
use crate::objects::experimental::{
    BackendProtocol, BackendSpec, BackendTls as WrittenTls, BackendTlsMode, BackendType,
};
use crate::objects::{ObjectKind, XBackend};
use crate::status::{Condition, ObjectStatus, ParentStatus, StatusBody};

/// What ends the name of a backend among services: a Service's own name holds no dot.
const SUFFIX: &str = ".xbackend";

/// Something wrong with its field, and what would be right.
type Wrong = (Reason, FieldPath, String, &'static str);
/// Why a reference cannot be used: the reason, a sentence, and what would be right.
pub(super) type Unusable = (Reason, String, String);

/// What a route sends to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// Opaque bytes.
    Bytes,
    /// Datagrams.
    Datagrams,
    /// Calls.
    Grpc,
    /// Requests.
    Http,
}

/// A backend as the service that routes lead to.
pub(super) fn service_name(backend: &ObjectName) -> ObjectName {
    ObjectName::new(Arc::clone(&backend.namespace), format!("{}{SUFFIX}", backend.name))
}

/// Whether what looks like a service is a backend.
pub(super) fn is_backend(service: &ObjectName) -> bool {
    service.name.ends_with(SUFFIX)
}

/// The service and port behind a reference to a backend, for what a route carries. `by_gateway` says who follows the
/// reference: only gateways have certificates to show.
pub(super) fn resolve(
    reader: &Reader<'_>,
    name: &ObjectName,
    (carries, by_gateway): (Carries, bool),
) -> Result<(ObjectName, u16), Unusable> {
    let Some((object, _)) = reader.object::<XBackend>(name) else {
        let others = reader.members::<XBackend>(Index::Backends(name.namespace.to_string()));
        let names: Vec<&str> = others.iter().filter_map(|(b, _)| b.metadata.name.as_deref()).collect();
        let right = did_you_mean(&name.name, names);
        return Err((Reason::BackendNotFound, format!("there is no XBackend {name}"), right));
    };
    let spec = &object.spec;
    let port = match (refused(reader, spec), spec.port.number) {
        (None, Some(port)) => port,
        (refused, _) => {
            let why = refused.map_or_else(|| "it names no port".to_owned(), |(_, _, message, _)| message);
            let message = format!("XBackend {name} cannot be used: {why}");
            return Err((Reason::UnsupportedValue, message, String::new()));
        }
    };
    if !fits(spec, carries) {
        let message = format!("what XBackend {name} speaks is not what this route carries");
        return Err((Reason::UnsupportedProtocol, message, "change its protocol, or its tls".to_owned()));
    }
    if spec.tls.mode == BackendTlsMode::ClientAndServer && !by_gateway {
        let message =
            format!("XBackend {name} is shown a certificate, which gateways have and workloads do not");
        return Err((Reason::UnsupportedValue, message, "reach it through a Gateway".to_owned()));
    }
    Ok((service_name(name), port))
}

/// Whether what a route carries can be spoken to the backend. Opaque bytes negotiate no protocol, so that one which is
/// named for them would not be.
fn fits(spec: &BackendSpec, carries: Carries) -> bool {
    use BackendProtocol::{Grpc, H2C, Http, Http2, Tcp};
    match (carries, spec.protocol) {
        (Carries::Datagrams, protocol) => protocol.is_none() && spec.tls.mode == BackendTlsMode::None,
        (Carries::Bytes, protocol) => matches!(protocol, None | Some(Tcp)),
        (Carries::Grpc, protocol) => matches!(protocol, None | Some(Grpc | H2C | Http | Http2)),
        (Carries::Http, protocol) => protocol != Some(Tcp),
    }
}

/// Why nothing leads to a backend. Its definition has refused most of what is wrong before.
fn refused(reader: &Reader<'_>, spec: &BackendSpec) -> Option<Wrong> {
    let path = FieldPath::from("spec");
    if spec.protocol == Some(BackendProtocol::Mcp) {
        let message = "the Model Context Protocol is not known here".to_owned();
        return Some((Reason::UnsupportedProtocol, path.field("protocol"), message, "use HTTP"));
    }
    let hostname = &spec.external_hostname.as_ref()?.hostname;
    let path = path.field("externalHostname").field("hostname");
    // A name whose last part is a number is read as an address (WHATWG URL, section 3.5).
    let last = hostname.rsplit('.').next().unwrap_or_default();
    if last.starts_with(|c: char| c.is_ascii_digit()) && last.parse::<u64>().is_ok() {
        let message = format!("{hostname:?} is an address, not a name");
        return Some((Reason::InvalidValue, path, message, "write a name"));
    }
    let domain = reader.settings().trust_domain.to_string();
    let inside = [domain.as_str(), "cluster.local"].into_iter();
    let inside = inside.filter_map(|domain| hostname.strip_suffix(domain));
    if inside.into_iter().any(|rest| rest.is_empty() || rest.ends_with('.')) {
        let message = format!("{hostname:?} is a name of this cluster");
        return Some((Reason::InvalidValue, path, message, "use endpointSelector"));
    }
    None
}

/// The backend as a service with its endpoints.
pub(super) fn backend(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let (object, entry) = reader.object::<XBackend>(name)?;
    let mut output = Output::default();
    let mut report = Report::on(&entry.source);
    let spec = &object.spec;
    let session = session(reader, entry, spec).unwrap_or_else(|(reason, path, message, right)| {
        report.error(reason, &path, message, right);
        None
    });
    if spec.kind == BackendType::ExternalHostname && spec.tls.mode == BackendTlsMode::None {
        let message = "what is sent there travels in plain text outside of the mesh";
        report.warning(
            Reason::UnsupportedValue,
            &FieldPath::from("spec.tls.mode"),
            message,
            "use ServerOnly",
        );
        if let Some(note) = report.findings.last_mut() {
            note.severity = Severity::Note;
        }
    }
    output.findings = report.findings;
    let (None, Some(port)) = (refused(reader, spec), spec.port.number) else { return Some(output) };
    let service_name = service_name(name);
    let service = mesh_model::Service {
        key: ResourceKey::local(Kind::Service, service_name.clone()),
        source: entry.source.clone(),
        name: service_name,
        addresses: Vec::new(),
        ports: ports(spec, port),
        retry_budget: None,
        session,
        hostname: spec.external_hostname.as_ref().map(|outside| Arc::from(outside.hostname.as_str())),
    };
    output.resources = endpoints::of_backend(reader, entry, spec, &service);
    output.resources.push(Resource::Service(Arc::new(service)));
    if let Some(Ok(secret)) = certificate(reader, entry, &spec.tls) {
        output.facts.insert(Topic::Wanted(secret), Fact::Wanted);
    }
    Some(output)
}

fn ports(spec: &BackendSpec, port: u16) -> Vec<ServicePort> {
    let protocol = match spec.protocol {
        None | Some(BackendProtocol::Http | BackendProtocol::Mcp) => AppProtocol::Detect,
        Some(BackendProtocol::Grpc) => AppProtocol::Grpc,
        Some(BackendProtocol::H2C | BackendProtocol::Http2) => AppProtocol::Http2,
        Some(BackendProtocol::Http11) => AppProtocol::Http1,
        Some(BackendProtocol::Tcp) => AppProtocol::Tcp,
        Some(BackendProtocol::Wss) => AppProtocol::WebSocket,
    };
    let of = |transport| ServicePort { name: Arc::from(""), port, transport, protocol };
    let datagrams = fits(spec, Carries::Datagrams).then(|| of(Transport::Udp));
    [of(Transport::Tcp)].into_iter().chain(datagrams).collect()
}

fn session(reader: &Reader<'_>, entry: &Entry, spec: &BackendSpec) -> Result<Option<Arc<Session>>, Wrong> {
    let Some(written) = &spec.session_persistence else { return Ok(None) };
    let keyed = format!("XBackend {}", entry.name());
    let owner = Owner { source: &entry.source, keyed: &keyed, named: &keyed };
    let path = FieldPath::from("spec.sessionPersistence");
    let read = session::session(reader, owner, written, &path).map(Some);
    read.map_err(|(path, message, right)| (Reason::UnsupportedValue, path, message, right))
}

/// The secret with the certificate that the backend is shown, if it is shown one.
fn certificate(
    reader: &Reader<'_>,
    entry: &Entry,
    tls: &WrittenTls,
) -> Option<Result<ObjectName, (Reason, String)>> {
    let reference = tls.client_certificate_ref.as_ref()?;
    Some(certificate_secret(reader, reference, &Referrer { kind: ObjectKind::XBackend, entry }))
}

/// TLS towards the backend, and what is said of it: one entry per gateway that uses it.
pub(super) fn usage(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let (object, entry) = reader.object::<XBackend>(name)?;
    let spec = &object.spec;
    let gateways: Vec<ObjectName> = users_of(reader, service_name(name)).into_iter().collect();
    let mut report = Report::on(&entry.source);
    let refused = refused(reader, spec).map(|(reason, path, message, right)| {
        report.error(reason, &path, message.clone(), right);
        (reason, message)
    });
    let unusable_session =
        session(reader, entry, spec).err().map(|(reason, _, message, _)| (reason, message));
    let mut output = Output::default();
    let (mut rootless, mut unresolved) = (None, None);
    if let Some(tls) = tls(reader, (name, entry), spec, (&gateways, &mut report, &mut unresolved)) {
        rootless = no_root(&tls.roots);
        output.resources.push(Resource::BackendTls(Arc::new(tls)));
    }
    output.findings = report.findings;
    let accepted = refused.or(unusable_session).or(rootless);
    let conditions = vec![
        Condition::unless("Accepted", accepted.as_ref(), entry.generation()),
        Condition::unless("ResolvedRefs", unresolved.as_ref(), entry.generation()),
    ];
    let ancestor = |gateway: &ObjectName| ParentStatus {
        parent_ref: gateway_reference(gateway),
        controller_name: reader.settings().controller_name.clone(),
        conditions: conditions.clone(),
    };
    let ancestors: Vec<_> = gateways.iter().map(ancestor).collect();
    if !ancestors.is_empty() {
        let body = StatusBody::Ancestors { ancestors };
        output.statuses.push(ObjectStatus { kind: ObjectKind::XBackend, name: name.clone(), body });
    }
    Some(output)
}

/// Where problems with references go.
type Notes<'n> = (&'n [ObjectName], &'n mut Report, &'n mut Option<(Reason, String)>);

/// TLS towards the backend; `None` when it is spoken to in plain text. What cannot be used closes the backend: without
/// its roots, or the certificate that it is to be shown, every connection fails.
fn tls(
    reader: &Reader<'_>,
    (name, entry): (&ObjectName, &Entry),
    spec: &BackendSpec,
    (gateways, report, unresolved): Notes<'_>,
) -> Option<BackendTls> {
    let validation = match (&spec.tls.mode, &spec.tls.validation) {
        (BackendTlsMode::None, _) | (_, None) => return None,
        (_, Some(validation)) => validation,
    };
    let path = FieldPath::from("spec.tls");
    let mut trust = issuers(reader, validation, &path.field("validation"), &name.namespace);
    for (path, (reason, message)) in trust.problems {
        report.error(reason, &path, message.clone(), "name a ConfigMap of this namespace with ca.crt in PEM");
        unresolved.get_or_insert((reason, message));
    }
    let mut client = None;
    match certificate(reader, entry, &spec.tls) {
        Some(Ok(secret)) => {
            let certificate = ResourceKey::local(Kind::Certificate, secret);
            client = Some(ClientCertificate { certificate, gateways: gateways.to_vec() });
        }
        Some(Err((reason, message))) => {
            let reason = match reason {
                Reason::RefNotPermitted => reason,
                _ => Reason::InvalidClientCertificateRef,
            };
            let right = "name a Secret with tls.crt and tls.key in PEM that may be referred to";
            report.error(reason, &path.field("clientCertificateRef"), message.clone(), right);
            unresolved.get_or_insert((reason, message));
            trust.roots = Roots::None;
        }
        None => {}
    }
    let service = service_name(name);
    Some(BackendTls {
        key: ResourceKey::local(Kind::BackendTls, service.clone()),
        source: entry.source.clone(),
        service,
        port: None,
        hostname: Arc::from(validation.hostname.as_str()),
        names: names(validation),
        roots: trust.roots,
        client,
    })
}
