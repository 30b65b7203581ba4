//! The service before a gateway's proxies.

use mesh_model::Transport;
use mesh_model::listener::unprivileged_port;
use serde_json::{Map, Value, json};

use super::address::{fixed, is_internal};
use super::{Build, Piece, PieceKind, selector};
use mesh_objects::service::ServiceType;

impl Build<'_> {
    pub(super) fn service(&self) -> Piece {
        let kind = self.plan.parameters.and_then(|p| p.service_type).unwrap_or_default();
        // Who asks for addresses of the cluster only is not to be reached from elsewhere.
        let kind = if is_internal(self.plan.gateway) { ServiceType::ClusterIp } else { kind };
        let mut spec = Map::new();
        spec.insert("type".to_owned(), json!(kind));
        spec.insert("selector".to_owned(), json!(selector(&self.plan.name.name, self.settings)));
        spec.insert("ports".to_owned(), self.plan.ports.iter().map(|port| self.port(*port)).collect());
        // Where the cluster has both families, clients of either come in.
        spec.insert("ipFamilyPolicy".to_owned(), json!("PreferDualStack"));
        // More addresses than one of a family, or of a load balancer, cannot be had, which the status says.
        let (own, outer) = fixed(self.plan.gateway, kind == ServiceType::LoadBalancer);
        for (field, addresses) in [("clusterIP", &own), ("loadBalancerIP", &outer)] {
            spec.extend(addresses.first().map(|address| (field.to_owned(), json!(address))));
        }
        if own.len() > 1 {
            spec.insert("clusterIPs".to_owned(), json!(own));
        }
        self.piece(PieceKind::Service, json!({ "spec": spec }))
    }

    fn port(&self, (transport, port): (Transport, u16)) -> Value {
        let (name, protocol) = match transport {
            Transport::Tcp => ("tcp", "TCP"),
            Transport::Udp => ("udp", "UDP"),
        };
        let same = self.plan.ports.iter().filter(|(other, _)| *other == transport);
        let ports = same.map(|(_, port)| *port).collect();
        json!({
            "name": format!("{name}-{port}"),
            "port": port,
            "protocol": protocol,
            "targetPort": unprivileged_port(port, &ports),
        })
    }
}
