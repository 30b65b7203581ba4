//! Publishing of a mesh's resources with an audience: a certificate's private key goes to the gateways that serve
//! it and to nobody else. Everything else is for all proxies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_model::mesh::Delta;
use mesh_model::tls::ClientCertificate;
use mesh_model::{Certificate, Listener, ListenerTls, ObjectName, Resource, ResourceKey, SpiffeId, Workload};

use super::entry;
use crate::cache::{Change, Entry, TooLarge};

/// The kind of the object that the workload of a gateway's proxies is made from.
const GATEWAY: &str = "Gateway";

/// Turns deltas of the mesh into steps for a cache. It remembers which gateway serves which certificate.
///
/// The audience of a certificate are the identities of the workloads that were made from a gateway (their source is
/// the `Gateway` object) with a listener that refers to it, or with routes to a backend to which it is shown. When one
/// of these or a gateway's workload changes, the certificates concerned are offered or withdrawn in the same step.
#[derive(Debug, Default)]
pub struct Publisher {
    /// Listeners with certificates, for clients or backends: who serves them, and which they are.
    listeners: BTreeMap<ResourceKey, (ObjectName, Vec<ResourceKey>)>,
    /// Certificates that are shown to one backend: the gateways that show them, and which one.
    backends: BTreeMap<ResourceKey, ClientCertificate>,
    /// Workloads of gateways: which gateway, and the identity of its proxies.
    gateways: BTreeMap<ResourceKey, (ObjectName, SpiffeId)>,
    certificates: BTreeMap<ResourceKey, Published>,
}

#[derive(Debug)]
struct Published {
    certificate: Arc<Certificate>,
    audience: BTreeSet<SpiffeId>,
}

impl Publisher {
    /// A publisher of an empty mesh.
    pub fn new() -> Self {
        Self::default()
    }

    /// The steps for one delta, to be applied as one, and the resources that are too large to travel: of these the
    /// version before stays on offer.
    pub fn changes(&mut self, delta: &Delta) -> (Vec<Change>, Vec<(ResourceKey, TooLarge)>) {
        let mut steps: Vec<Change> = delta.removed.iter().map(|key| Change::Remove(key.into())).collect();
        let mut refused = Vec::new();
        let mut fresh = BTreeSet::new();
        delta.removed.iter().for_each(|key| self.forget(key));
        for resource in &delta.set {
            self.learn(resource);
            if let Resource::Certificate(certificate) = resource {
                fresh.insert(certificate.key.clone());
                continue; // offered below, when every listener is known
            }
            match entry(resource) {
                Ok(entry) => steps.push(Change::Set(resource.key().into(), entry)),
                Err(error) => refused.push((resource.key().clone(), error)),
            }
        }
        for (key, offered) in self.offers(&fresh) {
            match offered {
                Ok(entry) => steps.push(Change::Set((&key).into(), entry)),
                Err(error) => refused.push((key, error)),
            }
        }
        (steps, refused)
    }

    fn forget(&mut self, key: &ResourceKey) {
        self.listeners.remove(key);
        self.backends.remove(key);
        self.gateways.remove(key);
        self.certificates.remove(key);
    }

    fn learn(&mut self, resource: &Resource) {
        match resource {
            Resource::Certificate(certificate) => {
                let audience =
                    self.certificates.remove(&certificate.key).map(|p| p.audience).unwrap_or_default();
                let published = Published { certificate: certificate.clone(), audience };
                self.certificates.insert(certificate.key.clone(), published);
            }
            Resource::Listener(listener) => self.learn_listener(listener),
            Resource::Workload(workload) => self.learn_workload(workload),
            Resource::BackendTls(tls) => {
                self.backends.remove(&tls.key);
                if let Some(client) = &tls.client {
                    self.backends.insert(tls.key.clone(), client.clone());
                }
            }
            Resource::EndpointChunk(_) | Resource::Policy(_) | Resource::Route(_) | Resource::Service(_) => {}
        }
    }

    fn learn_listener(&mut self, listener: &Listener) {
        self.listeners.remove(&listener.key);
        let served = match &listener.tls {
            Some(ListenerTls::Terminate { certificates, .. }) => certificates.as_slice(),
            _ => &[],
        };
        let all: Vec<_> = served.iter().chain(&listener.backend_certificate).cloned().collect();
        if !all.is_empty() {
            self.listeners.insert(listener.key.clone(), (listener.gateway.clone(), all));
        }
    }

    fn learn_workload(&mut self, workload: &Workload) {
        self.gateways.remove(&workload.key);
        if &*workload.source.kind == GATEWAY {
            let gateway = (workload.source.object.clone(), workload.identity.clone());
            self.gateways.insert(workload.key.clone(), gateway);
        }
    }

    /// The certificates that are fresh or whose audience has changed.
    fn offers(&mut self, fresh: &BTreeSet<ResourceKey>) -> Vec<(ResourceKey, Result<Entry, TooLarge>)> {
        let mut identities: BTreeMap<&ObjectName, BTreeSet<&SpiffeId>> = BTreeMap::new();
        for (gateway, identity) in self.gateways.values() {
            identities.entry(gateway).or_default().insert(identity);
        }
        let mut audiences: BTreeMap<&ResourceKey, BTreeSet<SpiffeId>> = BTreeMap::new();
        for (gateway, certificates) in self.listeners.values() {
            for certificate in certificates {
                let of_gateway = identities.get(gateway).into_iter().flatten().map(|id| (*id).clone());
                audiences.entry(certificate).or_default().extend(of_gateway);
            }
        }
        for client in self.backends.values() {
            let gateways = client.gateways.iter().filter_map(|gateway| identities.get(gateway));
            let identities = gateways.flatten().map(|id| (*id).clone());
            audiences.entry(&client.certificate).or_default().extend(identities);
        }
        let mut offers = Vec::new();
        for (key, published) in &mut self.certificates {
            let audience = audiences.remove(key).unwrap_or_default();
            if audience == published.audience && !fresh.contains(key) {
                continue;
            }
            published.audience.clone_from(&audience);
            let resource = Resource::Certificate(published.certificate.clone());
            offers.push((key.clone(), entry(&resource).map(|entry| entry.only_for(audience))));
        }
        offers
    }
}
