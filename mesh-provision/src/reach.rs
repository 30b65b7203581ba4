//! Whether a gateway can really be reached: what its listeners say of themselves holds only when an address, a
//! running proxy and the proxy's answer are there too.

use serde_json::Value;

use super::address::{asks_for_scopes, assigned, by_entry, satisfied};
use crate::status::{Condition, StatusBody};
use mesh_objects::{Gateway, Service};

/// What is known of a gateway's proxies and the way to them.
#[derive(Debug, Clone, Copy)]
pub struct Reach<'a> {
    /// The gateway.
    pub gateway: &'a Gateway,
    /// Its service, with what the server reports of it.
    pub service: Option<(&'a Service, &'a Value)>,
    /// Why the server does not take the service as it is wanted.
    pub refused: Option<&'a str>,
    /// Proxies that are ready for traffic.
    pub ready: usize,
    /// How far the proxies are with the listeners.
    pub answer: Answer<'a>,
}

/// How far the proxies of a gateway are with its listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Every proxy took them.
    Applied,
    /// These proxies have not answered in time; nothing waits for them any longer.
    Late(&'a str),
}

/// Puts what is known of a gateway's proxies into its status, or into that of one of its listener sets.
pub fn finish(body: &mut StatusBody, reach: &Reach<'_>) {
    let scopes = asks_for_scopes(reach.gateway);
    let (has, missing) = match reach.service {
        None => (Vec::new(), None),
        Some((service, status)) if scopes => {
            let (has, missing) = by_entry(reach.gateway, service, status);
            (has, Some(missing))
        }
        Some((service, status)) => (assigned(reach.gateway, service, status), None),
    };
    let problem = problem(reach, &has, scopes);
    let (conditions, listeners) = match body {
        StatusBody::Gateway { conditions, listeners, addresses, .. } => {
            if let Some(missing) = missing {
                let generation = reach.gateway.metadata.generation;
                conditions.push(addresses_assigned(!has.is_empty(), &missing, generation));
            }
            // One that was not asked for in a way that is understood is none of the gateway's.
            let refused = conditions.iter().any(|c| !c.status && c.reason == "UnsupportedAddress");
            *addresses = if refused { Vec::new() } else { has };
            (conditions, listeners)
        }
        StatusBody::ListenerSet { conditions, listeners } => (conditions, listeners),
        StatusBody::Ancestors { .. }
        | StatusBody::Conditions { .. }
        | StatusBody::GatewayClass { .. }
        | StatusBody::Parents { .. } => return,
    };
    let all = conditions.iter_mut().chain(listeners.iter_mut().flat_map(|l| l.conditions.iter_mut()));
    for condition in all.filter(|condition| condition.kind == "Programmed" && condition.status) {
        match (&problem, reach.answer) {
            (Some((reason, message)), _) => {
                let generation = condition.observed_generation;
                *condition = Condition::fails("Programmed", reason, message.as_str(), generation);
            }
            (None, Answer::Late(names)) => {
                condition.message = format!("these proxies have not answered yet: {names}");
            }
            (None, Answer::Applied) => {}
        }
    }
}

/// Whether every entry for an address is satisfied (GEP-5093).
pub fn addresses_assigned(some: bool, missing: &[String], generation: Option<i64>) -> Condition {
    const KIND: &str = "AddressesAssigned";
    let message = || format!("these cannot be had: {}", missing.join("; "));
    match (missing.is_empty(), some) {
        (true, _) => Condition::holds(KIND, KIND, generation),
        (false, true) => Condition::fails(KIND, "PartiallyAssigned", message(), generation),
        (false, false) => Condition::fails(KIND, "NotAssigned", message(), generation),
    }
}

fn problem(
    reach: &Reach<'_>,
    has: &[crate::status::StatusAddress],
    scopes: bool,
) -> Option<(&'static str, String)> {
    if let Some(refused) = reach.refused {
        return Some(("AddressNotUsable", refused.to_owned()));
    }
    if has.is_empty() {
        let message = match scopes && reach.service.is_some() {
            true => "none of the addresses that are asked for can be had",
            false => "the gateway's service has no address yet",
        };
        return Some(("AddressNotAssigned", message.to_owned()));
    }
    if !scopes && !satisfied(reach.gateway, has) {
        let message = "the gateway's service does not have every address that is asked for";
        return Some(("AddressNotUsable", message.to_owned()));
    }
    if reach.ready == 0 {
        return Some(("NoResources", "no proxy of the gateway is ready".to_owned()));
    }
    None
}

#[cfg(test)]
mod tests {
    use mesh_model::ObjectName;
    use serde_json::json;

    use super::*;
    use crate::status::ListenerStatus;
    use mesh_objects::{Object, ObjectKind, Typed};

    fn object<T: Typed + Clone>(value: Value) -> T {
        let object = Object::parse(T::KIND, value).expect("a complete object");
        assert!(object.kind() != ObjectKind::ConfigMap && object.name() != ObjectName::new("", ""));
        T::from_object(&object).expect("the kind it was parsed as").clone()
    }

    fn gateway(addresses: Value) -> Gateway {
        let spec = json!({"gatewayClassName": "mesh", "addresses": addresses, "listeners": []});
        let metadata = json!({"namespace": "shop", "name": "edge"});
        let version = "gateway.networking.k8s.io/v1";
        object(json!({"apiVersion": version, "kind": "Gateway", "metadata": metadata, "spec": spec}))
    }

    fn service(ip: &str) -> Service {
        let metadata = json!({"namespace": "shop", "name": "edge-mesh"});
        let spec = json!({"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip]});
        object(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}))
    }

    fn body() -> StatusBody {
        let conditions = vec![
            Condition::holds("Accepted", "Accepted", Some(3)),
            Condition::holds("Programmed", "Programmed", Some(3)),
        ];
        let listener = ListenerStatus {
            name: "http".to_owned(),
            attached_routes: 0,
            supported_kinds: Vec::new(),
            conditions: conditions.clone(),
        };
        let (listeners, addresses) = (vec![listener], Vec::new());
        StatusBody::Gateway { conditions, listeners, attached_listener_sets: 0, addresses }
    }

    /// The reason of `Programmed` at the gateway and its listener, and the addresses.
    fn check(reach: &Reach<'_>) -> (&'static str, &'static str, Vec<String>) {
        let mut body = body();
        finish(&mut body, reach);
        let StatusBody::Gateway { conditions, listeners, addresses, .. } = body else { panic!("a gateway") };
        assert_eq!(conditions[0].reason, "Accepted");
        let addresses = addresses.into_iter().map(|address| address.value).collect();
        (conditions[1].reason, listeners[0].conditions[1].reason, addresses)
    }

    #[test]
    fn a_gateway_is_programmed_when_it_can_be_reached() {
        let (free, none) = (gateway(json!([])), Value::Null);
        let service = service("10.96.0.7");
        let there = Some((&service, &none));
        let whole =
            Reach { gateway: &free, service: there, refused: None, ready: 1, answer: Answer::Applied };
        let table = [
            (whole, "Programmed", true),
            (Reach { service: None, ..whole }, "AddressNotAssigned", false),
            (Reach { ready: 0, ..whole }, "NoResources", true),
            (Reach { answer: Answer::Late("edge-1"), ..whole }, "Programmed", true),
            (Reach { refused: Some("no"), service: None, ..whole }, "AddressNotUsable", false),
        ];
        for (reach, expected, address) in table {
            let (gateway, listener, addresses) = check(&reach);
            assert_eq!((gateway, listener), (expected, expected));
            assert_eq!(!addresses.is_empty(), address, "{expected}");
        }
    }

    #[test]
    fn a_gateway_that_asks_for_unsupported_addresses_has_none() {
        let (gateway, service) = (gateway(json!([{"type": "Hostname"}])), service("10.96.0.7"));
        let (mut body, none) = (body(), Value::Null);
        let StatusBody::Gateway { conditions, .. } = &mut body else { panic!("a gateway") };
        conditions[0] = Condition::fails("Accepted", "UnsupportedAddress", "", Some(3));
        let there = Some((&service, &none));
        let reach =
            Reach { gateway: &gateway, service: there, refused: None, ready: 1, answer: Answer::Applied };
        finish(&mut body, &reach);
        assert!(matches!(body, StatusBody::Gateway { addresses, .. } if addresses.is_empty()));
    }

    #[test]
    fn each_entry_with_a_scope_gets_its_own_address_or_is_named() {
        let ingress = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        let own = service("10.96.0.7");
        let (cluster, plain) =
            (json!({"type": "IPAddress", "routability": "Cluster"}), json!({"type": "IPAddress"}));
        let other = json!({"type": "IPAddress", "routability": "example.com/Private"});
        let fixed = |ip: &str| json!({"type": "IPAddress", "value": ip, "routability": "Cluster"});
        let table = [
            (
                json!([cluster]),
                Value::Null,
                "Programmed",
                "AddressesAssigned",
                vec![("10.96.0.7", "Cluster")],
            ),
            (
                json!([cluster]),
                ingress.clone(),
                "Programmed",
                "AddressesAssigned",
                vec![("10.96.0.7", "Cluster")],
            ),
            (
                json!([plain, cluster]),
                ingress.clone(),
                "Programmed",
                "AddressesAssigned",
                vec![("192.0.2.1", ""), ("10.96.0.7", "Cluster")],
            ),
            (
                json!([plain, cluster]),
                Value::Null,
                "Programmed",
                "PartiallyAssigned",
                vec![("10.96.0.7", "Cluster")],
            ),
            (
                json!([other, plain]),
                ingress.clone(),
                "Programmed",
                "PartiallyAssigned",
                vec![("192.0.2.1", "")],
            ),
            (json!([other]), ingress.clone(), "AddressNotAssigned", "NotAssigned", vec![]),
            (
                json!([fixed("10.96.0.7")]),
                Value::Null,
                "Programmed",
                "AddressesAssigned",
                vec![("10.96.0.7", "Cluster")],
            ),
            (json!([fixed("192.0.2.1")]), ingress, "AddressNotAssigned", "NotAssigned", vec![]),
        ];
        for (asked, status, programmed, assigned, expected) in table {
            let gateway = gateway(asked.clone());
            let reach = Reach {
                gateway: &gateway,
                service: Some((&own, &status)),
                refused: None,
                ready: 1,
                answer: Answer::Applied,
            };
            let mut body = body();
            finish(&mut body, &reach);
            let StatusBody::Gateway { conditions, addresses, .. } = body else { panic!("a gateway") };
            let has: Vec<_> =
                addresses.iter().map(|a| (a.value.as_str(), a.routability.unwrap_or("none"))).collect();
            assert_eq!(has, expected, "{asked}");
            assert_eq!((conditions[1].reason, conditions[2].reason), (programmed, assigned), "{asked}");
            let named = conditions[2].message.matches("spec.addresses[").count();
            assert_eq!(named, asked.as_array().expect("a list").len() - expected.len(), "{asked}");
        }
    }

    #[test]
    fn asked_addresses_are_the_only_ones_and_all_must_be_there() {
        let ingress = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]}});
        let service = service("10.96.0.7");
        let table = [
            (json!([]), Value::Null, "Programmed", vec!["10.96.0.7"]),
            (json!([{"type": "IPAddress"}]), Value::Null, "Programmed", vec!["10.96.0.7"]),
            (
                json!([{"type": "IPAddress", "value": "10.96.0.7"}]),
                Value::Null,
                "Programmed",
                vec!["10.96.0.7"],
            ),
            (
                json!([{"type": "IPAddress", "value": "10.96.0.8"}]),
                Value::Null,
                "AddressNotUsable",
                vec!["10.96.0.7"],
            ),
            (json!([]), ingress.clone(), "Programmed", vec!["192.0.2.1", "192.0.2.2"]),
            (json!([{"type": "IPAddress", "value": "192.0.2.2"}]), ingress, "Programmed", vec!["192.0.2.2"]),
        ];
        for (asked, status, expected, addresses) in table {
            let gateway = gateway(asked.clone());
            let service = Some((&service, &status));
            let reach =
                Reach { gateway: &gateway, service, refused: None, ready: 1, answer: Answer::Applied };
            let (reason, _, has) = check(&reach);
            assert_eq!(
                (reason, has),
                (expected, addresses.iter().map(ToString::to_string).collect()),
                "{asked}"
            );
        }
    }
}
