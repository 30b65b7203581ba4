//! Services: addresses, ports, and what is spoken there. Endpoints are in their own file.

mod endpoints;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_model::{
    AppProtocol, FieldPath, Kind, ObjectName, Reason, Resource, ResourceKey, ServicePort, Severity, Transport,
};

use super::fact::Fact;
use super::node::{Index, Topic};
use super::output::{Output, Report};
use super::reader::Reader;
use crate::local::{AddressClaim, allocate};
use crate::objects::Service;
use crate::objects::service::{
    IpFamily, IpFamilyPolicy, ServiceSpec, ServiceType, SessionAffinity, TrafficPolicy, TransportProtocol,
};

pub(super) use endpoints::endpoints;

/// What a service without virtual address writes in `clusterIP`.
const HEADLESS: &str = "None";

/// Whether routes may name the service as parent: it has, or will be given, a virtual address.
pub(super) fn has_address(service: &Service) -> bool {
    service.spec.kind != ServiceType::ExternalName && service.spec.cluster_ip.as_deref() != Some(HEADLESS)
}

/// The model's transport; `None` for what the mesh does not carry.
pub(super) fn transport(protocol: TransportProtocol) -> Option<Transport> {
    match protocol {
        TransportProtocol::Sctp => None,
        TransportProtocol::Tcp => Some(Transport::Tcp),
        TransportProtocol::Udp => Some(Transport::Udp),
    }
}

/// Addresses of all services, decided together so that none is given twice.
pub(super) fn addresses(reader: &Reader<'_>) -> Output {
    let mut output = Output::default();
    let mut claims = BTreeMap::new();
    let mut holders: BTreeMap<IpAddr, ObjectName> = BTreeMap::new();
    for (service, entry) in reader.members::<Service>(Index::AllServices) {
        let mut claim = claim(reader, service);
        let mut report = Report::on(&entry.source);
        claim.written.retain(|address| match holders.get(address) {
            Some(holder) => {
                let message = format!("address {address} belongs to service {holder} already");
                report.error(
                    Reason::Conflicted,
                    &FieldPath::from("spec.clusterIP"),
                    message,
                    "choose another",
                );
                false
            }
            None => holders.insert(*address, entry.name()).is_none(),
        });
        output.findings.append(&mut report.findings);
        claims.insert(entry.name(), claim);
    }
    for (name, addresses) in allocate(&claims) {
        output.facts.insert(Topic::Addresses(name), Fact::Addresses(addresses));
    }
    output
}

fn claim(reader: &Reader<'_>, service: &Service) -> AddressClaim {
    if !has_address(service) {
        return AddressClaim::default();
    }
    let written: Vec<IpAddr> =
        written_addresses(&service.spec).filter_map(|(_, text)| text.parse().ok()).collect();
    let wanted = written.is_empty() && reader.settings().allocate_addresses;
    let families = &service.spec.ip_families;
    let both = matches!(
        service.spec.ip_family_policy,
        Some(IpFamilyPolicy::PreferDualStack | IpFamilyPolicy::RequireDualStack)
    );
    let ipv6 = both || families.contains(&IpFamily::IPv6);
    let ipv4 = both || families.contains(&IpFamily::IPv4) || !ipv6;
    AddressClaim { written, ipv4: wanted && ipv4, ipv6: wanted && ipv6 }
}

/// The addresses that the object names, with their fields.
fn written_addresses(spec: &ServiceSpec) -> impl Iterator<Item = (FieldPath, &str)> {
    let list = FieldPath::from("spec.clusterIPs");
    let several = spec.cluster_ips.iter().enumerate().map(move |(n, text)| (list.index(n), text.as_str()));
    let single = spec.cluster_ip.iter().filter(|_| spec.cluster_ips.is_empty());
    several.chain(single.map(|text| (FieldPath::from("spec.clusterIP"), text.as_str())))
}

pub(super) fn service(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let (object, entry) = reader.object::<Service>(name)?;
    let mut report = Report::on(&entry.source);
    if object.spec.kind == ServiceType::ExternalName {
        let message = "a service that is only a DNS name is not part of the mesh";
        report.warning(Reason::UnsupportedValue, &FieldPath::from("spec.type"), message, "");
        report.findings.iter_mut().for_each(|finding| finding.severity = Severity::Note);
        return Some(Output { findings: report.findings, ..Output::default() });
    }
    unsupported(&object.spec, &mut report);
    let given = reader.facts(Topic::Addresses(name.clone())).find_map(|(_, fact)| match fact {
        Fact::Addresses(addresses) => Some(addresses.clone()),
        _ => None,
    });
    let service = mesh_model::Service {
        key: ResourceKey::local(Kind::Service, name.clone()),
        source: entry.source.clone(),
        name: name.clone(),
        addresses: given.unwrap_or_default(),
        ports: ports(&object.spec, &mut report),
        retry_budget: super::traffic::retry_budget(reader, name),
        session: super::traffic::session(reader, name),
        hostname: None,
    };
    let resources = vec![Resource::Service(Arc::new(service))];
    Some(Output { resources, findings: report.findings, ..Output::default() })
}

fn ports(spec: &ServiceSpec, report: &mut Report) -> Vec<ServicePort> {
    let list = FieldPath::from("spec.ports");
    let mut ports = Vec::new();
    for (n, port) in spec.ports.iter().enumerate() {
        let path = list.index(n);
        let Some(transport) = transport(port.protocol) else {
            report.unsupported(&path.field("protocol"), "SCTP");
            continue;
        };
        let protocol = port.app_protocol.as_deref().map_or(AppProtocol::Detect, |text| {
            app_protocol(text).unwrap_or_else(|| {
                let message =
                    format!("{text:?} is not a protocol the mesh knows; it looks at the first bytes");
                let known = "use http, kubernetes.io/h2c, kubernetes.io/ws, grpc, https, tls or tcp";
                report.warning(Reason::UnsupportedValue, &path.field("appProtocol"), message, known);
                AppProtocol::Detect
            })
        });
        let name = Arc::from(port.name.as_deref().unwrap_or_default());
        ports.push(ServicePort { name, port: port.port, transport, protocol });
    }
    ports
}

/// What an application protocol means here (GEP-1911 and the names that IANA lists).
pub(super) fn app_protocol(text: &str) -> Option<AppProtocol> {
    Some(match text.to_ascii_lowercase().as_str() {
        "http" | "http/1.1" => AppProtocol::Http1,
        "kubernetes.io/h2c" | "http2" | "h2c" => AppProtocol::Http2,
        "kubernetes.io/ws" | "ws" => AppProtocol::WebSocket,
        "grpc" => AppProtocol::Grpc,
        "https" | "tls" | "kubernetes.io/wss" | "wss" | "grpcs" => AppProtocol::Tls,
        "tcp" | "mysql" | "redis" | "mongo" | "postgresql" | "amqp" | "kafka" | "smtp" | "ldap" => {
            AppProtocol::Tcp
        }
        _ => return None,
    })
}

fn unsupported(spec: &ServiceSpec, report: &mut Report) {
    for (path, text) in written_addresses(spec) {
        if text != HEADLESS && !text.is_empty() && text.parse::<IpAddr>().is_err() {
            let message = format!("{text:?} is not an IP address");
            report.error(
                Reason::InvalidValue,
                &path,
                message,
                "write an address, or None for a headless service",
            );
        }
    }
    let mut note = |field: &str, what: &str| {
        let path = FieldPath::from("spec").field(field);
        report.warning(Reason::UnsupportedValue, &path, format!("{what} is not supported"), "remove it");
    };
    if spec.session_affinity == Some(SessionAffinity::ClientIp) {
        note("sessionAffinity", "affinity by client address");
    }
    if spec.internal_traffic_policy == Some(TrafficPolicy::Local) {
        note("internalTrafficPolicy", "traffic to endpoints of the same node only");
    }
    if !spec.external_ips.is_empty() {
        note("externalIPs", "an external address");
    }
    if spec.traffic_distribution.is_some() {
        note("trafficDistribution", "a preference for near endpoints");
    }
}
