//! Endpoints of backends outside of the mesh: the addresses of their names, kept in the snapshot beside what the
//! controller sends. Asking is the business of mesh-dns.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mesh_dns::Lookup;
use mesh_dns::endpoints::{Endpoints, names};
use tokio::sync::watch;

use crate::snapshot::SharedMesh;

pub use mesh_dns::Resolver;

/// Keeps the endpoints of the snapshot's services outside of the mesh up to date, for ever. A name without an address
/// leaves its own service without an endpoint, and no other.
pub async fn keep_names(mesh: SharedMesh, lookup: impl Lookup) {
    let endpoints = Mutex::new(Endpoints::default());
    let (want, wanted) = watch::channel(BTreeSet::new());
    let mut changes = mesh.changes();
    let follow = async {
        loop {
            let now = names(&mesh.current());
            put(&mesh, &mut held(&endpoints));
            want.send_if_modified(|names| {
                let news = *names != now;
                *names = now;
                news
            });
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    let keep = mesh_dns::keep(lookup, wanted, |name, addresses| {
        let mut endpoints = held(&endpoints);
        endpoints.learn(name, addresses);
        put(&mesh, &mut endpoints);
    });
    tokio::join!(follow, keep);
}

fn held(endpoints: &Mutex<Endpoints>) -> MutexGuard<'_, Endpoints> {
    endpoints.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Without a difference nothing is published.
fn put(shared: &SharedMesh, endpoints: &mut Endpoints) {
    shared.change_if(|mesh| endpoints.change(mesh).map(|delta| mesh.apply(&delta)));
}
