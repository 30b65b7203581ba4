//! Whole steps only: what the controller sends in several responses comes into force together, so that a
//! listener is never there before the policies that belong to it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use mesh_model::Delta;
use mesh_xds::client::{Consumer, Update};
use mesh_xds::key::TypeUrl;
use mesh_xds::lastgood::Recorder;
use mesh_xds::native::MeshConsumer;

use crate::snapshot::SharedMesh;

type Pending = Arc<Mutex<Vec<Delta>>>;
type Collect = Box<dyn FnMut(Delta) + Send>;

/// Collects the deltas of a step and publishes them as one snapshot.
pub(super) struct Staging {
    decoder: MeshConsumer<Collect>,
    pending: Pending,
    mesh: SharedMesh,
}

impl Staging {
    pub(super) fn new(mesh: SharedMesh, recorder: Option<Recorder>) -> Self {
        let pending = Pending::default();
        let shared = Arc::clone(&pending);
        let collect: Collect = Box::new(move |delta| {
            shared.lock().unwrap_or_else(PoisonError::into_inner).push(delta);
        });
        let decoder = MeshConsumer::new(collect);
        let decoder = match recorder {
            Some(recorder) => decoder.recorded(recorder),
            None => decoder,
        };
        Self { decoder, pending, mesh }
    }
}

impl Consumer for Staging {
    type Item = <MeshConsumer<Collect> as Consumer>::Item;

    fn decode(&mut self, type_url: &TypeUrl, name: &str, body: &Bytes) -> Result<Self::Item, String> {
        self.decoder.decode(type_url, name, body)
    }

    fn apply(&mut self, update: Update<Self::Item>) {
        let complete = update.complete;
        self.decoder.apply(update);
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        // A step that only tells of an empty mesh counts too: the proxy then has a configuration.
        let news = !pending.is_empty() || self.mesh.current().version() == 0;
        if complete && news {
            self.mesh.change(|mesh| {
                let next = pending.drain(..).fold(mesh.clone(), |mesh, delta| mesh.apply(&delta));
                if next.version() == 0 { next.apply(&Delta::default()) } else { next }
            });
        }
    }
}
