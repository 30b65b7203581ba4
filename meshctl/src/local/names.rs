//! How services are called inside a workload: host names where it has its own, variables where it has not.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};

use mesh_model::{Mesh, Service};

/// The names of every service by virtual address, as the namespace's cluster DNS would answer.
pub(crate) fn hosts(mesh: &Mesh, namespace: &str) -> Vec<(IpAddr, Vec<String>)> {
    let mut all = Vec::new();
    for service in mesh.all_services() {
        let names = names(service, namespace);
        all.extend(service.addresses.iter().map(|address| (*address, names.clone())));
    }
    all
}

fn names(service: &Service, namespace: &str) -> Vec<String> {
    let (name, ns) = (&service.name.name, &service.name.namespace);
    let mut all: Vec<String> =
        ["", ".svc", ".svc.cluster.local"].iter().map(|end| format!("{name}.{ns}{end}")).collect();
    if **ns == *namespace {
        all.insert(0, name.to_string());
    }
    all
}

/// The variables that Kubernetes sets for the services of a namespace, for these addresses.
pub(crate) fn variables(ports: &BTreeMap<(String, u16), SocketAddr>) -> BTreeMap<OsString, OsString> {
    let mut all = BTreeMap::new();
    for ((service, port), address) in ports {
        let name = service.to_uppercase().replace(['-', '.'], "_");
        let mut set = |key: String, value: String| {
            all.entry(OsString::from(key)).or_insert(OsString::from(value));
        };
        set(format!("{name}_SERVICE_HOST"), address.ip().to_string());
        set(format!("{name}_SERVICE_PORT"), address.port().to_string());
        set(format!("{name}_PORT_{port}_TCP_ADDR"), address.ip().to_string());
        set(format!("{name}_PORT_{port}_TCP_PORT"), address.port().to_string());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_port_of_a_service_is_its_service_port() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let ports = [
            (("my-reviews".to_owned(), 80), address(4000)),
            (("my-reviews".to_owned(), 9080), address(4001)),
        ];
        let all = variables(&ports.into_iter().collect());
        let value = |key: &str| all.get(&OsString::from(key)).and_then(|v| v.to_str()).map(str::to_owned);
        assert_eq!(value("MY_REVIEWS_SERVICE_PORT").as_deref(), Some("4000"));
        assert_eq!(value("MY_REVIEWS_PORT_9080_TCP_PORT").as_deref(), Some("4001"));
    }
}
