//! The names of a cluster, answered from the snapshot (Kubernetes DNS-Based Service Discovery, version 1.1.0). Pure: what
//! is not known here somebody else is to be asked.

use std::net::IpAddr;

use mesh_model::{Endpoint, Mesh, ObjectName, Service, ServicePort, Transport};

use crate::query::{Kind, Known, Place, Query};

/// The label of services below the domain.
const SERVICES: &str = "svc";

/// The names below the domain of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    domain: String,
    labels: Vec<String>,
}

/// What the names of a service stand for.
enum Part<'q> {
    /// One endpoint of it.
    Endpoint(&'q str),
    /// A port by its name.
    Port(&'q str, Transport),
    /// Itself.
    Whole,
}

impl Zone {
    /// The zone of a domain, such as `cluster.local`.
    pub fn new(domain: &str) -> Self {
        let domain = domain.trim_matches('.').to_ascii_lowercase();
        Self { labels: domain.split('.').map(str::to_owned).collect(), domain }
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// What the snapshot knows of the name that is asked for; `None` when that is for others to say.
    ///
    /// A service that the snapshot does not have may be one that stands for a name elsewhere, so it is for others. Below
    /// such a service there is nothing: names that a client makes by appending its search list end here.
    pub fn answer(&self, mesh: &Mesh, query: &Query) -> Option<Known> {
        // Before the controller has said everything, nothing is known to be missing.
        if mesh.version() == 0 {
            return None;
        }
        let labels = self.below(query)?;
        let [rest @ .., name, namespace, SERVICES] = &labels[..] else { return None };
        let part = match rest {
            [] => Part::Whole,
            [endpoint] => Part::Endpoint(endpoint),
            [port, "_tcp"] => Part::Port(port, Transport::Tcp),
            [port, "_udp"] => Part::Port(port, Transport::Udp),
            _ => return Some(Known::NoSuchName),
        };
        let named = ObjectName::new(*namespace, *name);
        let Some(service) = mesh.service(&named) else {
            return (!matches!(part, Part::Whole)).then_some(Known::NoSuchName);
        };
        // Whose endpoints nobody told us, because it has no ports.
        if service.ports.is_empty() && (service.addresses.is_empty() || !matches!(part, Part::Whole)) {
            return None;
        }
        if matches!((&part, query.kind()), (Part::Endpoint(_), Kind::Srv)) {
            return None;
        }
        Some(self.of(mesh, service, &part, query.kind()))
    }

    /// What to say of a name when nobody else answers: what the snapshot does not have, the cluster does not have. It is
    /// better to say so than to fail, for a client whose search list makes such names goes on to the next one.
    pub fn in_doubt(&self, mesh: &Mesh, query: &Query) -> Option<Known> {
        let is_ours = mesh.version() > 0 && self.below(query)?.last() == Some(&SERVICES);
        is_ours.then_some(Known::NoSuchName)
    }

    /// The labels of the name before those of the domain; `None` for a name of another one.
    fn below<'q>(&self, query: &'q Query) -> Option<Vec<&'q str>> {
        let mut labels: Vec<_> = query.labels().collect();
        let domain = labels.split_off(labels.len().checked_sub(self.labels.len())?);
        (domain == self.labels).then_some(labels)
    }

    fn of(&self, mesh: &Mesh, service: &Service, part: &Part<'_>, kind: Kind) -> Known {
        match part {
            // A question for the places of the whole service gets those of all its ports.
            Part::Whole if kind == Kind::Srv => Known::Places(
                service.ports.iter().flat_map(|port| self.places(mesh, service, port)).collect(),
            ),
            Part::Whole if service.addresses.is_empty() => existing(endpoints(mesh, service)),
            Part::Whole => Known::Addresses(service.addresses.clone()),
            Part::Endpoint(wanted) => {
                let all = service.ports.iter().flat_map(|port| of_port(mesh, service, port));
                existing(addresses(all.filter(|endpoint| label(endpoint) == *wanted)))
            }
            Part::Port(port, transport) => {
                let Some(wanted) = port.strip_prefix('_') else { return Known::NoSuchName };
                let of = |port: &&ServicePort| port.transport == *transport && *port.name == *wanted;
                let Some(port) = service.ports.iter().find(of) else { return Known::NoSuchName };
                match self.places(mesh, service, port) {
                    places if places.is_empty() => Known::NoSuchName,
                    places => Known::Places(places),
                }
            }
        }
    }

    /// Where a port is served: at the service itself, or without a virtual address at each endpoint (sections 2.3.2 and
    /// 2.4.2).
    fn places(&self, mesh: &Mesh, service: &Service, port: &ServicePort) -> Vec<Place> {
        let name = format!("{}.{}.{SERVICES}.{}", service.name.name, service.name.namespace, self.domain);
        if !service.addresses.is_empty() {
            return vec![Place { name, port: port.port, addresses: service.addresses.clone() }];
        }
        let place = |endpoint: &Endpoint| Place {
            name: format!("{}.{name}", label(endpoint)),
            port: endpoint.address.port(),
            addresses: vec![endpoint.address.ip()],
        };
        of_port(mesh, service, port).map(place).collect()
    }
}

/// The endpoints of a port that may be used.
fn of_port<'m>(mesh: &'m Mesh, service: &Service, port: &ServicePort) -> impl Iterator<Item = &'m Endpoint> {
    let found = mesh.endpoints(&service.name, port.transport, port.port);
    found.into_iter().flat_map(|set| set.ready().iter())
}

fn endpoints(mesh: &Mesh, service: &Service) -> Vec<IpAddr> {
    addresses(service.ports.iter().flat_map(|port| of_port(mesh, service, port)))
}

fn addresses<'m>(endpoints: impl Iterator<Item = &'m Endpoint>) -> Vec<IpAddr> {
    let mut addresses: Vec<_> = endpoints.map(|endpoint| endpoint.address.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Without any address there is no name.
fn existing(addresses: Vec<IpAddr>) -> Known {
    if addresses.is_empty() { Known::NoSuchName } else { Known::Addresses(addresses) }
}

/// The name of an endpoint below its service: its own, or its address with dashes (section 2.4.1 leaves that open; clusters'
/// name servers do so).
fn label(endpoint: &Endpoint) -> String {
    let of_address = || endpoint.address.ip().to_string().replace(['.', ':'], "-");
    endpoint.hostname.as_deref().map_or_else(of_address, str::to_owned)
}

#[cfg(test)]
mod tests;
