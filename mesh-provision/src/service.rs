//! The service before a gateway's proxies.

use mesh_model::Transport;
use serde_json::{Map, Value, json};

use super::address::wanted;
use super::{Build, Piece, PieceKind, bound, selector};
use mesh_objects::service::ServiceType;

impl Build<'_> {
    pub(super) fn service(&self) -> Piece {
        let kind = self.plan.parameters.and_then(|p| p.service_type).unwrap_or_default();
        let mut spec = Map::new();
        spec.insert("type".to_owned(), json!(kind));
        spec.insert("selector".to_owned(), json!(selector(&self.plan.name.name, self.settings)));
        spec.insert("ports".to_owned(), self.plan.ports.iter().map(port).collect());
        // More addresses than one cannot be had, which the status says.
        if let Some(address) = wanted(self.plan.gateway).first() {
            let field = if kind == ServiceType::LoadBalancer { "loadBalancerIP" } else { "clusterIP" };
            spec.insert(field.to_owned(), json!(address));
        }
        self.piece(PieceKind::Service, json!({ "spec": spec }))
    }
}

fn port((transport, port): &(Transport, u16)) -> Value {
    let (name, protocol) = match transport {
        Transport::Tcp => ("tcp", "TCP"),
        Transport::Udp => ("udp", "UDP"),
    };
    json!({
        "name": format!("{name}-{port}"),
        "port": port,
        "protocol": protocol,
        "targetPort": bound(*port),
    })
}
