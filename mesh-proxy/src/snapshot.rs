//! The snapshot that a worker decides with: published by the control thread, read without locks.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use mesh_model::{Mesh, ObjectName, Transport};
use tokio::sync::watch;

/// The current snapshot of a proxy, shared by its workers.
#[derive(Debug, Clone, Default)]
pub struct SharedMesh(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    current: ArcSwap<Mesh>,
    /// Replaced snapshots that somebody may still hold: the publisher drops them, never a worker.
    retired: Mutex<Vec<Arc<Mesh>>>,
    published: watch::Sender<u64>,
}

impl Default for Shared {
    fn default() -> Self {
        Self::of(Mesh::default())
    }
}

impl Shared {
    fn of(mesh: Mesh) -> Self {
        Self {
            current: ArcSwap::from_pointee(mesh),
            retired: Mutex::default(),
            published: watch::Sender::new(0),
        }
    }
}

impl SharedMesh {
    /// A proxy's snapshot that begins with this mesh.
    pub fn new(mesh: Mesh) -> Self {
        Self(Arc::new(Shared::of(mesh)))
    }

    /// The snapshot now. A request takes it once and decides everything with it.
    pub fn current(&self) -> Arc<Mesh> {
        self.0.current.load_full()
    }

    /// Ends when others are endpoints of a service's port for TCP and this address is not.
    pub(crate) async fn left_by(&self, (service, port): (&ObjectName, u16), address: SocketAddr) {
        let mut changes = self.changes();
        loop {
            let mesh = self.current();
            let ready = mesh.endpoints(service, Transport::Tcp, port).map_or(&[][..], |set| set.ready());
            if !ready.is_empty() && ready.iter().all(|endpoint| endpoint.address != address) {
                return;
            }
            drop(mesh);
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Replaces the snapshot. Requests that took the old one keep it until they are decided.
    pub fn publish(&self, mesh: Mesh) {
        self.change(|_| mesh);
    }

    /// Replaces the snapshot by what is made of it. Of several who do so at once, each gets what the one before made.
    pub fn change(&self, next: impl FnOnce(&Mesh) -> Mesh) {
        self.change_if(|mesh| Some(next(mesh)));
    }

    /// As [`Self::change`]; where nothing is made the snapshot stays.
    pub fn change_if(&self, next: impl FnOnce(&Mesh) -> Option<Mesh>) {
        let mut retired = self.0.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mesh) = next(&self.current()) else { return };
        let old = self.0.current.swap(Arc::new(mesh));
        retired.push(old);
        retired.retain(|mesh| Arc::strong_count(mesh) > 1);
        drop(retired);
        self.0.published.send_modify(|count| *count += 1);
    }

    /// Frees replaced snapshots that nobody holds any more. For the thread that publishes.
    pub fn sweep(&self) {
        let mut retired = self.0.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|mesh| Arc::strong_count(mesh) > 1);
    }

    /// Told of every later publication; several at once may be told as one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.published.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use mesh_model::Delta;

    use super::*;

    #[test]
    fn changes_at_once_are_made_one_after_the_other() {
        let shared = SharedMesh::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| shared.change(|mesh| mesh.apply(&Delta::default()))));
            }
        });
        assert_eq!(shared.current().version(), 400);
    }

    #[test]
    fn a_replaced_snapshot_lives_as_long_as_somebody_holds_it() {
        let shared = SharedMesh::default();
        let held = shared.current();
        let weak = Arc::downgrade(&held);
        let mut changes = shared.changes();
        shared.publish(Mesh::default());
        assert!(changes.has_changed().expect("the publisher lives"));
        changes.mark_unchanged();
        drop(held);
        assert!(weak.upgrade().is_some(), "a reader freed the snapshot");
        shared.sweep();
        assert!(weak.upgrade().is_none());
        assert!(!changes.has_changed().expect("the publisher lives"));
    }
}
