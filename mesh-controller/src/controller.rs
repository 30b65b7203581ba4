//! The control plane's core: takes snapshots of objects and running replicas in, publishes resources, and shows
//! what it made of them. No sockets; see [`crate::serve`].

use std::sync::Arc;

use mesh_model::{Delta, FieldPath, Finding, Mesh, ObjectName, Position, Reason, ResourceKey};
use mesh_rt::SharedClock;
use mesh_xds::cache::{ResourceCache, TooLarge};
use mesh_xds::native;
use tokio::sync::watch;

use crate::local::Replica;
use crate::source::Snapshot;
use crate::status::ObjectStatus;
use crate::store::{ObjectKey, ObjectStore, Stored};
use crate::translate::{Changes, Entry, Settings, Translator};

/// What the control plane holds at one moment.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The objects in force.
    pub store: ObjectStore,
    /// The mesh that proxies are told of.
    pub mesh: Mesh,
    /// What is wrong, in the files and between the objects, with places in files.
    pub findings: Arc<[Finding]>,
    /// What is reported about each object, ordered by kind and name.
    pub statuses: Arc<[ObjectStatus]>,
}

/// The core. It belongs to one task; others watch its [`View`] and subscribe to its cache.
pub struct Controller {
    translator: Translator,
    cache: ResourceCache,
    clock: SharedClock,
    snapshot: Snapshot,
    view: watch::Sender<View>,
}

impl Controller {
    /// A controller without objects.
    pub fn new(settings: Settings, clock: SharedClock) -> Self {
        let translator = Translator::new(settings);
        let view = watch::Sender::new(View::default());
        Self { translator, cache: ResourceCache::new(), clock, snapshot: Snapshot::default(), view }
    }

    /// What streams are served from.
    pub fn cache(&self) -> &ResourceCache {
        &self.cache
    }

    /// Follows what the controller holds.
    pub fn watch(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    /// Takes the objects of a snapshot; only those that changed are translated again.
    pub fn take(&mut self, snapshot: Snapshot) {
        let changed = snapshot.store.changes_since(&self.snapshot.store);
        let objects = changed.iter().map(|key| (key.kind, key.name.clone(), entry(&snapshot.store, key)));
        let changes = Changes { objects: objects.collect(), ..self.now() };
        self.snapshot = snapshot;
        self.update(changes);
        self.cache.mark_synced();
    }

    /// Takes the replicas of a process that run now.
    pub fn take_replicas(&mut self, process: ObjectName, replicas: Vec<Replica>) {
        self.update(Changes { replicas: vec![(process, replicas)], ..self.now() });
    }

    fn now(&self) -> Changes {
        let since = self.clock.wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Changes { time: Some(since.as_secs()), ..Changes::default() }
    }

    fn update(&mut self, changes: Changes) {
        let update = self.translator.update(changes);
        let refused = self.publish(&update.delta);
        let translation = self.translator.translation();
        let placed = translation.findings.into_iter().chain(refused).map(|finding| self.placed(finding));
        let findings: Vec<_> = self.snapshot.findings.iter().cloned().chain(placed).collect();
        self.view.send_modify(|view| {
            view.store = self.snapshot.store.clone();
            view.mesh = view.mesh.apply(&update.delta);
            view.findings = Arc::from(findings);
            view.statuses = Arc::from(translation.statuses);
        });
    }

    /// Gives streams what changed, encoded once. What is too large to be sent stays as it was.
    fn publish(&self, delta: &Delta) -> Vec<Finding> {
        let (changes, refused) = native::changes(delta);
        self.cache.apply(changes);
        let of = |key: &ResourceKey| delta.set.iter().find(|resource| resource.key() == key);
        let finding = |(key, problem): &(ResourceKey, TooLarge)| {
            let source = of(key)?.source();
            Some(Finding::error(Reason::InvalidValue, source, FieldPath::root(), problem.to_string()))
        };
        refused.iter().filter_map(finding).collect()
    }

    /// A finding with its place in a file, if its object came from one.
    fn placed(&self, finding: Finding) -> Finding {
        match self.place_of(&finding) {
            Some((file, position)) => finding.at(file, position),
            None => finding,
        }
    }

    fn place_of(&self, finding: &Finding) -> Option<(Arc<str>, Position)> {
        let source = finding.object.as_ref()?;
        let same =
            |stored: &&Arc<Stored>| stored.source().kind == source.kind && stored.name() == &source.object;
        let place = self.snapshot.store.iter().find(same)?.place()?;
        Some((Arc::clone(&place.file), place.position(&finding.path)))
    }
}

fn entry(store: &ObjectStore, key: &ObjectKey) -> Option<Arc<Entry>> {
    let stored = store.find(key)?;
    Some(Arc::new(Entry::new(stored.object().clone(), stored.source().origin.clone())))
}
