//! Finding the place of a request in a mesh by the names that people use.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, bail};
use mesh_model::{Mesh, ObjectName, Service, SpiffeId, TrustDomain, Workload};

/// A workload that sends a request.
pub(crate) struct Caller {
    /// Its namespace.
    pub(crate) namespace: Arc<str>,
    /// Its identity.
    pub(crate) identity: SpiffeId,
}

impl Caller {
    /// Finds a workload by `NAME` or `NAMESPACE/NAME`; a replica's number or the `app` label may stand for it.
    pub(crate) fn find(mesh: &Mesh, text: &str) -> anyhow::Result<Self> {
        let (namespace, name) = text.split_once('/').map_or((None, text), |(ns, name)| (Some(ns), name));
        let inside = |w: &&Arc<Workload>| namespace.is_none_or(|ns| *w.name.namespace == *ns);
        let named = |w: &&Arc<Workload>| *w.name.name == *name || replica_of(&w.name.name, name);
        let labelled = |w: &&Arc<Workload>| w.labels.get("app").is_some_and(|app| **app == *name);
        let found = mesh.all_workloads().filter(inside).find(named);
        let found = found.or_else(|| mesh.all_workloads().filter(inside).find(labelled));
        let names = || mesh.all_workloads().map(|w| w.name.to_string()).collect::<Vec<_>>().join(", ");
        let found = found.with_context(|| format!("no workload {text:?}; there are: {}", names()))?;
        Ok(Self { namespace: Arc::clone(&found.name.namespace), identity: found.identity.clone() })
    }

    /// The service that the caller reaches by a host name: short, with namespace, or the full cluster name.
    pub(crate) fn service(&self, mesh: &Mesh, host: &str, port: u16) -> anyhow::Result<(Arc<Service>, u16)> {
        let name = self.service_name(host);
        let by_address = host.parse().ok().and_then(|address| mesh.service_at(&address));
        let service = by_address.or_else(|| mesh.service(&name)).with_context(|| {
            let known: Vec<_> = mesh.all_services().map(|service| service.name.to_string()).collect();
            format!("no service answers to {host:?}; there are: {}", known.join(", "))
        })?;
        let ports: Vec<_> = service.ports.iter().map(|p| p.port.to_string()).collect();
        if !service.ports.iter().any(|p| p.port == port) {
            bail!("service {} has no port {port}; it has {}", service.name, ports.join(", "));
        }
        Ok((Arc::clone(service), port))
    }

    fn service_name(&self, host: &str) -> ObjectName {
        let mut labels = host.split('.');
        let name = labels.next().unwrap_or_default();
        ObjectName::new(labels.next().unwrap_or(&self.namespace), name)
    }
}

fn replica_of(workload: &str, name: &str) -> bool {
    let number = workload.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// The gateway and listener port that a request from outside reaches.
pub(crate) fn gateway(mesh: &Mesh, port: Option<u16>, tls: bool) -> anyhow::Result<(ObjectName, u16)> {
    let all: BTreeSet<_> = mesh.all_listeners().map(|l| (l.gateway.clone(), l.port)).collect();
    let fits = |candidate: u16| port.is_none_or(|port| port == candidate);
    let wanted = |candidate: u16| port.unwrap_or(if tls { 443 } else { 80 }) == candidate;
    let found = all.iter().find(|(_, p)| wanted(*p)).or_else(|| all.iter().find(|(_, p)| fits(*p)));
    let known = || all.iter().map(|(name, port)| format!("{name}:{port}")).collect::<Vec<_>>().join(", ");
    found.cloned().with_context(|| format!("no gateway listens there; there are: {}", known()))
}

/// The identity of a gateway's proxies.
pub(crate) fn gateway_identity(trust_domain: &TrustDomain, gateway: &ObjectName) -> anyhow::Result<SpiffeId> {
    let account = format!("{}-mesh", gateway.name);
    Ok(SpiffeId::for_service_account(trust_domain, &gateway.namespace, &account)?)
}
