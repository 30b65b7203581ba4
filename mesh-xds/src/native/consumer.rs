//! Turns updates of the client into deltas of the mesh. What is done with a delta is the caller's business.

use bytes::Bytes;
use mesh_model::mesh::Delta;
use mesh_model::{Resource, ResourceKey};

use super::decode_named;
use crate::client::{Consumer, Update};
use crate::key::{Key, TypeUrl};
use crate::lastgood::Recorder;

/// Decodes the mesh's resources and hands deltas on, as one step per response. With a recorder the resources are
/// also kept for a start without a server.
pub struct MeshConsumer<F> {
    apply: F,
    recorder: Option<Recorder>,
}

impl<F: FnMut(Delta) + Send + 'static> MeshConsumer<F> {
    /// A consumer that calls `apply` with every delta that changes something. `apply` must not block.
    pub fn new(apply: F) -> Self {
        Self { apply, recorder: None }
    }

    /// Also records what is held.
    pub fn recorded(self, recorder: Recorder) -> Self {
        Self { recorder: Some(recorder), ..self }
    }
}

impl<F: FnMut(Delta) + Send + 'static> Consumer for MeshConsumer<F> {
    type Item = (Resource, Bytes);

    fn decode(&mut self, type_url: &TypeUrl, name: &str, body: &Bytes) -> Result<Self::Item, String> {
        let resource = decode_named(type_url.as_str(), name, body).map_err(|error| error.to_string())?;
        Ok((resource, body.clone()))
    }

    fn apply(&mut self, update: Update<Self::Item>) {
        if let Some(recorder) = &mut self.recorder {
            let set = update.set.iter().map(|(name, version, (_, body))| (name, version, body));
            recorder.note(&update.type_url, set, &update.removed);
            if update.complete {
                recorder.publish();
            }
        }
        let set: Vec<Resource> = update.set.into_iter().map(|(_, _, (resource, _))| resource).collect();
        let key = |name: &std::sync::Arc<str>| {
            let key = Key { type_url: update.type_url.clone(), name: name.clone() };
            key.resource_key()
        };
        let removed: Vec<ResourceKey> = update.removed.iter().filter_map(key).collect();
        if !(set.is_empty() && removed.is_empty()) {
            (self.apply)(Delta { set, removed });
        }
    }
}
