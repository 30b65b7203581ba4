//! Workloads on the wire.

use mesh_model::{Kind, Workload};

use super::field::{Decoded, each_parsed, parsed};
use super::meta;
use crate::generated::mesh_v1 as wire;

pub(super) fn encode(workload: &Workload) -> wire::Workload {
    wire::Workload {
        meta: meta::encode(&workload.key, &workload.source),
        name: meta::encode_object(&workload.name),
        labels: meta::encode_labels(&workload.labels),
        identity: workload.identity.to_string(),
        addresses: workload.addresses.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn decode(wire: wire::Workload) -> Decoded<Workload> {
    let (key, source) = meta::decode(Kind::Workload, wire.meta)?;
    Ok(Workload {
        key,
        source,
        name: meta::decode_object("name", wire.name)?,
        labels: meta::decode_labels(wire.labels),
        identity: parsed("identity", &wire.identity)?,
        addresses: each_parsed("addresses", &wire.addresses)?,
    })
}
