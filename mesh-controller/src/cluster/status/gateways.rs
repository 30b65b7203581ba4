//! What a gateway's status needs beside its objects: proxies that are ready, and their answers to the listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_model::{Listener, ObjectName, SpiffeId};
use mesh_xds::cache::ResourceCache;
use mesh_xds::server::Fleet;

use super::super::Access;
use super::super::apply::Refusals;
use crate::controller::View;
use crate::objects::{EndpointSlice, Gateway, ListenerSet, ObjectKind, Service};
use crate::provision::{Answer, Reach, account, finish, service_name};
use crate::status::ObjectStatus;
use crate::store::ObjectStore;

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
    ready: BTreeMap<ObjectName, BTreeSet<String>>,
    waits_until: Option<Instant>,
}

impl Gateways {
    pub(super) fn new(proxies: Proxies) -> Self {
        Self { proxies, asked: BTreeMap::new(), ready: BTreeMap::new(), waits_until: None }
    }

    /// Takes in what the controller holds now.
    pub(super) fn look(&mut self, view: &View, now: Instant) {
        self.waits_until = None;
        self.ready = ready(&view.store);
        let mut listeners: BTreeMap<ObjectName, Vec<Arc<Listener>>> = BTreeMap::new();
        for listener in view.mesh.all_listeners() {
            listeners.entry(listener.gateway.clone()).or_default().push(Arc::clone(listener));
        }
        self.asked.retain(|gateway, _| listeners.contains_key(gateway));
        for (gateway, listeners) in listeners {
            match self.asked.get_mut(&gateway) {
                None => drop(self.asked.insert(gateway, Asked { listeners, since: None })),
                Some(asked) if asked.listeners == listeners => {}
                Some(asked) => {
                    let sequence = self.proxies.cache.snapshot().sequence();
                    *asked = Asked { listeners, since: Some((now, sequence)) };
                }
            }
        }
    }

    /// When a gateway is not waited for any longer.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        self.waits_until
    }

    /// The status with what is known of the proxies. None while a proxy may still answer: then what was written
    /// before stays.
    pub(super) fn finished(
        &mut self,
        status: &ObjectStatus,
        (view, refusals): (&View, &Refusals),
        (access, now): (&Access, Instant),
    ) -> Option<ObjectStatus> {
        let Some(name) = gateway_of(status, &view.store) else { return Some(status.clone()) };
        let Some((_, gateway)) = view.store.one::<Gateway>(&name) else { return Some(status.clone()) };
        let service = ObjectName::new(&*name.namespace, service_name(&name.name).as_str());
        let ready = self.ready.get(&service).map_or(0, BTreeSet::len);
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
            let until = since + PATIENCE;
            self.waits_until = Some(self.waits_until.map_or(until, |other| other.min(until)));
            return None;
        }
        Some(missing.join(", "))
    }
}

/// The gateway that a status is about, or whose listener set it is about.
fn gateway_of(status: &ObjectStatus, store: &ObjectStore) -> Option<ObjectName> {
    match status.kind {
        ObjectKind::Gateway => Some(status.name.clone()),
        ObjectKind::ListenerSet => {
            let parent = &store.one::<ListenerSet>(&status.name)?.1.spec.parent_ref;
            let namespace = parent.namespace.as_deref().unwrap_or(&status.name.namespace);
            Some(ObjectName::new(namespace, parent.name.as_str()))
        }
        _ => None,
    }
}

/// Addresses that are ready, by service.
fn ready(store: &ObjectStore) -> BTreeMap<ObjectName, BTreeSet<String>> {
    let mut ready: BTreeMap<ObjectName, BTreeSet<String>> = BTreeMap::new();
    for (stored, slice) in store.all::<EndpointSlice>() {
        let Some(service) = slice.metadata.labels.get(SERVICE_NAME) else { continue };
        let service = ObjectName::new(&*stored.name().namespace, service.as_str());
        let endpoints = slice.endpoints.iter().filter(|endpoint| {
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
        });
        let addresses = endpoints.flat_map(|endpoint| endpoint.addresses.iter().cloned());
        ready.entry(service).or_default().extend(addresses);
    }
    ready
}
