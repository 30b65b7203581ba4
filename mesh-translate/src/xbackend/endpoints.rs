//! Endpoints of a backend that selects by labels: pods, and the replicas of processes in a local mesh.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_model::backend::MAX_CHUNK;
use mesh_model::{Endpoint, EndpointChunk, Kind, Resource, ResourceKey, Service, ServicePort, Transport};

use super::super::entry::Entry;
use super::super::node::Index;
use super::super::pod::identity_at;
use super::super::reader::Reader;
use super::super::workload;
use crate::objects::Process;
use crate::objects::experimental::BackendSpec;
use crate::objects::meta::TextMap;

/// The endpoints of all ports, in chunks.
pub(super) fn of_backend(
    reader: &Reader<'_>,
    entry: &Entry,
    spec: &BackendSpec,
    service: &Service,
) -> Vec<Resource> {
    let Some(selector) = &spec.endpoint_selector else { return Vec::new() };
    let mut chunks = Vec::new();
    for port in &service.ports {
        let mut all = pods(reader, entry.namespace(), &selector.match_labels, port);
        all.extend(processes(reader, entry.namespace(), &selector.match_labels, port));
        all.sort_by_key(|endpoint| endpoint.address);
        all.dedup_by(|a, b| a.address == b.address);
        let suffix = if port.transport == Transport::Udp { "-udp" } else { "" };
        for (n, endpoints) in all.chunks(MAX_CHUNK).enumerate() {
            let part = format!("{}{suffix}/{n}", port.port);
            chunks.push(Resource::EndpointChunk(Arc::new(EndpointChunk {
                key: ResourceKey::local_part(Kind::EndpointChunk, service.name.clone(), part),
                source: entry.source.clone(),
                service: service.name.clone(),
                port: port.port,
                transport: port.transport,
                endpoints: endpoints.to_vec(),
            })));
        }
    }
    chunks
}

fn selects(selector: &TextMap, labels: &TextMap) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Pods that are ready, each at its first address: addresses of one pod are equivalent. Those that end serve while there
/// are no others.
fn pods(reader: &Reader<'_>, namespace: &str, selector: &TextMap, port: &ServicePort) -> Vec<Endpoint> {
    let ready = reader.pods(namespace).filter(|pod| selects(selector, &pod.labels) && !pod.serves.is_empty());
    let ready: Vec<_> = ready.collect();
    let fall_back = ready.iter().all(|pod| pod.ending);
    let endpoint = |pod: &&crate::pods::Pod| {
        let meshed = port.transport == Transport::Tcp;
        let first: IpAddr = *pod.serves.first()?;
        Some(Endpoint {
            address: SocketAddr::new(first, port.port),
            identity: identity_at(reader, pod, port.port).filter(|_| meshed),
            workload: Arc::clone(&pod.name.name),
            ready: !pod.ending || fall_back,
            zone: None,
            hostname: None,
        })
    };
    ready.iter().filter_map(endpoint).collect()
}

fn processes(reader: &Reader<'_>, namespace: &str, selector: &TextMap, port: &ServicePort) -> Vec<Endpoint> {
    let processes = reader.members::<Process>(Index::Processes(namespace.to_owned()));
    let mut endpoints = Vec::new();
    for (process, entry) in processes.into_iter().filter(|(p, _)| selects(selector, &p.metadata.labels)) {
        let name = entry.name();
        let Ok(identity) = workload::identity(reader, &name, process) else { continue };
        let meshed = port.transport == Transport::Tcp;
        endpoints.extend(reader.replicas(&name).iter().map(|replica| Endpoint {
            address: SocketAddr::new(replica.address, replica.port(port.port)),
            identity: meshed.then(|| identity.clone()),
            workload: Arc::clone(&name.name),
            ready: replica.ready,
            zone: None,
            hostname: None,
        }));
    }
    endpoints
}
