//! Names: those of backends outside, whose addresses are kept in the snapshot beside what the controller sends, and
//! those of services, which applications ask about. Asking and answering are the business of mesh-dns.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_dns::endpoints::{Endpoints, names};
use mesh_dns::query::{Known, Query};
use mesh_dns::serve::{Names, Outcome, Server, Upstream};
use mesh_dns::{Lookup, Zone};
use tokio::sync::watch;

use crate::snapshot::SharedMesh;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::Metrics;

pub use mesh_dns::{Resolver, Settings};

/// Who answers an application's questions.
pub type NameServer = Server<Inside>;

/// The names of the snapshot.
#[derive(Debug)]
pub struct Inside {
    mesh: SharedMesh,
    zone: Zone,
    metrics: Arc<Metrics>,
}

/// A name server for a pod with these settings, whose own sockets carry a mark if there is one. `None` where there is no
/// cluster's domain or nobody to ask about the rest.
pub fn name_server(
    mesh: SharedMesh,
    settings: &Settings,
    mark: Option<u32>,
    telemetry: &Telemetry,
) -> Option<Arc<NameServer>> {
    let zone = Zone::new(settings.domain.as_deref()?);
    let upstream = Upstream { servers: settings.servers.clone(), mark };
    let inside = Inside { mesh, zone, metrics: Arc::clone(&telemetry.metrics) };
    (!upstream.servers.is_empty()).then(|| Arc::new(Server::new(inside, upstream)))
}

impl Names for Inside {
    fn zone(&self) -> &str {
        self.zone.domain()
    }

    fn known(&self, query: &Query) -> Option<Known> {
        self.zone.answer(&self.mesh.current(), query)
    }

    fn in_doubt(&self, query: &Query) -> Option<Known> {
        self.zone.in_doubt(&self.mesh.current(), query)
    }

    fn heard(&self, outcome: Outcome) {
        self.metrics.question(match outcome {
            Outcome::Answered => "answered",
            Outcome::Failed => "failed",
            Outcome::Forwarded => "forwarded",
        });
    }
}

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
