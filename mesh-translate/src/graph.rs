//! The incremental graph: which node looked at what, and what must be evaluated again after a change.
//!
//! Nodes are evaluated in the order of their steps. An evaluation records its look-ups; a node is evaluated
//! again only when something it looked at changed, and what it says is passed on only when it differs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_model::{Delta, Finding, ObjectName, Resource, ResourceKey, SessionKey};

use super::entry::{Changes, Entry};
use super::fact::Fact;
use super::few::Few;
use super::found::Found;
use super::node::{Index, Node, Read, Topic, indices, nodes};
use super::output::Output;
use super::reader::Reader;
use super::{Settings, Translation, Update, evaluate};
use crate::local::Replica;
use crate::objects::ObjectKind;
use crate::pods::Pod;
use crate::source::Aims;
use crate::status::ObjectStatus;
use crate::store::ObjectKey;

/// What evaluations may look at.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    pub(super) settings: Settings,
    pub(super) objects: BTreeMap<(ObjectKind, ObjectName), Arc<Entry>>,
    pub(super) index: BTreeMap<Index, BTreeSet<(ObjectKind, ObjectName)>>,
    pub(super) pods: BTreeMap<ObjectName, Pod>,
    pub(super) pod_addresses: BTreeMap<IpAddr, BTreeSet<ObjectName>>,
    pub(super) replicas: BTreeMap<ObjectName, Vec<Replica>>,
    pub(super) refused_policies: BTreeSet<ObjectName>,
    pub(super) refused_tls_policies: Aims,
    pub(super) session_keys: Vec<SessionKey>,
    pub(super) time: Option<u64>,
    pub(super) facts: BTreeMap<Topic, Few<Node, Fact>>,
}

/// What a node yielded and what it looked at, ordered, in as much room as it takes: there are two for each of
/// thousands of routes.
#[derive(Debug, Default)]
struct Memo {
    reads: Box<[Read]>,
    facts: Box<[(Topic, Fact)]>,
    resources: Box<[Resource]>,
    findings: Box<[Finding]>,
    /// One that says the same as before stays the same value, so that whoever keeps thousands of them sees by the
    /// pointer which one is new.
    statuses: Box<[Arc<ObjectStatus>]>,
}

impl Memo {
    fn new(reads: BTreeSet<Read>, output: Output, old: &Self) -> Self {
        let kept =
            |status: ObjectStatus| old.statuses.iter().find(|old| ***old == status).cloned().ok_or(status);
        let statuses = output.statuses.into_iter();
        Self {
            reads: reads.into_iter().collect(),
            facts: output.facts.into_iter().collect(),
            resources: output.resources.into(),
            findings: output.findings.into(),
            statuses: statuses.map(|status| kept(status).unwrap_or_else(Arc::new)).collect(),
        }
    }

    /// What it says on a topic.
    fn fact(&self, topic: &Topic) -> Option<&Fact> {
        let at = self.facts.binary_search_by(|(of, _)| of.cmp(topic)).ok()?;
        self.facts.get(at).map(|(_, fact)| fact)
    }
}

/// The translation of a set of objects, kept up to date change by change.
#[derive(Debug, Default)]
pub struct Translator {
    inputs: Inputs,
    memos: BTreeMap<Node, Memo>,
    readers: BTreeMap<Read, Few<Node, ()>>,
    resources: BTreeMap<ResourceKey, (Node, Resource)>,
    found: Found,
    evaluations: u64,
}

/// Nodes to evaluate, in the order of their steps.
type Dirty = BTreeSet<(u8, Node)>;
/// Resources as they were before an update.
type Before = BTreeMap<ResourceKey, Option<Resource>>;

impl Translator {
    /// A translator without objects.
    pub fn new(settings: Settings) -> Self {
        Self { inputs: Inputs { settings, ..Inputs::default() }, ..Self::default() }
    }

    /// Takes changes in and says what they changed.
    pub fn update(&mut self, changes: Changes) -> Update {
        let mut dirty = Dirty::new();
        for (kind, name, entry) in changes.objects {
            self.change_object(kind, name, entry, &mut dirty);
        }
        for (name, pod) in changes.pods {
            self.change_pod(name, pod, &mut dirty);
        }
        for (process, replicas) in changes.replicas {
            if self.inputs.replicas.get(&process).map_or(&[][..], |r| r) != replicas {
                self.touch(&Read::Replicas(process.clone()), &mut dirty);
                self.inputs.replicas.insert(process, replicas);
            }
        }
        if let Some(refused) = changes.refused_policies {
            for name in refused.symmetric_difference(&self.inputs.refused_policies) {
                let node = Node::Policy(name.clone());
                dirty.insert((node.step(), node));
            }
            self.inputs.refused_policies = refused;
        }
        if let Some(refused) = changes.refused_tls_policies {
            let before = &self.inputs.refused_tls_policies;
            let is_other = |name: &&ObjectName| refused.get(*name) != before.get(*name);
            for name in refused.keys().chain(before.keys()).filter(is_other) {
                self.touch(&Read::RefusedTls(name.namespace.to_string()), &mut dirty);
            }
            self.inputs.refused_tls_policies = refused;
        }
        if let Some(keys) = changes.session_keys.filter(|keys| *keys != self.inputs.session_keys) {
            self.inputs.session_keys = keys;
            self.touch(&Read::SessionKeys, &mut dirty);
        }
        if changes.time.is_some() && changes.time != self.inputs.time {
            self.inputs.time = changes.time;
            self.touch(&Read::Time, &mut dirty);
        }
        self.settle(dirty)
    }

    /// Everything as it stands.
    pub fn translation(&self) -> Translation {
        let resources = self.resources.iter().map(|(key, (_, r))| (key.clone(), r.clone())).collect();
        let statuses = self.statuses().iter().map(|status| ObjectStatus::clone(status)).collect();
        Translation { resources, findings: self.findings(), statuses }
    }

    /// What is wrong, ordered by object and field.
    pub fn findings(&self) -> Vec<Finding> {
        self.found.iter().cloned().collect()
    }

    /// What is reported about each object, ordered by kind and name.
    pub fn statuses(&self) -> Vec<Arc<ObjectStatus>> {
        let mut statuses: Vec<Arc<ObjectStatus>> =
            self.memos.values().flat_map(|memo| memo.statuses.iter().cloned()).collect();
        statuses.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        statuses
    }

    /// How many nodes were evaluated since the beginning.
    pub fn evaluations(&self) -> u64 {
        self.evaluations
    }

    fn change_object(
        &mut self,
        kind: ObjectKind,
        name: ObjectName,
        entry: Option<Arc<Entry>>,
        dirty: &mut Dirty,
    ) {
        let slot = (kind, name);
        let old = self.inputs.objects.get(&slot).cloned();
        if old == entry {
            return;
        }
        for index in old.iter().flat_map(|e| indices(e)) {
            let members = self.inputs.index.entry(index.clone()).or_default();
            members.remove(&slot);
            if members.is_empty() {
                self.inputs.index.remove(&index);
            }
            self.touch(&Read::Index(index), dirty);
        }
        for index in entry.iter().flat_map(|e| indices(e)) {
            self.inputs.index.entry(index.clone()).or_default().insert(slot.clone());
            self.touch(&Read::Index(index), dirty);
        }
        for node in old.iter().chain(&entry).flat_map(|e| nodes(e)) {
            dirty.insert((node.step(), node));
        }
        self.touch(&Read::Object(slot.0, slot.1.clone()), dirty);
        match entry {
            Some(entry) => self.inputs.objects.insert(slot, entry),
            None => self.inputs.objects.remove(&slot),
        };
    }

    fn change_pod(&mut self, name: ObjectName, pod: Option<Pod>, dirty: &mut Dirty) {
        let old = self.inputs.pods.get(&name).cloned();
        if old == pod {
            return;
        }
        for address in old.iter().flat_map(|pod| &pod.addresses) {
            if let Some(names) = self.inputs.pod_addresses.get_mut(address) {
                names.remove(&name);
                if names.is_empty() {
                    self.inputs.pod_addresses.remove(address);
                }
            }
            self.touch(&Read::PodAt(*address), dirty);
        }
        for address in pod.iter().flat_map(|pod| &pod.addresses) {
            self.inputs.pod_addresses.entry(*address).or_default().insert(name.clone());
            self.touch(&Read::PodAt(*address), dirty);
        }
        let node = Node::Pod(name.clone());
        dirty.insert((node.step(), node));
        self.touch(&Read::Pod(name.clone()), dirty);
        self.touch(&Read::Pods(name.namespace.to_string()), dirty);
        match pod {
            Some(pod) => self.inputs.pods.insert(name, pod),
            None => self.inputs.pods.remove(&name),
        };
    }

    fn touch(&self, read: &Read, dirty: &mut Dirty) {
        let readers = self.readers.get(read).into_iter().flat_map(Few::iter);
        dirty.extend(readers.map(|(node, ())| (node.step(), node.clone())));
    }

    fn settle(&mut self, mut dirty: Dirty) -> Update {
        let mut before = Before::new();
        let mut statuses = BTreeMap::new();
        let mut findings_changed = false;
        while let Some((step, node)) = dirty.pop_first() {
            self.evaluations += 1;
            let reader = Reader::new(&self.inputs);
            let evaluated = evaluate(&node, &reader);
            let reads = reader.into_reads();
            let old = self.memos.remove(&node).unwrap_or_default();
            let new = evaluated.map(|output| Memo::new(reads, output, &old));
            let blank = Memo::default();
            let next = new.as_ref().unwrap_or(&blank);
            self.change_reads(&node, &old.reads, &next.reads);
            self.change_resources(&node, &old.resources, &next.resources, &mut before);
            for topic in self.change_facts(&node, &old, next) {
                let mut woken = Dirty::new();
                self.touch(&Read::Topic(topic), &mut woken);
                debug_assert!(woken.iter().all(|(s, _)| *s > step), "{node:?} wakes an earlier step");
                dirty.append(&mut woken);
            }
            findings_changed |= self.found.replace(&old.findings, &next.findings);
            change_statuses(&old.statuses, &next.statuses, &mut statuses);
            if let Some(memo) = new {
                self.memos.insert(node, memo);
            }
        }
        Update { delta: self.delta(before), statuses, findings_changed }
    }

    fn delta(&self, before: Before) -> Delta {
        let mut delta = Delta::default();
        for (key, old) in before {
            match self.resources.get(&key).map(|(_, new)| new) {
                Some(new) if old.as_ref() != Some(new) => delta.set.push(new.clone()),
                None if old.is_some() => delta.removed.push(key),
                _ => {}
            }
        }
        delta
    }

    fn change_reads(&mut self, node: &Node, old: &[Read], new: &[Read]) {
        let lacks = |all: &[Read], read: &Read| all.binary_search(read).is_err();
        for read in old.iter().filter(|read| lacks(new, read)) {
            if let Some(readers) = self.readers.get_mut(read) {
                readers.remove(node);
                if readers.is_empty() {
                    self.readers.remove(read);
                }
            }
        }
        for read in new.iter().filter(|read| lacks(old, read)) {
            self.readers.entry(read.clone()).or_default().insert(node.clone(), ());
        }
    }

    fn change_resources(&mut self, node: &Node, old: &[Resource], new: &[Resource], before: &mut Before) {
        let mut note = |resources: &BTreeMap<ResourceKey, (Node, Resource)>, key: &ResourceKey| {
            if !before.contains_key(key) {
                before.insert(key.clone(), resources.get(key).map(|(_, r)| r.clone()));
            }
        };
        for resource in old {
            note(&self.resources, resource.key());
            if self.resources.get(resource.key()).is_some_and(|(owner, _)| owner == node) {
                self.resources.remove(resource.key());
            }
        }
        for resource in new {
            note(&self.resources, resource.key());
            self.resources.insert(resource.key().clone(), (node.clone(), resource.clone()));
        }
    }

    /// Replaces what a node says and returns the topics on which it now says something else.
    fn change_facts(&mut self, node: &Node, old: &Memo, new: &Memo) -> Vec<Topic> {
        let topics: BTreeSet<&Topic> = old.facts.iter().chain(&new.facts).map(|(topic, _)| topic).collect();
        let mut changed = Vec::new();
        for topic in topics {
            let fact = new.fact(topic);
            if old.fact(topic) == fact {
                continue;
            }
            changed.push(topic.clone());
            let said = self.inputs.facts.entry(topic.clone()).or_default();
            match fact {
                Some(fact) => said.insert(node.clone(), fact.clone()),
                None => said.remove(node),
            };
            if said.is_empty() {
                self.inputs.facts.remove(topic);
            }
        }
        changed
    }
}

/// Notes statuses that are new, changed or gone.
fn change_statuses(
    old: &[Arc<ObjectStatus>],
    new: &[Arc<ObjectStatus>],
    changed: &mut BTreeMap<ObjectKey, Option<Arc<ObjectStatus>>>,
) {
    let key = |status: &ObjectStatus| ObjectKey::new(status.kind, status.name.clone());
    for status in old.iter().filter(|old| !new.iter().any(|new| key(new) == key(old))) {
        changed.insert(key(status), None);
    }
    for status in new.iter().filter(|new| !old.iter().any(|old| Arc::ptr_eq(old, new))) {
        changed.insert(key(status), Some(Arc::clone(status)));
    }
}
