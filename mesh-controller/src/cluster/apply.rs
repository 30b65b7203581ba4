//! Keeps what runs for gateways as it should be: writes what differs, brings back what was deleted or edited.
//! Only the leader writes. What belongs to a gateway falls with it through its owner reference.

mod abandoned;
mod inventory;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use mesh_model::{Listener, ListenerProtocol, ObjectName, SpiffeId, Transport};
use serde_json::Value;
use tokio::sync::watch;

use super::{Access, Api, CallError, Fault};
use crate::controller::View;
use crate::objects::{Gateway, GatewayParameters, ObjectKind};
use crate::provision::{APPLIED, MANAGED_BY, Piece, PieceKind, Plan, Provisioning, includes, pieces, wanted};
use crate::serve::Count;
use crate::status::StatusBody;
use crate::store::Stored;

use abandoned::abandoned;
use inventory::{Inventory, PieceKey, path};

/// The account and service of the control plane.
const CONTROLLER: &str = "service-mesh-controller";
/// Gateways that are written for at a time.
const AT_ONCE: usize = 8;
/// First and longest wait after a write that failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Why the server does not give gateways the addresses that they ask for.
pub(super) type Refusals = BTreeMap<ObjectName, String>;

/// A gateway with all that should be there for it, and what this was made from.
struct Made {
    gateway: Arc<Stored>,
    parameters: Option<Arc<Stored>>,
    ports: BTreeSet<(Transport, u16)>,
    pieces: Vec<Piece>,
}

/// A piece that could not be written.
struct Failure {
    /// What was to be written, so that something else is tried at once.
    body: Value,
    count: u32,
    again: Instant,
}

struct Applier {
    access: Access,
    settings: Provisioning,
    inventory: Inventory,
    made: BTreeMap<ObjectName, Made>,
    failures: BTreeMap<PieceKey, Failure>,
    refusals: watch::Sender<Arc<Refusals>>,
    /// Up to where the view was looked at.
    seen: Option<u64>,
}

/// What came of one piece.
struct Written {
    gateway: ObjectName,
    key: PieceKey,
    body: Value,
    result: Result<Value, ApplyError>,
}

/// Why a piece is not as it should be.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    /// The server did not take it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The name is taken by an object that we did not make.
    #[error("{0} {1} is there already and belongs to somebody else")]
    Foreign(&'static str, ObjectName),
}

/// Applies for ever.
pub(super) async fn run(access: Access, refusals: watch::Sender<Arc<Refusals>>) {
    let Some(settings) = settings(&access) else { return };
    let inventory = Inventory::start(&access.api, &settings.managed_by());
    let (made, failures) = (BTreeMap::new(), BTreeMap::new());
    let mut applier = Applier { access, settings, inventory, made, failures, refusals, seen: None };
    let mut only_view = false;
    loop {
        let is_asked = applier.is_asked() || !only_view;
        if *applier.access.leading.borrow_and_update() && applier.inventory.is_complete() && is_asked {
            applier.look();
            applier.write().await;
            applier.clear_away().await;
        }
        only_view = false;
        let now = applier.access.clock.monotonic();
        let again = applier.failures.values().map(|failure| failure.again).min();
        let pause = again.map_or(PAUSES.1, |again| again.saturating_duration_since(now));
        tokio::select! {
            Ok(()) = applier.access.view.changed() => only_view = true,
            Ok(()) = applier.access.leading.changed() => {}
            () = applier.inventory.changed() => {}
            () = tokio::time::sleep(pause), if again.is_some() => {}
            else => return,
        }
    }
}

fn settings(access: &Access) -> Option<Provisioning> {
    let config = &access.config;
    let identity = SpiffeId::for_service_account(&config.trust_domain, &config.namespace, CONTROLLER);
    if let Err(error) = &identity {
        tracing::error!(%error, "nothing can be created for gateways");
    }
    Some(Provisioning {
        controller_address: format!("{CONTROLLER}.{}.svc:15012", config.namespace),
        controller_identity: identity.ok()?,
        controller_name: config.controller_name.clone(),
        image: config.proxy_image.clone(),
        trust_domain: config.trust_domain.clone(),
    })
}

impl Applier {
    /// Whether something was touched that gateways are made from.
    fn is_asked(&mut self) -> bool {
        let touched = self.access.view.borrow().touched_since(&mut self.seen);
        touched.is_none_or(|touched| {
            touched.listeners
                || touched.has(&[
                    ObjectKind::Gateway,
                    ObjectKind::GatewayClass,
                    ObjectKind::GatewayParameters,
                ])
        })
    }

    /// Decides what should be there. What was made from equal things is not made again.
    fn look(&mut self) {
        let view = self.access.view.borrow_and_update().clone();
        let mut ports: BTreeMap<ObjectName, BTreeSet<(Transport, u16)>> = BTreeMap::new();
        for listener in view.mesh.all_listeners() {
            ports.entry(listener.gateway.clone()).or_default().insert(port(listener));
        }
        let ours = accepted(&view);
        self.made.retain(|name, _| ours.contains(name));
        for name in ours {
            let ports = ports.remove(&name).unwrap_or_default();
            self.make(&view, name, ports);
        }
        let keys: BTreeSet<PieceKey> = self.made.values().flat_map(|made| &made.pieces).map(key).collect();
        self.failures.retain(|key, _| keys.contains(key));
    }

    fn make(&mut self, view: &View, name: ObjectName, ports: BTreeSet<(Transport, u16)>) {
        let Some((stored, gateway)) = view.store.one::<Gateway>(&name) else { return };
        let Some(live) = stored.live() else { return };
        let reference = gateway.spec.infrastructure.as_ref().and_then(|i| i.parameters_ref.as_ref());
        let parameters = reference.and_then(|reference| {
            view.store.one::<GatewayParameters>(&ObjectName::new(&*name.namespace, reference.name.as_str()))
        });
        let is_same = self.made.get(&name).is_some_and(|made| {
            let same = |one: &Arc<Stored>, other: &Arc<Stored>| Arc::ptr_eq(one, other) || one.same(other);
            let parameters_same = match (&made.parameters, &parameters) {
                (Some(one), Some((other, _))) => same(one, other),
                (one, other) => one.is_none() && other.is_none(),
            };
            made.ports == ports && parameters_same && same(&made.gateway, stored)
        });
        // Nothing runs for a gateway that has nothing to serve and never had.
        if is_same || (ports.is_empty() && !self.made.contains_key(&name)) {
            return;
        }
        let plan = Plan {
            gateway,
            name: &name,
            uid: &live.uid,
            parameters: parameters.map(|(_, parameters)| &parameters.spec),
            ports: ports.clone(),
        };
        let pieces = pieces(&plan, &self.settings);
        let parameters = parameters.map(|(stored, _)| Arc::clone(stored));
        self.made.insert(name, Made { gateway: Arc::clone(stored), parameters, ports, pieces });
    }

    /// Writes what differs: of each gateway one piece after the other, of several gateways at the same time.
    async fn write(&mut self) {
        let now = self.access.clock.monotonic();
        let mut jobs = Vec::new();
        for (name, made) in &self.made {
            let owner = made.gateway.live().map(|live| live.uid.to_string()).unwrap_or_default();
            let different = made.pieces.iter().filter(|piece| self.differs(piece, now));
            let batch: Vec<_> =
                different.map(|piece| (piece.clone(), self.inventory.find(&key(piece)).cloned())).collect();
            if !batch.is_empty() {
                jobs.push(write_all(self.access.api.clone(), (name.clone(), owner), batch));
            }
        }
        if jobs.is_empty() {
            return self.publish();
        }
        let done: Vec<Vec<Written>> =
            futures_util::stream::iter(jobs).buffer_unordered(AT_ONCE).collect().await;
        for written in done.into_iter().flatten() {
            self.note(written);
        }
        self.publish();
    }

    /// Removes what belongs to gateways that another controller has in charge.
    async fn clear_away(&mut self) {
        let store = self.access.view.borrow().store.clone();
        for (key, uid) in abandoned(&store, self.inventory.iter(), &self.access.config.controller_name) {
            match self.access.api.delete_exact(&path(&key), &uid).await {
                Ok(_) => {
                    tracing::info!(kind = key.0.as_str(), name = %key.1, "removed: another controller is in charge");
                    self.inventory.forget(&key);
                }
                Err(error) if matches!(error.fault(), Fault::Conflict | Fault::NotFound) => {
                    self.inventory.forget(&key);
                }
                Err(error) => {
                    tracing::warn!(%error, "what belongs to another controller's gateway could not be removed");
                    self.access.counters.add(Count::GatewayFailures, key.0.as_str());
                }
            }
        }
    }

    fn differs(&self, piece: &Piece, now: Instant) -> bool {
        let key = key(piece);
        let waits = self.failures.get(&key).is_some_and(|f| f.again > now && f.body == piece.body);
        let print = &piece.body["metadata"]["annotations"][APPLIED];
        let is_right = self.inventory.find(&key).is_some_and(|live| {
            live["metadata"]["annotations"][APPLIED] == *print && includes(live, &piece.body)
        });
        !waits && !is_right
    }

    fn note(&mut self, written: Written) {
        let Written { gateway, key, body, result } = written;
        match result {
            Ok(object) => {
                self.access.counters.add(Count::GatewayWrites, key.0.as_str());
                tracing::info!(%gateway, kind = key.0.as_str(), name = %key.1, "applied");
                self.failures.remove(&key);
                self.inventory.note(key, object);
            }
            Err(error) => {
                self.access.counters.add(Count::GatewayFailures, key.0.as_str());
                let count = self.failures.get(&key).filter(|f| f.body == body).map_or(0, |f| f.count + 1);
                tracing::warn!(%gateway, %error, count, "a part of a gateway could not be applied");
                if matches!(&error, ApplyError::Call(call) if call.fault() == Fault::NotFound) {
                    self.inventory.forget(&key);
                }
                let pause = PAUSES.0.saturating_mul(1 << count.min(10)).min(PAUSES.1);
                let again = self.access.clock.monotonic() + pause;
                let asks = self.made.get(&gateway).and_then(|made| made.gateway.get::<Gateway>());
                let asks = asks.is_some_and(|gateway| !wanted(gateway).is_empty());
                let refused = matches!(&error, ApplyError::Call(call) if call.fault() == Fault::Refused);
                if key.0 == PieceKind::Service && asks && refused {
                    let text = error.to_string();
                    self.refusals.send_if_modified(|all| {
                        let changed = all.get(&gateway) != Some(&text);
                        Arc::make_mut(all).insert(gateway.clone(), text);
                        changed
                    });
                }
                self.failures.insert(key, Failure { body, count, again });
            }
        }
    }

    /// Takes back refusals of what is applied, or not wanted any more.
    fn publish(&self) {
        let refused = |gateway: &ObjectName| {
            let pieces = self.made.get(gateway).map(|made| &made.pieces);
            let mut services = pieces.into_iter().flatten().filter(|piece| piece.kind == PieceKind::Service);
            services.any(|piece| self.failures.get(&key(piece)).is_some_and(|f| f.body == piece.body))
        };
        self.refusals.send_if_modified(|all| {
            let stale = all.keys().any(|gateway| !refused(gateway));
            if stale {
                Arc::make_mut(all).retain(|gateway, _| refused(gateway));
            }
            stale
        });
    }
}

fn key(piece: &Piece) -> PieceKey {
    (piece.kind, piece.name.clone())
}

fn port(listener: &Arc<Listener>) -> (Transport, u16) {
    let udp = listener.protocol == ListenerProtocol::Udp;
    (if udp { Transport::Udp } else { Transport::Tcp }, listener.port)
}

/// Gateways of ours that are accepted and stay.
fn accepted(view: &View) -> BTreeSet<ObjectName> {
    let accepted = view.statuses.of_kind(ObjectKind::Gateway).filter(|status| match &status.body {
        StatusBody::Gateway { conditions, .. } => conditions.iter().any(|c| c.kind == "Accepted" && c.status),
        _ => false,
    });
    let stays = |name: &ObjectName| {
        let gateway = view.store.one::<Gateway>(name);
        gateway.is_some_and(|(_, gateway)| gateway.metadata.deletion_timestamp.is_none())
    };
    accepted.map(|status| status.name.clone()).filter(stays).collect()
}

async fn write_all(
    api: Api,
    (gateway, owner): (ObjectName, String),
    pieces: Vec<(Piece, Option<Value>)>,
) -> Vec<Written> {
    let mut done = Vec::new();
    for (piece, live) in pieces {
        let result = write_one(&api, &piece, live.as_ref(), &owner).await;
        done.push(Written { gateway: gateway.clone(), key: key(&piece), body: piece.body, result });
    }
    done
}

async fn write_one(api: &Api, piece: &Piece, live: Option<&Value>, owner: &str) -> Result<Value, ApplyError> {
    let path = path(&key(piece));
    match live {
        None => match api.get(&path).await {
            Ok(there) if !is_ours(&there, piece, owner) => {
                return Err(ApplyError::Foreign(piece.kind.as_str(), piece.name.clone()));
            }
            Err(error) if error.fault() != Fault::NotFound => return Err(error.into()),
            Ok(_) | Err(_) => {}
        },
        Some(live) => move_address(api, piece, live).await?,
    }
    Ok(api.apply(&path, &piece.body).await?)
}

/// Whether an object that is not among ours is ours all the same: somebody took its label, or the watch is late.
fn is_ours(there: &Value, piece: &Piece, owner: &str) -> bool {
    let label = |object: &Value| object["metadata"]["labels"][MANAGED_BY].clone();
    let owners = there["metadata"]["ownerReferences"].as_array();
    label(there) == label(&piece.body)
        || owners.into_iter().flatten().any(|reference| reference["uid"] == owner)
}

/// The address of a service cannot be edited. When another one is asked for and can be had, the service is
/// deleted, to be made anew.
async fn move_address(api: &Api, piece: &Piece, live: &Value) -> Result<(), ApplyError> {
    let asked = &piece.body["spec"]["clusterIP"];
    if piece.kind != PieceKind::Service || asked.is_null() || live["spec"]["clusterIP"] == *asked {
        return Ok(());
    }
    let service = path(&key(piece));
    let (services, name) = service.rsplit_once('/').unwrap_or_default();
    let mut trial = piece.body.clone();
    trial["metadata"]["name"] = Value::Null;
    trial["metadata"]["generateName"] = Value::from(format!("{}-", &name[..name.len().min(50)]));
    api.create(&format!("{services}?dryRun=All"), &trial).await?;
    api.delete(&service).await?;
    Ok(())
}
