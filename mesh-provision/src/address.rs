//! Addresses of a gateway: those it asks for, and those that its service has.

use std::net::IpAddr;

use serde_json::Value;

use crate::status::StatusAddress;
use mesh_objects::listener::GatewayAddress;
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
            let address = StatusAddress { kind: "IPAddress", value: address.clone(), routability: None };
            if !all.contains(&address) {
                all.push(address);
            }
        }
    }
    let asked = wanted(gateway);
    if asked.iter().any(|asked| all.iter().any(|address| same(&address.value, asked))) {
        let requested = asked.iter().filter(|asked| all.iter().any(|a| same(&a.value, asked)));
        // As the user spells it: `::1` and `0:0:0:0:0:0:0:1` are one address.
        let as_asked =
            |value: &&str| StatusAddress { kind: "IPAddress", value: (*value).to_owned(), routability: None };
        all = requested.map(as_asked).collect();
    }
    all.truncate(MOST);
    all
}

/// Whether a service has every address that its gateway asks for.
pub(super) fn satisfied(gateway: &Gateway, assigned: &[StatusAddress]) -> bool {
    wanted(gateway).iter().all(|asked| assigned.iter().any(|address| same(&address.value, asked)))
}

/// The one well-known scope: an address of the cluster's services.
const CLUSTER: &str = "Cluster";

/// The scope that an entry asks for, if it asks for one.
fn scope(entry: &GatewayAddress) -> Option<&str> {
    entry.routability.as_deref().filter(|scope| !scope.is_empty())
}

/// Whether a gateway asks from where its addresses are reached (GEP-5093).
pub fn asks_for_scopes(gateway: &Gateway) -> bool {
    gateway.spec.addresses.iter().any(|entry| scope(entry).is_some())
}

/// Whether an entry may ever be satisfied by the addresses of a service.
pub fn is_satisfiable(entry: &GatewayAddress) -> bool {
    entry.kind == "IPAddress" && scope(entry).is_none_or(|scope| scope == CLUSTER)
}

/// Whether a gateway wants to be reached from inside the cluster and from nowhere else.
pub(super) fn is_internal(gateway: &Gateway) -> bool {
    let all = &gateway.spec.addresses;
    !all.is_empty() && all.iter().all(|entry| scope(entry) == Some(CLUSTER))
}

/// The addresses that a gateway asks for by value, at most one of each family: those of its service, and those of its
/// load balancer.
pub(super) fn fixed(gateway: &Gateway, balanced: bool) -> (Vec<&str>, Vec<&str>) {
    let given = |of_cluster: bool| {
        let entries = gateway.spec.addresses.iter().filter(|entry| entry.kind == "IPAddress");
        let meant = |entry: &&GatewayAddress| match scope(entry) {
            None => balanced != of_cluster,
            Some(scope) => scope == CLUSTER && of_cluster,
        };
        let values = entries.filter(meant).filter_map(|entry| entry.value.as_deref());
        let mut all: Vec<&str> = values.filter(|value| !value.is_empty()).collect();
        if let Some(first) = all.first().copied() {
            let other = all.iter().copied().find(|value| is_ipv6(value) != is_ipv6(first));
            all = std::iter::once(first).chain(other).collect();
        }
        all
    };
    (given(true), given(false))
}

fn is_ipv6(address: &str) -> bool {
    address.contains(':')
}

/// One address of a service for each entry of its gateway that can be satisfied, none twice, and what cannot.
pub(super) fn by_entry(
    gateway: &Gateway,
    service: &Service,
    status: &Value,
) -> (Vec<StatusAddress>, Vec<String>) {
    let ingress = status["loadBalancer"]["ingress"].as_array();
    let outer = ingress.into_iter().flatten().filter_map(balancer);
    let outer = outer.map(|address| StatusAddress { routability: Some(""), ..address });
    let own = service.spec.cluster_ips.iter().chain(&service.spec.cluster_ip);
    let own = own.filter(|address| *address != "None" && !address.is_empty());
    let own = own.map(|value| StatusAddress {
        kind: "IPAddress",
        value: value.clone(),
        routability: Some(CLUSTER),
    });
    let mut free: Vec<StatusAddress> = Vec::new();
    for address in outer.chain(own) {
        if !free.contains(&address) {
            free.push(address);
        }
    }
    let mut entries: Vec<(usize, &GatewayAddress)> = gateway.spec.addresses.iter().enumerate().collect();
    // Who asks for more chooses first.
    entries.sort_by_key(|(at, entry)| (entry.value.is_none(), scope(entry).is_none(), *at));
    let (mut assigned, mut missing) = (Vec::new(), Vec::new());
    for (at, entry) in entries {
        let fits = |address: &StatusAddress| {
            let value = entry.value.as_deref().filter(|value| !value.is_empty());
            address.kind == entry.kind
                && value.is_none_or(|value| same(&address.value, value))
                && scope(entry).is_none_or(|scope| address.routability == Some(scope))
        };
        match free.iter().position(fits) {
            Some(place) if assigned.len() < MOST => {
                let address = free.remove(place);
                let value = entry.value.clone().filter(|value| !value.is_empty()).unwrap_or(address.value);
                assigned.push((at, StatusAddress { value, ..address }));
            }
            _ => missing.push(describe(at, entry)),
        }
    }
    assigned.sort_by_key(|(at, _)| *at);
    (assigned.into_iter().map(|(_, address)| address).collect(), missing)
}

/// An entry in words.
pub fn describe(at: usize, entry: &GatewayAddress) -> String {
    let value = entry.value.as_deref().map_or_else(String::new, |value| format!(" {value}"));
    let scope = scope(entry).map_or_else(String::new, |scope| format!(" with routability {scope}"));
    format!("spec.addresses[{at}]: {}{value}{scope}", entry.kind)
}

fn balancer(ingress: &Value) -> Option<StatusAddress> {
    let text = |field: &str| ingress[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    match text("ip") {
        Some(value) => Some(StatusAddress { kind: "IPAddress", value, routability: None }),
        None => text("hostname").map(|value| StatusAddress { kind: "Hostname", value, routability: None }),
    }
}

fn same(one: &str, other: &str) -> bool {
    match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}
