//! What addresses of names make of a mesh: the endpoints of its services that are outside. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_model::{Delta, Endpoint, EndpointChunk, Kind, Mesh, Resource, ResourceKey, Service, Transport};

/// The first word of the part in the keys of what is made here; a controller's begin with a port.
const PART: &str = "dns";

/// What is known of names, and what was made of it.
#[derive(Debug, Default)]
pub struct Endpoints {
    known: BTreeMap<Arc<str>, Vec<IpAddr>>,
    put: BTreeSet<ResourceKey>,
}

/// The names whose addresses a mesh wants.
pub fn names(mesh: &Mesh) -> BTreeSet<Arc<str>> {
    mesh.outside_services().filter_map(|service| service.hostname.clone()).collect()
}

impl Endpoints {
    /// The addresses of a name are these now.
    pub fn learn(&mut self, name: &Arc<str>, addresses: &[IpAddr]) {
        match addresses {
            [] => drop(self.known.remove(name)),
            addresses => drop(self.known.insert(Arc::clone(name), addresses.to_vec())),
        }
    }

    /// What a mesh lacks of what is known, or has too much; nothing when it is as it should be. The mesh is expected to
    /// take it.
    pub fn change(&mut self, mesh: &Mesh) -> Option<Delta> {
        let (mut delta, mut put) = (Delta::default(), BTreeSet::new());
        for service in mesh.outside_services() {
            let addresses = service.hostname.as_ref().and_then(|name| self.known.get(name));
            let Some(addresses) = addresses else { continue };
            for port in &service.ports {
                let chunk = EndpointChunk {
                    key: key(service, port.port, port.transport),
                    source: service.source.clone(),
                    service: service.name.clone(),
                    port: port.port,
                    transport: port.transport,
                    endpoints: addresses.iter().map(|ip| endpoint(service, *ip, port.port)).collect(),
                };
                put.insert(chunk.key.clone());
                let chunk = Resource::EndpointChunk(Arc::new(chunk));
                if mesh.resource(chunk.key()) != Some(&chunk) {
                    delta.set.push(chunk);
                }
            }
        }
        let gone = self.put.difference(&put).filter(|key| mesh.resource(key).is_some());
        delta.removed.extend(gone.cloned());
        self.put = put;
        (!delta.set.is_empty() || !delta.removed.is_empty()).then_some(delta)
    }
}

fn key(service: &Service, port: u16, transport: Transport) -> ResourceKey {
    let suffix = if transport == Transport::Udp { "-udp" } else { "" };
    ResourceKey::local_part(Kind::EndpointChunk, service.name.clone(), format!("{PART}/{port}{suffix}"))
}

fn endpoint(service: &Service, address: IpAddr, port: u16) -> Endpoint {
    let workload = service.hostname.clone().unwrap_or_else(|| Arc::clone(&service.name.name));
    Endpoint {
        address: SocketAddr::new(address, port),
        identity: None,
        workload,
        ready: true,
        zone: None,
        hostname: None,
    }
}
