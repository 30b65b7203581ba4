//! Addresses of a gateway: those it asks for, and those that its service has.

use std::net::IpAddr;

use serde_json::Value;

use crate::status::StatusAddress;
use mesh_objects::{Gateway, Service};

/// As many addresses as a status may have.
const MOST: usize = 16;

/// The IP addresses that a gateway asks for. An entry without value leaves the choice to the cluster.
pub fn wanted(gateway: &Gateway) -> Vec<&str> {
    let addresses = gateway.spec.addresses.iter().filter(|address| address.kind == "IPAddress");
    addresses.filter_map(|a| a.value.as_deref()).filter(|value| !value.is_empty()).collect()
}

/// The addresses of a service: those of its load balancer, else its own. `status` is what the server reports of
/// the service. Where a gateway asks for an address that the service has, it is the only one.
pub fn assigned(gateway: &Gateway, service: &Service, status: &Value) -> Vec<StatusAddress> {
    let ingress = status["loadBalancer"]["ingress"].as_array();
    let mut all: Vec<StatusAddress> = ingress.into_iter().flatten().filter_map(balancer).collect();
    if all.is_empty() {
        let own = service.spec.cluster_ips.iter().chain(&service.spec.cluster_ip);
        for address in own.filter(|address| *address != "None" && !address.is_empty()) {
            let address = StatusAddress { kind: "IPAddress", value: address.clone() };
            if !all.contains(&address) {
                all.push(address);
            }
        }
    }
    let asked = wanted(gateway);
    if asked.iter().any(|asked| all.iter().any(|address| same(&address.value, asked))) {
        let requested = asked.iter().filter(|asked| all.iter().any(|a| same(&a.value, asked)));
        // As the user spells it: `::1` and `0:0:0:0:0:0:0:1` are one address.
        all =
            requested.map(|value| StatusAddress { kind: "IPAddress", value: (*value).to_owned() }).collect();
    }
    all.truncate(MOST);
    all
}

/// Whether a service has every address that its gateway asks for.
pub(super) fn satisfied(gateway: &Gateway, assigned: &[StatusAddress]) -> bool {
    wanted(gateway).iter().all(|asked| assigned.iter().any(|address| same(&address.value, asked)))
}

fn balancer(ingress: &Value) -> Option<StatusAddress> {
    let text = |field: &str| ingress[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    match text("ip") {
        Some(value) => Some(StatusAddress { kind: "IPAddress", value }),
        None => text("hostname").map(|value| StatusAddress { kind: "Hostname", value }),
    }
}

fn same(one: &str, other: &str) -> bool {
    match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}
