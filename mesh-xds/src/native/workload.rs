//! Workloads on the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_model::{Kind, OnNode, Outside, Plaintext, Workload};

use super::field::{Decoded, each_parsed, parsed, port};
use super::meta;
use crate::generated::mesh_v1 as wire;

pub(super) fn encode(workload: &Workload) -> wire::Workload {
    let ports = |wanted: bool| {
        let found = workload.plaintext.ports.iter().filter(|(_, plain)| **plain == wanted);
        found.map(|(port, _)| u32::from(*port)).collect()
    };
    wire::Workload {
        meta: meta::encode(&workload.key, &workload.source),
        name: meta::encode_object(&workload.name),
        labels: meta::encode_labels(&workload.labels),
        identity: workload.identity.to_string(),
        addresses: workload.addresses.iter().map(ToString::to_string).collect(),
        plaintext: workload.plaintext.elsewhere,
        plaintext_ports: ports(true),
        identity_ports: ports(false),
        node: workload.on_node.as_ref().map(|on_node| on_node.node.to_string()).unwrap_or_default(),
        node_confirmed: workload.on_node.as_ref().is_some_and(|on_node| on_node.confirmed),
        probe_ports: workload
            .on_node
            .iter()
            .flat_map(|on_node| &on_node.probes)
            .copied()
            .map(u32::from)
            .collect(),
        outside_denied: !workload.outside.is_allowed(),
        keeps_names: workload.on_node.as_ref().is_some_and(|on_node| on_node.keeps_names),
    }
}

pub(super) fn decode(wire: wire::Workload) -> Decoded<Workload> {
    let (key, source) = meta::decode(Kind::Workload, wire.meta)?;
    let mut ports = BTreeMap::new();
    for (field, numbers, plain) in
        [("plaintext_ports", &wire.plaintext_ports, true), ("identity_ports", &wire.identity_ports, false)]
    {
        for number in numbers {
            // A port in both lists asks for an identity.
            ports.insert(port(field, *number)?, plain);
        }
    }
    let probes = wire.probe_ports.iter().map(|number| port("probe_ports", *number));
    let probes = probes.collect::<Decoded<BTreeSet<u16>>>()?;
    let (node, confirmed) = (Arc::from(wire.node.as_str()), wire.node_confirmed);
    let on_node = OnNode { node, confirmed, probes, keeps_names: wire.keeps_names };
    Ok(Workload {
        key,
        source,
        name: meta::decode_object("name", wire.name)?,
        labels: meta::decode_labels(wire.labels),
        identity: parsed("identity", &wire.identity)?,
        addresses: each_parsed("addresses", &wire.addresses)?,
        plaintext: Plaintext { elsewhere: wire.plaintext, ports },
        on_node: (!wire.node.is_empty()).then_some(on_node),
        outside: if wire.outside_denied { Outside::Denied } else { Outside::Allowed },
    })
}
