//! Endpoints of services: from endpoint slices, and from the running replicas of selected processes.
//!
//! Each chunk belongs to one slice or process, so that a change there touches no other chunk.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_model::backend::MAX_CHUNK;
use mesh_model::hostname::is_label;
use mesh_model::{
    Endpoint, EndpointChunk, FieldPath, Kind, ObjectName, Reason, Resource, ResourceKey, SourceRef, SpiffeId,
    Transport,
};

use super::super::node::Index;
use super::super::output::{Output, Report};
use super::super::pod;
use super::super::reader::Reader;
use super::super::suggest::did_you_mean;
use super::super::workload;
use super::transport;
use crate::objects::service::{
    AddressType, EndpointConditions, EndpointPort, ServicePort, ServiceType, TargetReference,
    TransportProtocol,
};
use crate::objects::{EndpointSlice, IntOrString, Process, Service};

/// One service port whose endpoints are collected.
struct Target<'a> {
    service: &'a ObjectName,
    object: &'a Service,
    index: usize,
    port: &'a ServicePort,
    transport: Transport,
}

pub(in super::super) fn endpoints(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let (object, entry) = reader.object::<Service>(name)?;
    let mut output = Output::default();
    if object.spec.kind == ServiceType::ExternalName {
        return Some(output);
    }
    let slices = reader.members::<EndpointSlice>(Index::Slices(name.clone()));
    for (slice, slice_entry) in &slices {
        check_slice(slice, &slice_entry.source, &mut output);
    }
    let processes = selected(reader, object, &name.namespace);
    let mut report = Report::on(&entry.source);
    let local = reader.settings().allocate_addresses;
    if local && processes.is_empty() && slices.is_empty() && !object.spec.selector.is_empty() {
        no_process(reader, object, &name.namespace, &mut report);
    }
    for (index, port) in object.spec.ports.iter().enumerate() {
        let Some(transport) = transport(port.protocol) else { continue };
        let target = Target { service: name, object, index, port, transport };
        let fall_back = !slices.iter().any(|(slice, _)| slice.endpoints.iter().any(|e| is_ready(&target, e)));
        for (slice, slice_entry) in &slices {
            let found = of_slice(reader, &target, slice, fall_back);
            chunks(&target, &slice_entry.source, "", found, &mut output);
        }
        for (process, process_entry) in &processes {
            let found = of_process(reader, &target, (process, &process_entry.name()), &mut report);
            chunks(&target, &process_entry.source, &format!("{}.", name.name), found, &mut output);
        }
    }
    output.findings.append(&mut report.findings);
    Some(output)
}

fn chunks(
    target: &Target<'_>,
    source: &SourceRef,
    prefix: &str,
    mut all: Vec<Endpoint>,
    output: &mut Output,
) {
    all.sort_by_key(|endpoint| endpoint.address);
    all.dedup_by(|a, b| a.address == b.address);
    let suffix = if target.transport == Transport::Udp { "-udp" } else { "" };
    for (n, endpoints) in all.chunks(MAX_CHUNK).enumerate() {
        let part = format!("{prefix}{}{suffix}/{n}", target.port.port);
        let chunk = EndpointChunk {
            key: ResourceKey::local_part(Kind::EndpointChunk, source.object.clone(), part),
            source: source.clone(),
            service: target.service.clone(),
            port: target.port.port,
            transport: target.transport,
            endpoints: endpoints.to_vec(),
        };
        output.resources.push(Resource::EndpointChunk(Arc::new(chunk)));
    }
}

fn check_slice(slice: &EndpointSlice, source: &SourceRef, output: &mut Output) {
    let mut report = Report::on(source);
    if slice.address_type == AddressType::Fqdn {
        report.unsupported(&FieldPath::from("addressType"), "a slice of DNS names");
    } else {
        let list = FieldPath::from("endpoints");
        for (n, endpoint) in slice.endpoints.iter().enumerate() {
            for (m, address) in endpoint.addresses.iter().enumerate() {
                if address.parse::<IpAddr>().is_err() {
                    let path = list.index(n).field("addresses").index(m);
                    report.error(
                        Reason::InvalidValue,
                        &path,
                        format!("{address:?} is not an IP address"),
                        "",
                    );
                }
            }
        }
    }
    output.findings.append(&mut report.findings);
}

/// Endpoints of a slice. Addresses of one endpoint are equivalent, so the first is taken. `fall_back` lets
/// endpoints that end but still answer serve, because there are no others.
fn of_slice(
    reader: &Reader<'_>,
    target: &Target<'_>,
    slice: &EndpointSlice,
    fall_back: bool,
) -> Vec<Endpoint> {
    let Some(port) = slice_port(target, &slice.ports) else { return Vec::new() };
    let endpoint = |endpoint: &crate::objects::service::Endpoint| {
        let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        let name = endpoint.target_ref.as_ref().and_then(|t| t.name.as_deref());
        let identity = meshed(reader, target, endpoint.target_ref.as_ref(), (address, port))?;
        Some(Endpoint {
            address: SocketAddr::new(address, port),
            identity,
            workload: Arc::from(name.unwrap_or(&endpoint.addresses[0])),
            ready: is_ready(target, endpoint) || (fall_back && ends_but_serves(endpoint)),
            zone: endpoint.zone.as_deref().map(Arc::from),
            hostname: endpoint.hostname.as_deref().filter(|name| is_label(name)).map(Arc::from),
        })
    };
    slice.endpoints.iter().filter_map(endpoint).collect()
}

/// The identity that must answer at an endpoint, `Some(None)` where plain text is spoken. `None` when that is not known
/// yet: the slice is ahead of its pod, and what is sent now might reach a pod of the mesh unprotected.
fn meshed(
    reader: &Reader<'_>,
    target: &Target<'_>,
    reference: Option<&TargetReference>,
    (address, port): (IpAddr, u16),
) -> Option<Option<SpiffeId>> {
    if !reader.settings().follows_pods {
        return Some(None);
    }
    let named = reference.filter(|t| t.kind.as_deref() == Some("Pod")).and_then(|t| t.name.as_deref());
    let pod = match named {
        Some(name) => Some(reader.pod(&ObjectName::new(Arc::clone(&target.service.namespace), name))?),
        None => reader.pod_at(address),
    };
    let pod = pod.filter(|_| target.transport == Transport::Tcp);
    Some(pod.and_then(|pod| pod::identity_at(reader, pod, port)))
}

fn is_ready(target: &Target<'_>, endpoint: &crate::objects::service::Endpoint) -> bool {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let anyway = target.object.spec.publish_not_ready_addresses.unwrap_or_default();
    (anyway || conditions.ready.unwrap_or(true)) && !conditions.terminating.unwrap_or(false)
}

fn ends_but_serves(endpoint: &crate::objects::service::Endpoint) -> bool {
    let EndpointConditions { ready, serving, terminating } = endpoint.conditions.clone().unwrap_or_default();
    terminating.unwrap_or(false) && serving.or(ready).unwrap_or(true)
}

fn slice_port(target: &Target<'_>, ports: &[EndpointPort]) -> Option<u16> {
    let name = |text: &Option<String>| text.clone().unwrap_or_default();
    let wanted = |p: &&EndpointPort| {
        name(&p.name) == name(&target.port.name) && transport(p.protocol) == Some(target.transport)
    };
    let found = ports.iter().find(wanted)?;
    found.port.or(match target.port.target_port {
        Some(IntOrString::Int(number)) => u16::try_from(number).ok(),
        _ => Some(target.port.port),
    })
}

/// Processes of the namespace that the service selects.
fn selected<'a>(
    reader: &Reader<'a>,
    service: &Service,
    namespace: &str,
) -> Vec<(&'a Process, &'a super::super::entry::Entry)> {
    let selector = &service.spec.selector;
    if selector.is_empty() {
        return Vec::new();
    }
    let mut found = reader.members::<Process>(Index::Processes(namespace.to_owned()));
    found.retain(|(process, _)| {
        selector.iter().all(|(key, value)| process.metadata.labels.get(key) == Some(value))
    });
    found
}

fn no_process(reader: &Reader<'_>, service: &Service, namespace: &str, report: &mut Report) {
    let processes = reader.members::<Process>(Index::Processes(namespace.to_owned()));
    let (key, value) = service.spec.selector.iter().next().expect("the selector is not empty");
    let values: Vec<&str> =
        processes.iter().filter_map(|(p, _)| p.metadata.labels.get(key)).map(|v| &**v).collect();
    let path = FieldPath::from("spec.selector").field(key);
    let message =
        format!("no process of namespace {namespace} has these labels, so the service has no endpoint");
    report.warning(Reason::NoEndpoint, &path, message, did_you_mean(value, values));
}

fn of_process(
    reader: &Reader<'_>,
    target: &Target<'_>,
    (process, name): (&Process, &ObjectName),
    report: &mut Report,
) -> Vec<Endpoint> {
    let Ok(identity) = workload::identity(reader, name, process) else { return Vec::new() };
    let port = match &target.port.target_port {
        None => target.port.port,
        Some(IntOrString::Int(number)) => u16::try_from(*number).unwrap_or(target.port.port),
        Some(IntOrString::String(wanted)) => {
            let carries = |p: TransportProtocol| transport(p) == Some(target.transport);
            let named = process.spec.ports.iter().filter(|p| carries(p.protocol));
            let found = named.clone().find(|p| p.name.as_ref() == Some(wanted));
            let Some(found) = found else {
                let path = FieldPath::from("spec.ports").index(target.index).field("targetPort");
                let names: Vec<&str> = named.filter_map(|p| p.name.as_deref()).collect();
                let message = format!("process {name} has no port named {wanted:?}");
                report.error(Reason::InvalidValue, &path, message, did_you_mean(wanted, names));
                return Vec::new();
            };
            found.container_port
        }
    };
    let meshed = target.transport == Transport::Tcp;
    let endpoint = |replica: &crate::local::Replica| Endpoint {
        address: SocketAddr::new(replica.address, replica.port(port)),
        identity: meshed.then(|| identity.clone()),
        workload: Arc::clone(&name.name),
        ready: replica.ready,
        zone: None,
        hostname: None,
    };
    reader.replicas(name).iter().map(endpoint).collect()
}
