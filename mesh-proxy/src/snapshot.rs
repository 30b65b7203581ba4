//! The snapshot that a worker decides with: published by the control thread, read without locks.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mesh_model::Mesh;

/// The current snapshot of a proxy, shared by its workers.
#[derive(Debug, Clone, Default)]
pub struct SharedMesh(Arc<ArcSwap<Mesh>>);

impl SharedMesh {
    /// A proxy's snapshot that begins with this mesh.
    pub fn new(mesh: Mesh) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(mesh)))
    }

    /// The snapshot now. A request takes it once and decides everything with it.
    pub fn current(&self) -> Arc<Mesh> {
        self.0.load_full()
    }

    /// Replaces the snapshot. Requests that took the old one keep it until they are decided.
    pub fn publish(&self, mesh: Mesh) {
        self.0.store(Arc::new(mesh));
    }
}
