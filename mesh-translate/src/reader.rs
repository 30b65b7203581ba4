//! Look-ups of an evaluation. Every one is recorded, so that the graph knows what the result depends on.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;

use mesh_model::{ObjectName, SessionKey};

use super::Settings;
use super::entry::Entry;
use super::fact::Fact;
use super::feature::Feature;
use super::few::Few;
use super::graph::Inputs;
use super::node::{Index, Node, Read, Topic};
use super::session::keys_for;
use crate::local::Replica;
use crate::objects::meta::TextMap;
use crate::objects::{Namespace, ObjectKind, ReferenceGrant, Service, Typed};
use crate::pods::Pod;
use crate::source::Aim;

/// The label that every namespace has.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Looks things up and remembers what was asked.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    inputs: &'a Inputs,
    reads: RefCell<BTreeSet<Read>>,
}

/// An object that refers, or is referred to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Referee<'a> {
    pub(super) group: &'a str,
    pub(super) kind: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(inputs: &'a Inputs) -> Self {
        Self { inputs, reads: RefCell::default() }
    }

    pub(super) fn into_reads(self) -> BTreeSet<Read> {
        self.reads.into_inner()
    }

    /// Settings never change in the life of a graph, so they are not recorded.
    pub(super) fn settings(&self) -> &'a Settings {
        &self.inputs.settings
    }

    pub(super) fn entry(&self, kind: ObjectKind, name: &ObjectName) -> Option<&'a Entry> {
        self.record(Read::Object(kind, name.clone()));
        self.inputs.objects.get(&(kind, name.clone())).map(|entry| &**entry)
    }

    pub(super) fn object<T: Typed>(&self, name: &ObjectName) -> Option<(&'a T, &'a Entry)> {
        let entry = self.entry(T::KIND, name)?;
        T::from_object(&entry.object).map(|object| (object, entry))
    }

    pub(super) fn service(&self, name: &ObjectName) -> Option<&'a Service> {
        self.object::<Service>(name).map(|(service, _)| service)
    }

    /// The objects of an index that have the type, ordered by name.
    pub(super) fn members<T: Typed>(&self, index: Index) -> Vec<(&'a T, &'a Entry)> {
        let members = self.inputs.index.get(&index).into_iter().flatten();
        let entries = members.filter_map(|slot| self.inputs.objects.get(slot));
        let typed = entries.filter_map(|e| T::from_object(&e.object).map(|object| (object, &**e)));
        self.record(Read::Index(index));
        typed.collect()
    }

    /// What nodes say on a topic.
    pub(super) fn facts(&self, topic: Topic) -> impl Iterator<Item = (&'a Node, &'a Fact)> {
        let found = self.inputs.facts.get(&topic);
        self.record(Read::Topic(topic));
        found.into_iter().flat_map(Few::iter)
    }

    pub(super) fn pod(&self, name: &ObjectName) -> Option<&'a Pod> {
        self.record(Read::Pod(name.clone()));
        self.inputs.pods.get(name)
    }

    /// All pods of a namespace, ordered by name.
    pub(super) fn pods(&self, namespace: &str) -> impl Iterator<Item = &'a Pod> {
        self.record(Read::Pods(namespace.to_owned()));
        let first = ObjectName::new(namespace, "");
        let pods = self.inputs.pods.range(first.clone()..).map(|(_, pod)| pod);
        pods.take_while(move |pod| pod.name.namespace == first.namespace)
    }

    /// The pod that has an address of its own; the first by name while two claim it.
    pub(super) fn pod_at(&self, address: IpAddr) -> Option<&'a Pod> {
        self.record(Read::PodAt(address));
        let name = self.inputs.pod_addresses.get(&address)?.first()?;
        self.inputs.pods.get(name)
    }

    pub(super) fn replicas(&self, process: &ObjectName) -> &'a [Replica] {
        self.record(Read::Replicas(process.clone()));
        self.inputs.replicas.get(process).map_or(&[], |replicas| replicas)
    }

    /// A policy for TLS towards a service that is written but cannot be read, or may be one.
    pub(super) fn refused_tls_policy(&self, service: &ObjectName) -> Option<(&'a ObjectName, &'a Aim)> {
        self.record(Read::RefusedTls(service.namespace.to_string()));
        let concerns = |(policy, aim): &(&ObjectName, &Aim)| {
            policy.namespace == service.namespace
                && aim.as_ref().is_none_or(|services| services.contains(&*service.name))
        };
        self.inputs.refused_tls_policies.iter().find(concerns)
    }

    /// Whether a policy is written but cannot be read. A change wakes the policy's own node without a record.
    pub(super) fn is_refused_policy(&self, name: &ObjectName) -> bool {
        self.inputs.refused_policies.contains(name)
    }

    /// The keys of sessions of one route or service; none when nobody gave keys.
    pub(super) fn session_keys(&self, purpose: &str) -> Vec<SessionKey> {
        self.record(Read::SessionKeys);
        keys_for(&self.inputs.session_keys, purpose)
    }

    /// Seconds since 1970; `None` when nobody told.
    pub(super) fn time(&self) -> Option<u64> {
        self.record(Read::Time);
        self.inputs.time
    }

    /// The labels of a namespace. A namespace without an object has its name as only label.
    pub(super) fn namespace_labels(&self, namespace: &str) -> TextMap {
        let object = self.object::<Namespace>(&ObjectName::new("", namespace));
        let mut labels = object.map(|(n, _)| n.metadata.labels.clone()).unwrap_or_default();
        labels.insert(NAMESPACE_NAME.to_owned(), namespace.to_owned());
        labels
    }

    /// Whether `from` may refer to `to`: in its own namespace, or by a grant of the other one.
    pub(super) fn granted(&self, from: Referee<'_>, to: Referee<'_>) -> bool {
        let across = self.settings().has(Feature::ReferenceGrant);
        from.namespace == to.namespace
            || across
                && self.members::<ReferenceGrant>(Index::Grants(to.namespace.to_owned())).iter().any(
                    |(grant, _)| {
                        let named =
                            |name: &Option<String>| name.as_deref().is_none_or(|name| name == to.name);
                        let to_matches = grant
                            .spec
                            .to
                            .iter()
                            .any(|t| t.group == to.group && t.kind == to.kind && named(&t.name));
                        let from_matches = grant.spec.from.iter().any(|f| {
                            f.group == from.group && f.kind == from.kind && f.namespace == from.namespace
                        });
                        to_matches && from_matches
                    },
                )
    }

    fn record(&self, read: Read) {
        self.reads.borrow_mut().insert(read);
    }
}
