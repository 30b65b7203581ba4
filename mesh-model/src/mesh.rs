//! The mesh as an immutable snapshot of resources with the indices that decisions need.
//!
//! [`Mesh::apply`] makes the next snapshot and copies only the paths to what changed: its cost follows the
//! change, not the mesh. Nothing here decides; see [`crate::engine`].

mod endpoints;
mod hashed;
mod headers;
mod hosts;
mod paths;
mod table;
mod towards;

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderName;
use rpds::RedBlackTreeMapSync;

use crate::backend::{Service, Transport};
use crate::listener::{Listener, ListenerProtocol};
use crate::name::{Kind, ObjectName, ResourceKey};
use crate::named::{NameAnd, Named};
use crate::policy::AuthorizationPolicy;
use crate::resource::Resource;
use crate::route::{Attachment, Route};
use crate::tls::{BackendTls, Certificate};
use crate::workload::Workload;

use hashed::HashTrieMapSync;
use headers::HeaderNames;

pub use endpoints::EndpointSet;
pub use table::{Candidate, RouteTable};

/// Resources that changed: new or replaced ones, and the keys of those that are gone.
#[derive(Debug, Clone, Default)]
pub struct Delta {
    /// New or replaced resources.
    pub set: Vec<Resource>,
    /// Keys of resources that are gone.
    pub removed: Vec<ResourceKey>,
}

/// A gateway and one of its ports, TCP and UDP apart.
type GatewayPort = Named<(Transport, u16)>;
/// A service and one of its ports; `None` holds the routes of all ports.
type RoutedService = Named<Option<u16>>;
type ServicePortKey = Named<(Transport, u16)>;

/// A snapshot. Cloning is cheap: everything is shared.
#[derive(Debug, Clone, Default)]
pub struct Mesh {
    version: u64,
    resources: RedBlackTreeMapSync<ResourceKey, Resource>,
    gateways: HashTrieMapSync<GatewayPort, Arc<[Arc<Listener>]>>,
    /// How many listeners have filters: mostly none, and then no request looks for any.
    filtering: usize,
    /// How many listeners have a policy for traces.
    traced: usize,
    listener_routes: HashTrieMapSync<ResourceKey, RouteTable>,
    service_routes: HashTrieMapSync<RoutedService, RedBlackTreeMapSync<Arc<str>, RouteTable>>,
    services: HashTrieMapSync<ObjectName, Arc<Service>>,
    outside: RedBlackTreeMapSync<ObjectName, Arc<Service>>,
    addresses: HashTrieMapSync<IpAddr, Arc<Service>>,
    endpoints: HashTrieMapSync<ServicePortKey, Arc<EndpointSet>>,
    backend_tls: HashTrieMapSync<RoutedService, RedBlackTreeMapSync<ResourceKey, Arc<BackendTls>>>,
    policies: HashTrieMapSync<Arc<str>, RedBlackTreeMapSync<ResourceKey, Arc<AuthorizationPolicy>>>,
    workloads: HashTrieMapSync<ObjectName, Arc<Workload>>,
    workload_addresses: HashTrieMapSync<IpAddr, Arc<Workload>>,
    headers: HeaderNames,
}

impl Mesh {
    /// A snapshot of these resources.
    pub fn from_resources(resources: impl IntoIterator<Item = Resource>) -> Self {
        Self::default().apply(&Delta { set: resources.into_iter().collect(), removed: Vec::new() })
    }

    /// The next snapshot.
    #[must_use]
    pub fn apply(&self, delta: &Delta) -> Self {
        let mut next = self.clone();
        next.version += 1;
        delta.removed.iter().for_each(|key| next.remove(key));
        delta.set.iter().for_each(|resource| next.set(resource.clone()));
        next
    }

    /// How many deltas led to this snapshot.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All resources, ordered by key.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.resources.values()
    }

    /// One resource.
    pub fn resource(&self, key: &ResourceKey) -> Option<&Resource> {
        self.resources.get(key)
    }

    /// The listeners of a gateway's port, ordered from the most specific hostname to the least.
    pub fn listeners(&self, gateway: &ObjectName, transport: Transport, port: u16) -> &[Arc<Listener>] {
        let key: &dyn NameAnd<_> = &(gateway, (transport, port));
        self.gateways.get(key).map_or(&[], |found| found)
    }

    /// Whether some listener has filters.
    pub fn has_listener_filters(&self) -> bool {
        self.filtering > 0
    }

    /// Every listener, ordered by key.
    pub fn all_listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.of_kind(Kind::Listener)
            .filter_map(|r| if let Resource::Listener(l) = r { Some(l) } else { None })
    }

    /// Every service, ordered by key.
    pub fn all_services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.of_kind(Kind::Service).filter_map(|r| if let Resource::Service(s) = r { Some(s) } else { None })
    }

    /// Every workload, ordered by key.
    pub fn all_workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.of_kind(Kind::Workload)
            .filter_map(|r| if let Resource::Workload(w) = r { Some(w) } else { None })
    }

    /// The routes of a listener.
    pub fn listener_routes(&self, listener: &ResourceKey) -> Option<&RouteTable> {
        self.listener_routes.get(listener)
    }

    /// The routes that act on a client's traffic to a service port: the consumer routes of the client's
    /// namespace if there are any, else the producer routes (GAMMA, GEP-1294). Routes that name the port
    /// come before routes that name none.
    pub fn service_routes(
        &self,
        service: &ObjectName,
        port: u16,
        client_namespace: &str,
    ) -> Vec<&RouteTable> {
        let of = |namespace: &str| -> Vec<&RouteTable> {
            let ports = [Some(port), None];
            let tables = ports.into_iter().filter_map(|port| {
                let key: &dyn NameAnd<_> = &(service, port);
                self.service_routes.get(key)?.get(namespace)
            });
            tables.filter(|table| !table.is_empty()).collect()
        };
        let consumer =
            if *client_namespace == *service.namespace { Vec::new() } else { of(client_namespace) };
        if consumer.is_empty() { of(&service.namespace) } else { consumer }
    }

    /// A service by name.
    pub fn service(&self, name: &ObjectName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// The services whose endpoints are the addresses of a name, ordered by their own.
    pub fn outside_services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.outside.values()
    }

    /// The service that a virtual address belongs to.
    pub fn service_at(&self, address: &IpAddr) -> Option<&Arc<Service>> {
        self.addresses.get(address)
    }

    /// The endpoints of a service port.
    pub fn endpoints(
        &self,
        service: &ObjectName,
        transport: Transport,
        port: u16,
    ) -> Option<&Arc<EndpointSet>> {
        let key: &dyn NameAnd<_> = &(service, (transport, port));
        self.endpoints.get(key)
    }

    /// A certificate by key.
    pub fn certificate(&self, key: &ResourceKey) -> Option<&Arc<Certificate>> {
        match self.resources.get(key) {
            Some(Resource::Certificate(certificate)) => Some(certificate),
            _ => None,
        }
    }

    /// A workload by name.
    pub fn workload(&self, name: &ObjectName) -> Option<&Arc<Workload>> {
        self.workloads.get(name)
    }

    /// The workload that has an address of its own.
    pub fn workload_at(&self, address: &IpAddr) -> Option<&Arc<Workload>> {
        self.workload_addresses.get(address)
    }

    /// The policies that select a workload, ordered by key. Those without a namespace are the whole mesh's.
    pub fn policies_for(&self, workload: &Workload) -> Vec<Arc<AuthorizationPolicy>> {
        let policies = ["", &*workload.name.namespace].into_iter().filter_map(|slot| self.policies.get(slot));
        let selects = |policy: &&Arc<AuthorizationPolicy>| {
            policy.selector.iter().all(|(key, value)| workload.labels.get(key) == Some(value))
        };
        policies.flat_map(RedBlackTreeMapSync::values).filter(selects).cloned().collect()
    }

    /// The names of all headers that some route or policy compares.
    pub fn compared_headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter()
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Resource> {
        let first =
            ResourceKey { cluster: Arc::from(""), ..ResourceKey::local(kind, ObjectName::new("", "")) };
        self.resources.range(first..).map(|(_, r)| r).take_while(move |r| r.key().kind == kind)
    }

    fn set(&mut self, resource: Resource) {
        let key = resource.key().clone();
        if self.resources.get(&key) == Some(&resource) {
            return;
        }
        self.remove(&key);
        self.index(&resource);
        self.headers.add(&resource);
        self.resources.insert_mut(key, resource);
    }

    fn remove(&mut self, key: &ResourceKey) {
        let Some(old) = self.resources.get(key).cloned() else { return };
        self.unindex(&old);
        self.headers.take(&old);
        self.resources.remove_mut(key);
    }

    fn index(&mut self, resource: &Resource) {
        match resource {
            Resource::BackendTls(tls) => {
                let slot = (tls.service.clone(), tls.port);
                let found = self.backend_tls.get(&slot).cloned().unwrap_or_default();
                self.backend_tls.insert_mut(slot, found.insert(tls.key.clone(), Arc::clone(tls)));
            }
            Resource::Certificate(_) => {}
            Resource::EndpointChunk(chunk) => {
                let slot = (chunk.service.clone(), (chunk.transport, chunk.port));
                let found =
                    self.endpoints.get(&slot).map_or_else(EndpointSet::default, |set| (**set).clone());
                self.endpoints.insert_mut(slot, Arc::new(found.with(Arc::clone(chunk))));
            }
            Resource::Listener(listener) => {
                self.filtering += usize::from(!listener.filters.is_empty());
                self.traced += usize::from(listener.tracing.is_some());
                self.change_listeners(listener, |all| all.push(Arc::clone(listener)));
            }
            Resource::Policy(policy) => {
                let namespace = &policy.key.object.namespace;
                let found = self.policies.get(namespace).cloned().unwrap_or_default();
                self.policies
                    .insert_mut(Arc::clone(namespace), found.insert(policy.key.clone(), Arc::clone(policy)));
            }
            Resource::Route(route) => self.change_routes(route, |table, at| table.insert(route, at)),
            Resource::Service(service) => {
                for address in &service.addresses {
                    self.addresses.insert_mut(*address, Arc::clone(service));
                }
                if service.hostname.is_some() {
                    self.outside.insert_mut(service.name.clone(), Arc::clone(service));
                }
                self.services.insert_mut(service.name.clone(), Arc::clone(service));
            }
            Resource::Workload(workload) => {
                for address in &workload.addresses {
                    self.workload_addresses.insert_mut(*address, Arc::clone(workload));
                }
                self.workloads.insert_mut(workload.name.clone(), Arc::clone(workload));
            }
        }
    }

    fn unindex(&mut self, resource: &Resource) {
        match resource {
            Resource::BackendTls(tls) => {
                let slot = (tls.service.clone(), tls.port);
                let rest =
                    self.backend_tls.get(&slot).map(|found| found.remove(&tls.key)).unwrap_or_default();
                replace(&mut self.backend_tls, slot, rest, RedBlackTreeMapSync::is_empty);
            }
            Resource::Certificate(_) => {}
            Resource::EndpointChunk(chunk) => {
                let slot = (chunk.service.clone(), (chunk.transport, chunk.port));
                let rest = self
                    .endpoints
                    .get(&slot)
                    .map(|set| Arc::new(set.without(&chunk.key)))
                    .unwrap_or_default();
                replace(&mut self.endpoints, slot, rest, |set| set.is_unknown());
            }
            Resource::Listener(listener) => {
                self.filtering -= usize::from(!listener.filters.is_empty());
                self.traced -= usize::from(listener.tracing.is_some());
                self.change_listeners(listener, |all| all.retain(|l| l.key != listener.key));
            }
            Resource::Policy(policy) => {
                let slot = Arc::clone(&policy.key.object.namespace);
                let rest =
                    self.policies.get(&slot).map(|found| found.remove(&policy.key)).unwrap_or_default();
                replace(&mut self.policies, slot, rest, RedBlackTreeMapSync::is_empty);
            }
            Resource::Route(route) => self.change_routes(route, |table, at| table.remove(route, at)),
            Resource::Service(service) => {
                let ours = |found: &Arc<Service>| found.key == service.key;
                for address in &service.addresses {
                    if self.addresses.get(address).is_some_and(ours) {
                        self.addresses.remove_mut(address);
                    }
                }
                self.outside.remove_mut(&service.name);
                self.services.remove_mut(&service.name);
            }
            Resource::Workload(workload) => {
                // An address may have gone to another workload before this one is removed.
                let ours = |found: &Arc<Workload>| found.key == workload.key;
                for address in &workload.addresses {
                    if self.workload_addresses.get(address).is_some_and(ours) {
                        self.workload_addresses.remove_mut(address);
                    }
                }
                self.workloads.remove_mut(&workload.name);
            }
        }
    }

    fn change_listeners(&mut self, listener: &Listener, change: impl FnOnce(&mut Vec<Arc<Listener>>)) {
        let transport =
            if listener.protocol == ListenerProtocol::Udp { Transport::Udp } else { Transport::Tcp };
        let slot = (listener.gateway.clone(), (transport, listener.port));
        let mut all = self.gateways.get(&slot).map(|found| found.to_vec()).unwrap_or_default();
        change(&mut all);
        all.sort_by(|a, b| {
            b.hostname.specificity().cmp(&a.hostname.specificity()).then_with(|| a.key.cmp(&b.key))
        });
        replace(&mut self.gateways, slot, Arc::from(all), |all| all.is_empty());
    }

    fn change_routes(&mut self, route: &Arc<Route>, change: impl Fn(&mut RouteTable, &Attachment)) {
        for attachment in &route.attachments {
            match attachment {
                Attachment::Listener(listener) => {
                    let mut table = self.listener_routes.get(listener).cloned().unwrap_or_default();
                    change(&mut table, attachment);
                    replace(&mut self.listener_routes, listener.clone(), table, RouteTable::is_empty);
                }
                Attachment::Service { service, port } => {
                    let slot = (service.clone(), *port);
                    let namespace = &route.key.object.namespace;
                    let mut spaces = self.service_routes.get(&slot).cloned().unwrap_or_default();
                    let mut table = spaces.get(namespace).cloned().unwrap_or_default();
                    change(&mut table, attachment);
                    if table.is_empty() {
                        spaces.remove_mut(namespace);
                    } else {
                        spaces.insert_mut(Arc::clone(namespace), table);
                    }
                    replace(&mut self.service_routes, slot, spaces, RedBlackTreeMapSync::is_empty);
                }
            }
        }
    }
}

fn replace<K, V>(map: &mut HashTrieMapSync<K, V>, key: K, value: V, empty: impl FnOnce(&V) -> bool)
where
    K: Eq + std::hash::Hash,
{
    if empty(&value) {
        map.remove_mut(&key);
    } else {
        map.insert_mut(key, value);
    }
}
