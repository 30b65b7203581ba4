//! All objects that are held, from the lists and events of every kind. Pure: the same events give the same
//! snapshot in whatever order the kinds' streams are mixed.
//!
//! What is held never goes back in time: an event of an older version than the one that is held is ignored. Lists come
//! in order and are never older than what was seen; they are taken as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_model::Finding;

use super::item::Item;
use super::served::Served;
use super::unusable::Unusables;
use crate::objects::{ObjectKind, Secret};
use crate::source::Snapshot;
use crate::store::{ObjectKey, ObjectStore, Stored};
use crate::translate::certificate_problem;

/// What a stream of one kind says.
#[derive(Debug, Clone)]
pub(super) enum Update {
    /// The object is gone, as of this version.
    Gone(ObjectKey, Arc<str>),
    /// All objects of the kind.
    List(ObjectKind, Vec<Item>),
    /// The object is new or changed.
    Set(Item),
    /// The kind is not served any more, and its objects are gone with it.
    Unserved(ObjectKind),
}

/// The objects of every kind.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    store: ObjectStore,
    /// The version of every object that is known, usable or not.
    versions: BTreeMap<ObjectKey, Arc<str>>,
    findings: BTreeMap<ObjectKey, Vec<Finding>>,
    findings_moved: bool,
    unusable: Unusables,
    unusable_moved: bool,
    told: Arc<[Finding]>,
    listed: BTreeSet<ObjectKind>,
    changed: BTreeSet<ObjectKey>,
}

/// Whether a version is older than another. Versions that are no numbers cannot be compared.
pub(super) fn is_older(version: &str, than: &str) -> bool {
    matches!((version.parse::<u64>(), than.parse::<u64>()), (Ok(one), Ok(other)) if one < other)
}

impl Holdings {
    /// Takes an update in.
    pub(super) fn take(&mut self, update: Update) {
        match update {
            Update::Gone(key, version) => {
                let held = self.versions.get(&key);
                if !held.is_some_and(|held| is_older(&version, held)) {
                    self.remove(&key);
                }
            }
            Update::List(kind, items) => {
                let named: BTreeSet<&ObjectKey> = items.iter().map(|item| &item.key).collect();
                let gone = self.of(kind).into_iter().filter(|key| !named.contains(key));
                gone.collect::<Vec<_>>().iter().for_each(|key| self.remove(key));
                // What a list says is so, even where it names an older version: the server's state was put back.
                items.into_iter().for_each(|item| self.replace(item));
                self.listed.insert(kind);
            }
            Update::Set(item) => self.set(item),
            Update::Unserved(kind) => {
                self.of(kind).iter().for_each(|key| self.remove(key));
                self.listed.remove(&kind);
            }
        }
    }

    fn of(&self, kind: ObjectKind) -> Vec<ObjectKey> {
        let first = ObjectKey::new(kind, mesh_model::ObjectName::new("", ""));
        let from = self.versions.range(first..).map(|(key, _)| key);
        from.take_while(|key| key.kind == kind).cloned().collect()
    }

    fn remove(&mut self, key: &ObjectKey) {
        self.versions.remove(key);
        self.findings_moved |= self.findings.remove(key).is_some();
        self.unusable_moved |= self.unusable.remove(key).is_some();
        if self.store.find(key).is_some() {
            self.store = self.store.remove(key);
            self.changed.insert(key.clone());
        }
    }

    fn set(&mut self, item: Item) {
        if !self.versions.get(&item.key).is_some_and(|held| is_older(&item.version, held)) {
            self.replace(item);
        }
    }

    /// An object that cannot be used leaves in force what was in force under its name.
    fn replace(&mut self, item: Item) {
        let Item { key, version, stored, unusable, findings } = item;
        if self.versions.get(&key) == Some(&version) {
            return;
        }
        self.versions.insert(key.clone(), version);
        self.findings_moved |= match findings.is_empty() {
            true => self.findings.remove(&key).is_some(),
            false => self.findings.insert(key.clone(), findings.clone()) != Some(findings),
        };
        self.unusable_moved |= match unusable {
            Some(unusable) => self.unusable.insert(key.clone(), Arc::clone(&unusable)) != Some(unusable),
            None => self.unusable.remove(&key).is_some(),
        };
        if let Some(stored) = stored {
            self.store = self.store.insert(self.or_last_good(&key, stored));
            self.changed.insert(key);
        }
    }

    /// A secret whose certificate cannot be used leaves the one before in force, which then says why.
    fn or_last_good(&self, key: &ObjectKey, stored: Arc<Stored>) -> Arc<Stored> {
        let problem = |stored: &Stored| stored.get::<Secret>().and_then(certificate_problem);
        let Some(text) = problem(&stored) else { return stored };
        let before = self.store.find(key).filter(|before| problem(before).is_none());
        before.map_or(stored, |before| Arc::new(before.outlasting(text)))
    }

    /// The kinds that are served and of which no list has come yet.
    pub(super) fn missing(&self, served: &Served) -> impl Iterator<Item = &'static str> + use<> {
        let unlisted = served.iter().filter(|resource| !self.listed.contains(&resource.kind));
        unlisted.map(|resource| resource.kind.as_str()).collect::<Vec<_>>().into_iter()
    }

    /// The objects that cannot be used, when they are others than at the last call.
    pub(super) fn unusable(&mut self) -> Option<Unusables> {
        std::mem::take(&mut self.unusable_moved).then(|| self.unusable.clone())
    }

    /// What is held, and the objects that changed since the last call.
    pub(super) fn snapshot(&mut self) -> (Snapshot, BTreeSet<ObjectKey>) {
        if std::mem::take(&mut self.findings_moved) {
            self.told = self.findings.values().flatten().cloned().collect();
        }
        let policies = self.unusable.iter().filter(|(key, _)| key.kind == ObjectKind::BackendTlsPolicy);
        let aims = Arc::new(policies.map(|(key, policy)| (key.name.clone(), policy.aim())).collect());
        let snapshot = Snapshot { store: self.store.clone(), findings: Arc::clone(&self.told), aims };
        (snapshot, std::mem::take(&mut self.changed))
    }
}

#[cfg(test)]
mod tests;
