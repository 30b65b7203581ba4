//! The control plane's core: takes snapshots of objects and running replicas in, publishes resources, and shows
//! what it made of them. No sockets; see [`crate::serve`].

mod heard;
mod touched;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use mesh_model::{
    Delta, FieldPath, Finding, Kind, Mesh, ObjectName, Reason, Resource, ResourceKey, SessionKey,
};
use mesh_rt::SharedClock;
use mesh_xds::cache::{ResourceCache, TooLarge};
use mesh_xds::native::Publisher;
use mesh_xds::server::{AdsService, Fleet, ServerConfig};
use tokio::sync::watch;

use crate::local::Replica;
use crate::objects::ObjectKind;
use crate::pods::Pod;
use crate::source::Snapshot;
use crate::status::{ObjectStatus, Statuses};
use crate::store::{ObjectKey, ObjectStore};
use crate::translate::{Changes, Settings, Translator, locate, refused_policies, refused_tls_policies};

pub use heard::Heard;
use heard::{Spoiled, spoil};
pub use touched::{Batch, Touched};

/// What the control plane holds at one moment.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The objects in force.
    pub store: ObjectStore,
    /// The mesh that proxies are told of.
    pub mesh: Mesh,
    /// What is wrong, in the files and between the objects, with places in files.
    pub findings: Arc<[Finding]>,
    /// What is reported about each object.
    pub statuses: Statuses,
    /// Which objects were touched lately.
    pub touched: Touched,
    /// What proxies say about what they were sent.
    pub heard: Arc<Heard>,
    /// The snapshot of the cache that holds this mesh: what [`Fleet::reach`] is asked about.
    pub sequence: u64,
}

impl View {
    /// What was touched since a revision, which becomes the present one; `None` when it is not known.
    pub fn touched_since(&self, seen: &mut Option<u64>) -> Option<Batch> {
        seen.replace(self.touched.revision()).and_then(|seen| self.touched.since(seen))
    }
}

/// The core. It belongs to one task; others watch its [`View`] and subscribe to its cache.
pub struct Controller {
    translator: Translator,
    cache: ResourceCache,
    clock: SharedClock,
    snapshot: Snapshot,
    publisher: Publisher,
    too_large: BTreeMap<ResourceKey, Finding>,
    heard: Arc<Heard>,
    /// What is wrong with the source as a whole.
    unread: Vec<Finding>,
    /// Statuses without what proxies say.
    plain: Statuses,
    /// What proxies refuse, by the objects that it was made from.
    spoiled: Spoiled,
    view: watch::Sender<View>,
}

impl Controller {
    /// A controller without objects.
    pub fn new(settings: Settings, clock: SharedClock) -> Self {
        Self {
            translator: Translator::new(settings),
            cache: ResourceCache::new(),
            clock,
            snapshot: Snapshot::default(),
            publisher: Publisher::new(),
            too_large: BTreeMap::new(),
            heard: Arc::default(),
            unread: Vec::new(),
            plain: Statuses::default(),
            spoiled: Spoiled::new(),
            view: watch::Sender::new(View::default()),
        }
    }

    /// What streams are served from.
    pub fn cache(&self) -> &ResourceCache {
        &self.cache
    }

    /// Discovery over the cache, for verified identities. A certificate with its key goes to the gateways that
    /// serve it only.
    pub fn ads(&self) -> AdsService {
        AdsService::new(self.cache.clone(), ServerConfig::default())
    }

    /// Follows what the controller holds.
    pub fn watch(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    /// How many nodes of the translation were evaluated since the beginning.
    pub fn evaluations(&self) -> u64 {
        self.translator.evaluations()
    }

    /// Takes the objects of a snapshot; only those that changed are translated again.
    pub fn take(&mut self, snapshot: Snapshot) {
        let changes = Changes::between(&self.snapshot.store, &snapshot.store);
        let keys = changes.objects.iter().map(|(kind, name, _)| ObjectKey::new(*kind, name.clone()));
        let moved = Moved { objects: Some(keys.collect()), findings: true };
        self.replace(snapshot, changes, moved);
    }

    /// As [`Self::take`] when it is known which objects may have changed, so that nothing else is looked at.
    pub fn take_changed(&mut self, snapshot: Snapshot, keys: impl IntoIterator<Item = ObjectKey>) {
        let keys: BTreeSet<ObjectKey> = keys.into_iter().collect();
        let changed = |key: &&ObjectKey| match (self.snapshot.store.find(key), snapshot.store.find(key)) {
            (Some(before), Some(now)) => !Arc::ptr_eq(before, now) && !before.same(now),
            (before, now) => before.is_some() != now.is_some(),
        };
        let changes = Changes::of_keys(keys.iter().filter(changed).cloned(), &snapshot.store);
        let findings = !Arc::ptr_eq(&self.snapshot.findings, &snapshot.findings);
        self.replace(snapshot, changes, Moved { objects: Some(keys), findings });
    }

    fn replace(&mut self, snapshot: Snapshot, changes: Changes, moved: Moved) {
        let kinds = [ObjectKind::AuthorizationPolicy, ObjectKind::BackendTlsPolicy];
        let is_asked = moved.findings || changes.objects.iter().any(|(changed, ..)| kinds.contains(changed));
        let refused_policies = is_asked.then(|| refused_policies(&snapshot));
        let refused_tls_policies = is_asked.then(|| refused_tls_policies(&snapshot));
        self.snapshot = snapshot;
        self.update(Changes { refused_policies, refused_tls_policies, time: self.now(), ..changes }, moved);
        self.cache.mark_synced();
    }

    /// Takes the keys of the mesh that those of sessions are made of; the first one seals.
    pub fn take_session_keys(&mut self, keys: Vec<SessionKey>) {
        let changes = Changes { session_keys: Some(keys), time: self.now(), ..Changes::default() };
        self.update(changes, Moved::default());
    }

    /// Takes pods in that are new, changed, or gone.
    pub fn take_pods(&mut self, pods: Vec<(ObjectName, Option<Pod>)>) {
        self.update(Changes { pods, time: self.now(), ..Changes::default() }, Moved::default());
    }

    /// Takes the replicas of a process that run now.
    pub fn take_replicas(&mut self, process: ObjectName, replicas: Vec<Replica>) {
        let changes = Changes { replicas: vec![(process, replicas)], time: self.now(), ..Changes::default() };
        self.update(changes, Moved::default());
    }

    /// Takes what the connected proxies say now about what they were sent.
    pub fn hear(&mut self, fleet: &Fleet) {
        let heard = Heard::of(fleet);
        if heard == *self.heard {
            return;
        }
        self.take_heard(heard);
    }

    fn take_heard(&mut self, heard: Heard) {
        self.heard = Arc::new(heard);
        let mesh = self.view.borrow().mesh.clone();
        let findings = self.findings(&mesh);
        let statuses = self.spoil(&mesh, BTreeMap::new());
        self.view.send_modify(|view| {
            view.heard = Arc::clone(&self.heard);
            view.findings = findings;
            if !statuses.is_empty() {
                view.touched.note(Batch { keys: statuses.keys().cloned().collect(), ..Batch::default() });
            }
            statuses.into_iter().for_each(|(key, status)| view.statuses.set(key, status));
        });
    }

    /// Takes what is wrong with the source as a whole, such as kinds that cannot be read.
    pub fn complain(&mut self, unread: Vec<Finding>) {
        if unread != self.unread {
            self.unread = unread;
            let findings = self.findings(&self.view.borrow().mesh);
            self.view.send_modify(|view| view.findings = findings);
        }
    }

    /// Looks at the clock: certificates may have ended. To be called now and then.
    pub fn tick(&mut self) {
        self.update(Changes { time: self.now(), ..Changes::default() }, Moved::default());
    }

    fn now(&self) -> Option<u64> {
        let since = self.clock.wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Some(since.as_secs())
    }

    /// Streams are told first, onlookers second.
    fn update(&mut self, changes: Changes, moved: Moved) {
        let mut update = self.translator.update(changes);
        let resources_changed = !(update.delta.set.is_empty() && update.delta.removed.is_empty());
        let sizes_changed = self.publish(&update.delta);
        let mesh = self.view.borrow().mesh.clone();
        let mesh = if resources_changed { mesh.apply(&update.delta) } else { mesh };
        let refused = resources_changed && !self.heard.refused.is_empty();
        let findings = (moved.findings || sizes_changed || update.findings_changed || refused)
            .then(|| self.findings(&mesh));
        let sequence = self.cache.snapshot().sequence();
        let store_changed = moved.objects.is_some();
        let statuses = self.spoil(&mesh, std::mem::take(&mut update.statuses));
        let batch = batch(&update.delta, &statuses, moved);
        let changed = store_changed || resources_changed || findings.is_some() || !statuses.is_empty();
        // Whoever watches may answer by telling something: an update without change must end there.
        self.view.send_if_modified(|view| {
            view.store = self.snapshot.store.clone();
            view.mesh = mesh;
            view.sequence = sequence;
            findings.into_iter().for_each(|findings| view.findings = findings);
            statuses.into_iter().for_each(|(key, status)| view.statuses.set(key, status));
            if changed {
                view.touched.note(batch);
            }
            changed
        });
    }

    /// Statuses that change, with what proxies refuse in them.
    fn spoil(&mut self, mesh: &Mesh, mut changed: NewStatuses) -> NewStatuses {
        changed.iter().for_each(|(key, status)| self.plain.set(key.clone(), status.clone()));
        let spoiled = self.heard.spoiled(mesh);
        let before = std::mem::replace(&mut self.spoiled, spoiled);
        for key in before.keys().chain(self.spoiled.keys()) {
            let is_other = before.get(key) != self.spoiled.get(key);
            if is_other || changed.contains_key(key) {
                let plain = self.plain.of(key).cloned();
                let status = match (plain, self.spoiled.get(key)) {
                    (Some(plain), Some(refusals)) => Some(Arc::new(spoil(&plain, refusals))),
                    (plain, _) => plain,
                };
                changed.insert(key.clone(), status);
            }
        }
        changed
    }

    fn findings(&self, mesh: &Mesh) -> Arc<[Finding]> {
        let mut own = self.translator.findings();
        own.extend(self.heard.findings(mesh));
        own.extend(self.too_large.values().cloned());
        locate(&mut own, &self.snapshot.store);
        self.unread.iter().chain(self.snapshot.findings.iter()).cloned().chain(own).collect()
    }

    /// Gives streams what changed, encoded once. What is too large to be sent stays as it was, with a finding.
    /// Returns whether these findings changed.
    fn publish(&mut self, delta: &Delta) -> bool {
        let (changes, refused) = self.publisher.changes(delta);
        self.cache.apply(changes);
        let before = self.too_large.len();
        let set = delta.set.iter().map(Resource::key);
        for key in set.chain(&delta.removed) {
            self.too_large.remove(key);
        }
        let changed = self.too_large.len() != before || !refused.is_empty();
        for (key, TooLarge(bytes)) in refused {
            let Some(resource) = delta.set.iter().find(|resource| *resource.key() == key) else { continue };
            let message = format!("{bytes} bytes are more than a resource may have; what was in force stays");
            let path = FieldPath::root();
            self.too_large
                .insert(key, Finding::error(Reason::InvalidValue, resource.source(), path, message));
        }
        changed
    }
}

/// Statuses that are new, changed, or (with `None`) gone.
type NewStatuses = BTreeMap<ObjectKey, Option<Arc<ObjectStatus>>>;

/// What an update brings beside the changes that are translated.
#[derive(Default)]
struct Moved {
    /// Objects that may be others, be it by a status alone; none when the store is the same.
    objects: Option<BTreeSet<ObjectKey>>,
    /// Findings of the source, or places of objects, are others.
    findings: bool,
}

/// What onlookers should look at after an update.
fn batch(delta: &Delta, statuses: &NewStatuses, moved: Moved) -> Batch {
    let mut keys = moved.objects.unwrap_or_default();
    keys.extend(statuses.keys().cloned());
    let resources = || delta.set.iter().map(Resource::key).chain(&delta.removed);
    let has = |kind: Kind| resources().any(|key| key.kind == kind);
    Batch { keys, listeners: has(Kind::Listener), workloads: has(Kind::Workload) }
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller")
            .field("evaluations", &self.translator.evaluations())
            .finish_non_exhaustive()
    }
}
