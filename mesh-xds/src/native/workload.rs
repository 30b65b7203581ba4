//! Workloads on the wire.

use std::collections::BTreeMap;

use mesh_model::{Kind, Plaintext, Workload};

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
    Ok(Workload {
        key,
        source,
        name: meta::decode_object("name", wire.name)?,
        labels: meta::decode_labels(wire.labels),
        identity: parsed("identity", &wire.identity)?,
        addresses: each_parsed("addresses", &wire.addresses)?,
        plaintext: Plaintext { elsewhere: wire.plaintext, ports },
    })
}
