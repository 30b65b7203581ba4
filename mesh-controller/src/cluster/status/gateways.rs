//! What a gateway's status needs beside its objects: proxies that are ready, and their answers to the listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_model::{Listener, ObjectName, SpiffeId};
use mesh_xds::cache::ResourceCache;
use mesh_xds::server::Fleet;

use super::super::Access;
use super::super::apply::Refusals;
use crate::controller::{Batch, View};
use crate::objects::{EndpointSlice, Gateway, ListenerSet, ObjectKind, Service};
use crate::provision::{Answer, Reach, account, finish, service_name};
use crate::status::ObjectStatus;
use crate::store::{ObjectKey, ObjectStore};

/// How long a gateway's status waits for a proxy.
const PATIENCE: Duration = Duration::from_secs(5);
/// The label that names the service of an endpoint slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The proxies that are connected.
#[derive(Debug, Clone)]
pub(in super::super) struct Proxies {
    /// What they are sent.
    pub(in super::super) cache: ResourceCache,
    /// Their answers.
    pub(in super::super) fleet: Fleet,
}

/// Since when the proxies of a gateway are asked to take its listeners.
#[derive(Debug)]
struct Asked {
    listeners: Vec<Arc<Listener>>,
    /// Nothing is waited for when the listeners were there at the first look: a proxy that is ready has some.
    since: Option<(Instant, u64)>,
}

/// What is known of all gateways.
#[derive(Debug)]
pub(super) struct Gateways {
    proxies: Proxies,
    asked: BTreeMap<ObjectName, Asked>,
    /// Gateways by the name of their service.
    services: BTreeMap<ObjectName, ObjectName>,
    /// Services by the name of their endpoint slices.
    slices: BTreeMap<ObjectName, ObjectName>,
    /// Gateways by the name of their listener sets.
    sets: BTreeMap<ObjectName, ObjectName>,
    /// Gateways whose proxies may still answer, with the end of that time.
    waiting: BTreeMap<ObjectName, Instant>,
}

impl Gateways {
    pub(super) fn new(proxies: Proxies) -> Self {
        Self {
            proxies,
            asked: BTreeMap::new(),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            sets: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Takes in everything that the controller holds now. Returns all gateways and listener sets.
    pub(super) fn look_at_all(&mut self, view: &View, now: Instant) -> BTreeSet<ObjectKey> {
        let (services, slices, sets) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        (self.services, self.slices, self.sets) = (services, slices, sets);
        self.waiting.clear();
        let gateways = view.store.all::<Gateway>().map(|(stored, _)| key(ObjectKind::Gateway, stored.name()));
        let sets =
            view.store.all::<ListenerSet>().map(|(stored, _)| key(ObjectKind::ListenerSet, stored.name()));
        let slices = view.store.all::<EndpointSlice>();
        let slices = slices.map(|(stored, _)| key(ObjectKind::EndpointSlice, stored.name()));
        let keys = gateways.chain(sets).chain(slices).collect();
        self.look(view, &Batch { keys, listeners: true, ..Batch::default() }, now)
    }

    /// Takes in what was touched. Returns the gateways and listener sets about which something else may be said.
    pub(super) fn look(&mut self, view: &View, batch: &Batch, now: Instant) -> BTreeSet<ObjectKey> {
        let mut affected = BTreeSet::new();
        // Gateways first: services are known by them.
        for key in batch.keys.iter().filter(|key| key.kind == ObjectKind::Gateway) {
            let service = ObjectName::new(&*key.name.namespace, service_name(&key.name.name).as_str());
            match view.store.find(key) {
                Some(_) => drop(self.services.insert(service, key.name.clone())),
                None => drop((self.services.remove(&service), self.waiting.remove(&key.name))),
            }
            affected.insert(key.name.clone());
        }
        for key in &batch.keys {
            match key.kind {
                ObjectKind::EndpointSlice => {
                    let now =
                        view.store.one::<EndpointSlice>(&key.name).and_then(|(_, slice)| service_of(slice));
                    let before = self.slices.remove(&key.name);
                    let gateways = [&before, &now].map(|service| self.services.get(service.as_ref()?));
                    affected.extend(gateways.into_iter().flatten().cloned());
                    self.slices.extend(now.map(|service| (key.name.clone(), service)));
                }
                ObjectKind::ListenerSet => {
                    let now = gateway_of(key, &view.store);
                    let before = self.sets.remove(&key.name);
                    affected.extend(before.into_iter().chain(now.clone()));
                    self.sets.extend(now.map(|gateway| (key.name.clone(), gateway)));
                }
                ObjectKind::Service => affected.extend(self.services.get(&key.name).cloned()),
                _ => {}
            }
        }
        if batch.listeners {
            affected.extend(self.ask(view, now));
        }
        let sets = self.sets.iter().filter(|(_, gateway)| affected.contains(*gateway));
        let sets: Vec<_> = sets.map(|(set, _)| key(ObjectKind::ListenerSet, set)).collect();
        affected.iter().map(|name| key(ObjectKind::Gateway, name)).chain(sets).collect()
    }

    /// Notes which gateways have other listeners than before, and since when.
    fn ask(&mut self, view: &View, now: Instant) -> Vec<ObjectName> {
        let mut listeners: BTreeMap<ObjectName, Vec<Arc<Listener>>> = BTreeMap::new();
        for listener in view.mesh.all_listeners() {
            listeners.entry(listener.gateway.clone()).or_default().push(Arc::clone(listener));
        }
        self.asked.retain(|gateway, _| listeners.contains_key(gateway));
        let mut changed = Vec::new();
        for (gateway, listeners) in listeners {
            let since = match self.asked.get(&gateway) {
                None => None,
                Some(asked) if asked.listeners == listeners => continue,
                Some(_) => Some((now, self.proxies.cache.snapshot().sequence())),
            };
            changed.push(gateway.clone());
            self.asked.insert(gateway, Asked { listeners, since });
        }
        changed
    }

    /// Every gateway and listener set.
    pub(super) fn all(&self) -> BTreeSet<ObjectKey> {
        let gateways = self.services.values().map(|name| key(ObjectKind::Gateway, name));
        gateways.chain(self.sets.keys().map(|name| key(ObjectKind::ListenerSet, name))).collect()
    }

    /// Gateways whose proxies may still answer, with their listener sets.
    pub(super) fn waiting(&self) -> BTreeSet<ObjectKey> {
        let sets = self.sets.iter().filter(|(_, gateway)| self.waiting.contains_key(*gateway));
        let sets = sets.map(|(set, _)| key(ObjectKind::ListenerSet, set));
        self.waiting.keys().map(|name| key(ObjectKind::Gateway, name)).chain(sets).collect()
    }

    /// When some gateway is not waited for any longer.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        self.waiting.values().min().copied()
    }

    /// The status with what is known of the proxies. None while a proxy may still answer: then what was written
    /// before stays.
    pub(super) fn finished(
        &mut self,
        status: &ObjectStatus,
        (view, refusals): (&View, &Refusals),
        (access, now): (&Access, Instant),
    ) -> Option<ObjectStatus> {
        let about = key(status.kind, &status.name);
        let Some(name) = gateway_of(&about, &view.store) else { return Some(status.clone()) };
        let Some((_, gateway)) = view.store.one::<Gateway>(&name) else { return Some(status.clone()) };
        let service = ObjectName::new(&*name.namespace, service_name(&name.name).as_str());
        let ready = ready(&view.store, &service);
        let late = match self.late(&name, access, now) {
            Some(late) => late,
            None if ready == 0 => String::new(),
            None => return None,
        };
        let object = view.store.one::<Service>(&service).map(|(_, service)| service);
        let reported = object.map(|service| serde_json::to_value(&service.status).unwrap_or_default());
        let reach = Reach {
            gateway,
            service: object.zip(reported.as_ref()),
            refused: refusals.get(&name).map(String::as_str),
            ready,
            answer: if late.is_empty() { Answer::Applied } else { Answer::Late(&late) },
        };
        let mut status = status.clone();
        finish(&mut status.body, &reach);
        Some(status)
    }

    /// Proxies that have not answered in time. None while they have time.
    fn late(&mut self, gateway: &ObjectName, access: &Access, now: Instant) -> Option<String> {
        let Some((since, sequence)) = self.asked.get(gateway).and_then(|asked| asked.since) else {
            return Some(String::new());
        };
        let domain = &access.config.trust_domain;
        let identity =
            SpiffeId::for_service_account(domain, &gateway.namespace, &account(&gateway.name)).ok();
        let proxies = self.proxies.fleet.proxies();
        let ours = proxies.values().filter(|proxy| proxy.node.identity == identity);
        let missing: Vec<_> =
            ours.filter(|proxy| proxy.synced < sequence).map(|proxy| proxy.node.id.clone()).collect();
        if !missing.is_empty() && now < since + PATIENCE {
            self.waiting.insert(gateway.clone(), since + PATIENCE);
            return None;
        }
        self.waiting.remove(gateway);
        Some(missing.join(", "))
    }
}

fn key(kind: ObjectKind, name: &ObjectName) -> ObjectKey {
    ObjectKey::new(kind, name.clone())
}

/// The gateway that an object is, or the one whose listener set it is.
fn gateway_of(key: &ObjectKey, store: &ObjectStore) -> Option<ObjectName> {
    match key.kind {
        ObjectKind::Gateway => Some(key.name.clone()),
        ObjectKind::ListenerSet => {
            let parent = &store.one::<ListenerSet>(&key.name)?.1.spec.parent_ref;
            let namespace = parent.namespace.as_deref().unwrap_or(&key.name.namespace);
            Some(ObjectName::new(namespace, parent.name.as_str()))
        }
        _ => None,
    }
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectName> {
    let name = slice.metadata.labels.get(SERVICE_NAME)?;
    Some(ObjectName::new(slice.metadata.namespace.as_deref().unwrap_or_default(), name.as_str()))
}

/// How many addresses of a service are ready.
fn ready(store: &ObjectStore, service: &ObjectName) -> usize {
    let slices = store.in_namespace::<EndpointSlice>(&service.namespace);
    let slices = slices.filter(|(_, slice)| service_of(slice).as_ref() == Some(service));
    let endpoints = slices.flat_map(|(_, slice)| &slice.endpoints).filter(|endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    });
    endpoints.flat_map(|endpoint| &endpoint.addresses).collect::<BTreeSet<_>>().len()
}
