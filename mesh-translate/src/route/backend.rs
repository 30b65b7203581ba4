//! What a rule forwards to: references to services and backends, checked for kind, permission and existence.

use std::sync::Arc;

use mesh_model::backend::Target;
use mesh_model::{Attachment, FieldPath, Finding, ObjectName, Reason, Transport};

use super::super::entry::Entry;
use super::super::feature::{Feature, off};
use super::super::node::Index;
use super::super::output::kind_name;
use super::super::reader::{Reader, Referee};
use super::super::service::transport;
use super::super::suggest::did_you_mean;
use super::super::xbackend::{self, Carries};
use super::rules::Rules;
use crate::objects::service::ServiceType;
use crate::objects::{BackendObjectReference, BackendRef, ObjectKind, Service, group};

/// For whom rules are read: permissions and defaults differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Side {
    /// Gateways: references across namespaces need a grant.
    Gateway,
    /// A service: no grant is needed, and no backends means the service's own endpoints.
    Service(ObjectName, Option<u16>),
}

impl Side {
    pub(super) fn of(attachment: &Attachment) -> Self {
        match attachment {
            Attachment::Listener(_) => Self::Gateway,
            Attachment::Service { service, port } => Self::Service(service.clone(), *port),
        }
    }
}

/// A reference of any route kind.
#[derive(Clone, Copy)]
pub(super) struct Reference<'a> {
    pub(super) group: &'a str,
    pub(super) kind: &'a str,
    pub(super) namespace: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) port: Option<u16>,
}

impl<'a> Reference<'a> {
    pub(super) fn weighted<F>(from: &'a BackendRef<F>) -> Self {
        let namespace = from.namespace.as_deref();
        Self { group: &from.group, kind: &from.kind, namespace, name: &from.name, port: from.port }
    }

    pub(super) fn plain(from: &'a BackendObjectReference) -> Self {
        let namespace = from.namespace.as_deref();
        Self { group: &from.group, kind: &from.kind, namespace, name: &from.name, port: from.port }
    }
}

/// Why a reference cannot be used: the reason, the field, a sentence, and what would be right.
type Unresolved = (Reason, &'static str, String, String);

impl Rules<'_, '_> {
    /// Where a reference leads. One that leads nowhere is reported and answers with an error.
    pub(super) fn target(&mut self, reference: Reference<'_>, path: &FieldPath) -> Target {
        let namespace = reference.namespace.unwrap_or(self.entry.namespace());
        let name = ObjectName::new(namespace, reference.name);
        let found = match (reference.group, reference.kind) {
            ("" | "core", "Service") => self.service(reference, &name).map(|port| (name.clone(), port)),
            (group::EXPERIMENTAL, "XBackend") => self.own_kind(&name),
            (group, kind) => {
                let message = format!("a {} cannot be a backend", kind_name(group, kind));
                Err((Reason::InvalidKind, "kind", message, "name a Service".to_owned()))
            }
        };
        found.map_or_else(
            |(reason, field, message, right)| {
                let path = if field.is_empty() { path.clone() } else { path.field(field) };
                self.outcome.unresolved(reason, &message);
                self.report(reason, &path, message, right);
                let port = reference.port.map(|port| format!(":{port}")).unwrap_or_default();
                let reference = Arc::from(format!("{} {name}{port}", reference.kind));
                Target::Invalid { reason, reference }
            },
            |(service, port)| Target::Service { service, port },
        )
    }

    /// Whether the object may refer to another one; across namespaces it needs a grant.
    fn permitted(&self, group: &str, kind: &str, name: &ObjectName) -> Result<(), Unresolved> {
        let from = Referee {
            group: self.entry.object.kind().group(),
            kind: self.entry.object.kind().as_str(),
            namespace: self.entry.namespace(),
            name: &self.entry.source.object.name,
        };
        let to = Referee { group, kind, namespace: &name.namespace, name: &name.name };
        if self.reader.granted(from, to) {
            return Ok(());
        }
        let message = format!("{kind} {name} is in another namespace, and no grant allows it");
        let right = format!("add a ReferenceGrant in namespace {}", name.namespace);
        Err((Reason::RefNotPermitted, "namespace", message, right))
    }

    /// A backend of its own kind. It may hold what others must not use, so that it needs a grant on the mesh side too.
    fn own_kind(&mut self, name: &ObjectName) -> Result<(ObjectName, u16), Unresolved> {
        self.permitted(group::EXPERIMENTAL, "XBackend", name)?;
        let carries = match self.entry.object.kind() {
            ObjectKind::GrpcRoute => Carries::Grpc,
            // Listeners ask authorization services, and policies send spans.
            ObjectKind::Gateway
            | ObjectKind::HttpRoute
            | ObjectKind::ListenerSet
            | ObjectKind::XTelemetryPolicy => Carries::Http,
            ObjectKind::UdpRoute => Carries::Datagrams,
            _ => Carries::Bytes,
        };
        let found = xbackend::resolve(self.reader, name, (carries, *self.side == Side::Gateway));
        found.map_err(|(reason, message, right)| {
            // Its status says so for the gateways of the route.
            self.outcome.mentioned.insert(xbackend::service_name(name));
            (reason, "name", message, right)
        })
    }

    fn service(&self, reference: Reference<'_>, service: &ObjectName) -> Result<u16, Unresolved> {
        if *self.side == Side::Gateway {
            self.permitted("", "Service", service)?;
        }
        let Some(object) = self.reader.service(service) else {
            let services = self.reader.members::<Service>(Index::Services(service.namespace.to_string()));
            let names: Vec<&str> = services.iter().filter_map(|(s, _)| s.metadata.name.as_deref()).collect();
            let right = did_you_mean(&service.name, names);
            return Err((Reason::BackendNotFound, "name", format!("there is no Service {service}"), right));
        };
        if object.spec.kind == ServiceType::ExternalName {
            let message = format!("Service {service} is only a DNS name, which cannot be a backend");
            return Err((
                Reason::UnsupportedValue,
                "name",
                message,
                "name a Service with endpoints".to_owned(),
            ));
        }
        let udp = self.entry.object.kind() == ObjectKind::UdpRoute;
        let wanted = if udp { Transport::Udp } else { Transport::Tcp };
        let carried = || object.spec.ports.iter().filter(|p| transport(p.protocol) == Some(wanted));
        let ports = || carried().map(|p| p.port.to_string()).collect::<Vec<_>>().join(", ");
        let Some(port) = reference.port else {
            let message = format!("a reference to Service {service} needs a port");
            return Err((Reason::BackendNotFound, "", message, format!("its ports are {}", ports())));
        };
        let declared = carried().find(|p| p.port == port).and_then(|p| p.app_protocol.as_deref());
        if let Some(feature) = declared.and_then(|declared| self.lacks_protocol(declared)) {
            return Err((Reason::UnsupportedProtocol, "port", off(feature), String::new()));
        }
        if !carried().any(|p| p.port == port) {
            let message = format!("Service {service} has no {} port {port}", if udp { "UDP" } else { "TCP" });
            return Err((Reason::BackendNotFound, "port", message, format!("its ports are {}", ports())));
        }
        Ok(port)
    }

    /// The feature that is off and that a backend of this protocol needs.
    fn lacks_protocol(&self, declared: &str) -> Option<Feature> {
        let feature = match declared {
            "kubernetes.io/h2c" => Feature::BackendH2c,
            "kubernetes.io/ws" => Feature::BackendWebSocket,
            _ => return None,
        };
        let http = self.entry.object.kind() == ObjectKind::HttpRoute;
        (http && !self.reader.settings().has(feature)).then_some(feature)
    }
}

/// What is wrong with a reference: findings, and why it leads nowhere.
type Wrong = (Vec<Finding>, Option<(Reason, String)>);

/// Where a reference of another object than a route leads, with what a gateway may reach.
pub(in super::super) fn reference(
    reader: &Reader<'_>,
    entry: &Entry,
    written: &BackendObjectReference,
    path: &FieldPath,
) -> (Target, Wrong) {
    let mut rules = Rules::new(reader, entry, &Side::Gateway);
    let target = rules.target(Reference::plain(written), path);
    (target, (rules.outcome.findings, rules.outcome.unresolved))
}
