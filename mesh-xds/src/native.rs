//! The mesh's resources as messages `mesh.v1.<Kind>`. Decoding is parsing: what comes out is valid. The shape of
//! messages is in `proto/mesh/v1`; how they travel is the session's business.

mod consumer;
mod field;
mod filter;
mod listener;
mod meta;
mod policy;
mod publisher;
mod route;
mod service;
mod session;
mod stub;
mod tls;
mod tracing;
mod workload;

use std::sync::Arc;

use bytes::Bytes;
use mesh_model::mesh::Delta;
use mesh_model::{Kind, Resource, ResourceKey};
use prost::Message;

pub use self::consumer::MeshConsumer;
pub use self::field::DecodeError;
pub use self::publisher::Publisher;
pub use self::stub::{
    FEATURES, FILTER_CORS, FILTER_EXTERNAL_AUTH, FILTER_MIRROR, LISTENER_CLIENT_VALIDATION,
    LISTENER_EXTERNAL_AUTH, POLICY_AUDIT, needed_features, stub,
};
use crate::cache::{Change, Encoded, Entry, TooLarge};
use crate::generated::mesh_v1 as wire;
use crate::key::Key;
use crate::lastgood::{Held, LastGood};

/// The bytes of a resource: equal resources have equal bytes.
pub fn encode(resource: &Resource) -> Bytes {
    let bytes = match resource {
        Resource::BackendTls(r) => tls::encode_backend(r).encode_to_vec(),
        Resource::Certificate(r) => tls::encode_certificate(r).encode_to_vec(),
        Resource::EndpointChunk(r) => service::encode_chunk(r).encode_to_vec(),
        Resource::Listener(r) => listener::encode(r).encode_to_vec(),
        Resource::Policy(r) => policy::encode(r).encode_to_vec(),
        Resource::Route(r) => route::encode(r).encode_to_vec(),
        Resource::Service(r) => service::encode(r).encode_to_vec(),
        Resource::Workload(r) => workload::encode(r).encode_to_vec(),
    };
    Bytes::from(bytes)
}

/// Parses a resource in full.
///
/// # Errors
/// [`DecodeError`] names the field that is wrong. Parts of a kind that is not known here are errors: a resource
/// is never weaker than what was sent.
pub fn decode(type_url: &str, bytes: &[u8]) -> Result<Resource, DecodeError> {
    let kind = Kind::from_type_url(type_url);
    Ok(match kind.ok_or_else(|| DecodeError::UnknownType(type_url.to_owned()))? {
        Kind::BackendTls => {
            Resource::BackendTls(Arc::new(tls::decode_backend(wire::BackendTls::decode(bytes)?)?))
        }
        Kind::Certificate => {
            Resource::Certificate(Arc::new(tls::decode_certificate(wire::Certificate::decode(bytes)?)?))
        }
        Kind::EndpointChunk => {
            Resource::EndpointChunk(Arc::new(service::decode_chunk(wire::EndpointChunk::decode(bytes)?)?))
        }
        Kind::Listener => Resource::Listener(Arc::new(listener::decode(wire::Listener::decode(bytes)?)?)),
        Kind::Policy => Resource::Policy(Arc::new(policy::decode(wire::Policy::decode(bytes)?)?)),
        Kind::Route => Resource::Route(Arc::new(route::decode(wire::Route::decode(bytes)?)?)),
        Kind::Service => Resource::Service(Arc::new(service::decode(wire::Service::decode(bytes)?)?)),
        Kind::Workload => Resource::Workload(Arc::new(workload::decode(wire::Workload::decode(bytes)?)?)),
    })
}

/// Parses a resource that travelled under a name, which must be its key.
///
/// # Errors
/// As [`decode`], and [`DecodeError::Name`].
pub fn decode_named(type_url: &str, name: &str, bytes: &[u8]) -> Result<Resource, DecodeError> {
    let resource = decode(type_url, bytes)?;
    let key = resource.key().to_string();
    if key == name { Ok(resource) } else { Err(DecodeError::Name { key }) }
}

/// A resource as the cache offers it, with the stub for nodes that lack a feature it needs.
///
/// # Errors
/// When it is larger than a resource may be.
pub fn entry(resource: &Resource) -> Result<Entry, TooLarge> {
    let full = Encoded::new(encode(resource))?;
    let features = needed_features(resource);
    if features.is_empty() {
        return Ok(Entry::new(full));
    }
    Ok(Entry::guarded(full, features, Encoded::new(encode(&stub(resource)))?))
}

/// The steps that bring a cache from one state of the mesh to the next, and the resources that are too large to
/// travel: of these the version before stays on offer. Every proxy may have everything: where certificates with
/// their keys are among the resources, use a [`Publisher`].
pub fn changes(delta: &Delta) -> (Vec<Change>, Vec<(ResourceKey, TooLarge)>) {
    let mut steps: Vec<Change> = delta.removed.iter().map(|key| Change::Remove(key.into())).collect();
    let mut refused = Vec::new();
    for resource in &delta.set {
        match entry(resource) {
            Ok(entry) => steps.push(Change::Set(resource.key().into(), entry)),
            Err(error) => refused.push((resource.key().clone(), error)),
        }
    }
    (steps, refused)
}

/// The resources of a last-good snapshot, all of them or none: without a policy that it holds, the rest would be
/// weaker than what was in force.
///
/// # Errors
/// The first resource that is not valid here, such as after a downgrade.
pub fn restore(last: &LastGood) -> Result<Delta, (Key, DecodeError)> {
    let decode = |held: &Held| {
        let Held { key, body, .. } = held;
        decode_named(key.type_url.as_str(), &key.name, body).map_err(|error| (key.clone(), error))
    };
    let set = last.resources.iter().map(decode).collect::<Result<_, _>>()?;
    Ok(Delta { set, removed: Vec::new() })
}

#[cfg(test)]
mod tests;
