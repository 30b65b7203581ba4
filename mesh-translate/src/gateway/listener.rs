//! One listener: what its own fields say. Conflicts with others are decided elsewhere.

use std::sync::Arc;

use mesh_model::filter::ExternalAuth;
use mesh_model::tracing::Tracing;
use mesh_model::{
    FieldPath, HostPattern, Kind, Listener, ListenerProtocol, ListenerTls, ObjectName, Reason, ResourceKey,
    RouteKind, Transport,
};

use super::super::Settings;
use super::super::entry::Entry;
use super::super::fact::{ListenerReport, ListenerView};
use super::super::feature::{self, Feature};
use super::super::node::Parent;
use super::super::output::{Report, kind_name};
use super::super::reader::Reader;
use super::{filters, tls};
use crate::objects::group;
use crate::objects::listener as object;
use crate::status::{Condition, SupportedKind};

/// A problem with its words.
pub(super) type Problem = (Reason, String);

/// A listener on its way.
pub(super) struct Draft<'a> {
    pub(super) owner: Parent,
    pub(super) entry: &'a Entry,
    pub(super) object: &'a object::Listener,
    pub(super) path: FieldPath,
    pub(super) key: ResourceKey,
    pub(super) protocol: Option<ListenerProtocol>,
    pub(super) hostname: HostPattern,
    pub(super) kinds: Vec<RouteKind>,
    pub(super) tls: Option<ListenerTls>,
    /// The certificate that the gateway shows to backends.
    pub(super) backend_certificate: Option<ResourceKey>,
    /// What requests must pass before a route is chosen.
    pub(super) filters: Vec<ExternalAuth>,
    /// How requests are traced, where a policy says so.
    pub(super) tracing: Option<Arc<Tracing>>,
    /// Why the listener is not accepted.
    pub(super) refused: Option<Problem>,
    /// Why it conflicts with a listener of higher precedence.
    pub(super) conflict: Option<Problem>,
    /// The first reference that leads nowhere.
    pub(super) unresolved: Option<Problem>,
    /// Why it cannot be served, although accepted.
    pub(super) unusable: Option<Problem>,
    pub(super) report: Report,
}

impl<'a> Draft<'a> {
    pub(super) fn read(
        reader: &Reader<'_>,
        listener: &'a object::Listener,
        (owner, entry): (Parent, &'a Entry),
        path: FieldPath,
    ) -> Self {
        let key = match &owner {
            Parent::Gateway(name) => {
                ResourceKey::local_part(Kind::Listener, name.clone(), listener.name.as_str())
            }
            Parent::ListenerSet(name) => ResourceKey::local_part(
                Kind::Listener,
                name.clone(),
                format!("ListenerSet/{}", listener.name),
            ),
        };
        let mut draft = Self {
            owner,
            entry,
            object: listener,
            path,
            key,
            protocol: protocol(&listener.protocol),
            hostname: HostPattern::Any,
            kinds: Vec::new(),
            tls: None,
            backend_certificate: None,
            filters: Vec::new(),
            tracing: None,
            refused: None,
            conflict: None,
            unresolved: None,
            unusable: None,
            report: Report::on(&entry.source),
        };
        draft.read_protocol();
        draft.read_hostname();
        draft.read_kinds(reader.settings());
        if draft.object.port == 8080 && !reader.settings().has(Feature::Port8080) {
            let right = "use another port";
            draft.refuse(Reason::PortUnavailable, "port", feature::off(Feature::Port8080), right);
        }
        filters::read(reader, &mut draft);
        tls::read(reader, &mut draft);
        draft
    }

    fn read_protocol(&mut self) {
        if self.protocol.is_none() {
            let message = format!("protocol {:?} is not supported", self.object.protocol);
            self.refuse(Reason::UnsupportedProtocol, "protocol", message, "use HTTP, HTTPS, TLS, TCP or UDP");
        }
    }

    fn read_hostname(&mut self) {
        let Some(text) = &self.object.hostname else { return };
        match text.parse() {
            Ok(hostname) => self.hostname = hostname,
            Err(error) => {
                self.refuse(
                    Reason::InvalidValue,
                    "hostname",
                    format!("{text:?}: {error}"),
                    "write a DNS name",
                );
            }
        }
    }

    fn read_kinds(&mut self, settings: &Settings) {
        let carried = self.protocol.map_or(&[][..], carried);
        let carried: Vec<_> = carried.iter().copied().filter(|kind| settings.has(of_kind(*kind))).collect();
        let written = &self.object.allowed_routes.kinds;
        if written.is_empty() {
            self.kinds = carried;
            return;
        }
        let list = self.path.field("allowedRoutes").field("kinds");
        for (n, kind) in written.iter().enumerate() {
            let found = carried.iter().find(|c| kind.group == group::GATEWAY && kind.kind == c.as_str());
            match found {
                Some(found) => self.kinds.push(*found),
                None => {
                    let names: Vec<&str> = carried.iter().map(|kind| kind.as_str()).collect();
                    let protocol = &self.object.protocol;
                    let name = if kind.group == group::GATEWAY { "" } else { &kind.group };
                    let name = kind_name(name, &kind.kind);
                    let message = format!("an {protocol} listener cannot take {name}");
                    let right = format!("it takes {}", names.join(", "));
                    self.report.error(Reason::InvalidRouteKinds, &list.index(n), message.clone(), right);
                    self.unresolved.get_or_insert((Reason::InvalidRouteKinds, message));
                }
            }
        }
    }

    /// Notes a problem that keeps the listener from being accepted.
    pub(super) fn refuse(&mut self, reason: Reason, field: &str, message: String, right: &str) {
        self.report.error(reason, &self.path.field(field), message.clone(), right);
        self.refused.get_or_insert((reason, message));
    }

    /// TCP or UDP, when the protocol is known.
    pub(super) fn transport(&self) -> Option<Transport> {
        let udp = |p| if p == ListenerProtocol::Udp { Transport::Udp } else { Transport::Tcp };
        self.protocol.map(udp)
    }

    pub(super) fn accepted(&self) -> bool {
        self.refused.is_none() && self.conflict.is_none()
    }

    fn programmed(&self) -> bool {
        self.accepted() && self.unusable.is_none()
    }

    /// The listener as routes see it.
    pub(super) fn view(&self, gateway: &ObjectName) -> ListenerView {
        ListenerView {
            gateway: gateway.clone(),
            key: self.key.clone(),
            name: self.object.name.clone(),
            port: self.object.port,
            protocol: self.protocol,
            hostname: self.hostname.clone(),
            accepted: self.accepted(),
            kinds: self.kinds.clone(),
            namespaces: self.object.allowed_routes.namespaces.clone(),
        }
    }

    /// The resource, when the listener can be served.
    pub(super) fn resource(&self, gateway: &ObjectName) -> Option<Listener> {
        let protocol = self.protocol.filter(|_| self.programmed())?;
        Some(Listener {
            key: self.key.clone(),
            source: self.entry.source.clone(),
            gateway: gateway.clone(),
            name: self.object.name.as_str().into(),
            port: self.object.port,
            protocol,
            hostname: self.hostname.clone(),
            tls: self.tls.clone(),
            backend_certificate: self.backend_certificate.clone(),
            filters: self.filters.clone(),
            tracing: self.tracing.clone(),
        })
    }

    pub(super) fn report_for_status(&self, gateway_generation: Option<i64>) -> ListenerReport {
        let generation = match self.owner {
            Parent::Gateway(_) => gateway_generation,
            Parent::ListenerSet(_) => self.entry.generation(),
        };
        let refused = self.refused.as_ref().or(self.conflict.as_ref());
        let mut conditions = vec![
            Condition::unless("Accepted", refused, generation),
            match (refused, &self.unusable) {
                (None, Some((_, message))) => {
                    Condition::fails("Programmed", "Invalid", message.as_str(), generation)
                }
                _ => Condition::unless("Programmed", refused, generation),
            },
            Condition::unless("ResolvedRefs", self.unresolved.as_ref(), generation),
        ];
        conditions.push(match &self.conflict {
            Some((reason, message)) => {
                Condition::holds("Conflicted", reason.as_str(), generation).saying(message.as_str())
            }
            None => Condition::fails("Conflicted", "NoConflicts", "", generation),
        });
        let supported = |kind: &RouteKind| SupportedKind { group: group::GATEWAY, kind: kind.as_str() };
        ListenerReport {
            owner: self.owner.clone(),
            name: self.object.name.clone(),
            key: self.key.clone(),
            supported: self.kinds.iter().map(supported).collect(),
            accepted: self.accepted(),
            programmed: self.programmed(),
            conditions,
        }
    }
}

fn protocol(text: &str) -> Option<ListenerProtocol> {
    Some(match text {
        "HTTP" => ListenerProtocol::Http,
        "HTTPS" => ListenerProtocol::Https,
        "TCP" => ListenerProtocol::Tcp,
        "TLS" => ListenerProtocol::Tls,
        "UDP" => ListenerProtocol::Udp,
        _ => return None,
    })
}

fn of_kind(kind: RouteKind) -> Feature {
    match kind {
        RouteKind::Grpc => Feature::GrpcRoute,
        RouteKind::Http => Feature::HttpRoute,
        RouteKind::Tcp => Feature::TcpRoute,
        RouteKind::Tls => Feature::TlsRoute,
        RouteKind::Udp => Feature::UdpRoute,
    }
}

/// The kinds of routes that a protocol can carry.
fn carried(protocol: ListenerProtocol) -> &'static [RouteKind] {
    match protocol {
        ListenerProtocol::Http | ListenerProtocol::Https => &[RouteKind::Http, RouteKind::Grpc],
        ListenerProtocol::Tcp => &[RouteKind::Tcp],
        ListenerProtocol::Tls => &[RouteKind::Tls],
        ListenerProtocol::Udp => &[RouteKind::Udp],
    }
}
