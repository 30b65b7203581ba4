//! The resources a server offers: encoded once, versioned by content, read as immutable snapshots.
//! What a subscriber has seen is the session's business, not the cache's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use mesh_model::SpiffeId;
use rpds::RedBlackTreeMapSync as PersistentMap;
use tokio::sync::watch;

use crate::key::{Key, TypeUrl, Version};

/// The largest resource that can travel, in bytes.
pub const MAX_RESOURCE: usize = 8 << 20;
/// Removals are remembered up to this number; a subscriber further behind is compared in full.
const MAX_TOMBSTONES: usize = 4096;

/// A resource is larger than [`MAX_RESOURCE`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes is more than a resource may have ({MAX_RESOURCE})")]
pub struct TooLarge(pub usize);

/// The encoded form of a resource with its version.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    version: Version,
    body: Bytes,
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({}, {} bytes)", self.version, self.body.len()) // the body may hold keys
    }
}

impl Encoded {
    /// Takes encoded bytes and computes their version.
    ///
    /// # Errors
    /// When there are more than [`MAX_RESOURCE`] bytes.
    pub fn new(body: Bytes) -> Result<Self, TooLarge> {
        if body.len() > MAX_RESOURCE {
            return Err(TooLarge(body.len()));
        }
        Ok(Self { version: Version::of(&body), body })
    }

    /// The content's version.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The encoded payload.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// A resource as offered: its encoding, the stub for nodes that lack a feature it needs, and who may have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    full: Encoded,
    guarded: Option<(BTreeSet<String>, Encoded)>,
    audience: Option<BTreeSet<SpiffeId>>,
}

impl Entry {
    /// A resource that every node understands.
    pub fn new(full: Encoded) -> Self {
        Self { full, guarded: None, audience: None }
    }

    /// A resource that only nodes with all of `features` understand; the others receive `stub`, which must
    /// deny or answer an error.
    pub fn guarded(full: Encoded, features: BTreeSet<String>, stub: Encoded) -> Self {
        Self { full, guarded: (!features.is_empty()).then_some((features, stub)), audience: None }
    }

    /// The same, for these identities only, whatever else a scope allows.
    pub fn only_for(self, audience: BTreeSet<SpiffeId>) -> Self {
        Self { audience: Some(audience), ..self }
    }

    /// Whether a peer may have the resource.
    pub fn admits(&self, peer: Option<&SpiffeId>) -> bool {
        self.audience.as_ref().is_none_or(|audience| peer.is_some_and(|peer| audience.contains(peer)))
    }

    /// The encoding for a node that understands `features`.
    pub fn for_features(&self, features: &BTreeSet<String>) -> &Encoded {
        match &self.guarded {
            Some((needed, stub)) if !needed.is_subset(features) => stub,
            _ => &self.full,
        }
    }
}

/// One step of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The resource no longer exists.
    Remove(Key),
    /// The resource is new or replaced.
    Set(Key, Entry),
}

/// What an update did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The sequence number of the snapshot that holds the update.
    pub sequence: u64,
    /// The keys whose content really changed.
    pub changed: BTreeSet<Key>,
}

type Resources = PersistentMap<Arc<str>, Arc<Entry>>;

#[derive(Debug, Clone, Default)]
struct State {
    sequence: u64,
    horizon: u64,
    synced: bool,
    types: BTreeMap<TypeUrl, Resources>,
    changed_at: PersistentMap<Key, u64>,
    log: PersistentMap<u64, Key>,
    tombstones: usize,
}

impl State {
    fn apply(&mut self, change: Change) -> Option<Key> {
        let (key, entry) = match change {
            Change::Remove(key) => (key, None),
            Change::Set(key, entry) => (key, Some(entry)),
        };
        let resources = self.types.entry(key.type_url.clone()).or_default();
        let before = resources.get(&key.name);
        if before.map(|e| &**e) == entry.as_ref() {
            return None;
        }
        match entry {
            Some(entry) => {
                let revived = before.is_none() && self.changed_at.contains_key(&key);
                self.tombstones -= usize::from(revived);
                resources.insert_mut(key.name.clone(), Arc::new(entry));
            }
            None => {
                self.tombstones += 1;
                resources.remove_mut(&key.name);
            }
        }
        self.record(&key);
        Some(key)
    }

    fn record(&mut self, key: &Key) {
        if let Some(before) = self.changed_at.get(key) {
            self.log.remove_mut(before);
        }
        self.sequence += 1;
        self.log.insert_mut(self.sequence, key.clone());
        self.changed_at.insert_mut(key.clone(), self.sequence);
    }

    fn forget_tombstones(&mut self) {
        if self.tombstones <= MAX_TOMBSTONES {
            return;
        }
        let lives = |key: &Key| self.types.get(&key.type_url).is_some_and(|r| r.contains_key(&key.name));
        let gone: Vec<(u64, Key)> =
            self.log.iter().filter(|(_, key)| !lives(key)).map(|(at, key)| (*at, key.clone())).collect();
        for (at, key) in gone {
            self.log.remove_mut(&at);
            self.changed_at.remove_mut(&key);
        }
        self.tombstones = 0;
        self.horizon = self.sequence;
    }
}

/// All resources at one moment. Cloning is cheap; a snapshot never changes.
#[derive(Debug, Clone, Default)]
pub struct Snapshot(Arc<State>);

impl Snapshot {
    /// Counts changes; a later snapshot has a higher number.
    pub fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// Whether the source has delivered everything once. Before, nothing is sent: a proxy must not lose
    /// resources because its controller has just started.
    pub fn is_synced(&self) -> bool {
        self.0.synced
    }

    /// One resource.
    pub fn lookup(&self, type_url: &TypeUrl, name: &str) -> Option<&Arc<Entry>> {
        self.0.types.get(type_url)?.get(name)
    }

    /// All resources of a type, by name.
    pub fn iter(&self, type_url: &TypeUrl) -> impl Iterator<Item = (&Arc<str>, &Arc<Entry>)> {
        self.0.types.get(type_url).into_iter().flat_map(|r| r.iter())
    }

    /// How many resources there are of a type.
    pub fn len(&self, type_url: &TypeUrl) -> usize {
        self.0.types.get(type_url).map_or(0, |r| r.size())
    }

    /// The keys that changed after `sequence`, each once; `None` when that is too long ago to tell.
    pub fn changed_since(&self, sequence: u64) -> Option<impl Iterator<Item = &Key>> {
        (sequence >= self.0.horizon).then(|| self.0.log.range(sequence + 1..).map(|(_, key)| key))
    }
}

/// The cache: one writer at a time, any number of watchers, which always see the latest snapshot.
///
/// ```
/// use bytes::Bytes;
/// use mesh_model::Kind;
/// use mesh_xds::{Change, Encoded, Entry, Key, ResourceCache};
///
/// let cache = ResourceCache::new();
/// let key = Key::new(Kind::Route.into(), "local/shop/Route/cart");
/// let entry = Entry::new(Encoded::new(Bytes::from_static(b"route"))?);
/// assert_eq!(cache.apply([Change::Set(key.clone(), entry.clone())]).changed.len(), 1);
/// assert!(cache.apply([Change::Set(key, entry)]).changed.is_empty()); // equal content: nothing happens
/// # Ok::<(), mesh_xds::TooLarge>(())
/// ```
#[derive(Debug, Clone)]
pub struct ResourceCache {
    writing: Arc<Mutex<()>>,
    snapshot: watch::Sender<Snapshot>,
}

impl Default for ResourceCache {
    fn default() -> Self {
        Self::new()
    }
}

impl ResourceCache {
    /// An empty cache that is not yet synced.
    pub fn new() -> Self {
        Self { writing: Arc::default(), snapshot: watch::Sender::new(Snapshot::default()) }
    }

    /// Applies all changes as one step. Watchers are told at once, and only if content changed.
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) -> Applied {
        self.edit(|state| changes.into_iter().filter_map(|change| state.apply(change)).collect())
    }

    /// Declares that the source has delivered everything it has; sessions send nothing before.
    pub fn mark_synced(&self) {
        self.edit(|state| {
            state.synced = true;
            BTreeSet::new()
        });
    }

    /// The latest snapshot.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.borrow().clone()
    }

    /// A watch on the latest snapshot.
    pub fn watch(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.subscribe()
    }

    fn edit(&self, edit: impl FnOnce(&mut State) -> BTreeSet<Key>) -> Applied {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot();
        let mut state = (*before.0).clone();
        let changed = edit(&mut state);
        state.forget_tombstones();
        let sequence = state.sequence;
        if sequence != before.0.sequence || state.synced != before.0.synced {
            self.snapshot.send_replace(Snapshot(Arc::new(state)));
        }
        Applied { sequence, changed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        Entry::new(Encoded::new(Bytes::copy_from_slice(text.as_bytes())).expect("small"))
    }

    fn key(name: &str) -> Key {
        Key::new("t".into(), name)
    }

    fn since(snapshot: &Snapshot, sequence: u64) -> Option<Vec<String>> {
        Some(snapshot.changed_since(sequence)?.map(|key| key.name.to_string()).collect())
    }

    #[test]
    fn equal_content_changes_nothing_and_wakes_nobody() {
        let cache = ResourceCache::new();
        let mut watch = cache.watch();
        cache.apply([Change::Set(key("a"), entry("1")), Change::Remove(key("absent"))]);
        assert!(watch.has_changed().expect("open"));
        watch.mark_unchanged();
        let applied = cache.apply([Change::Set(key("a"), entry("1"))]);
        assert_eq!((applied.sequence, applied.changed.len()), (1, 0));
        assert!(!watch.has_changed().expect("open"));
    }

    #[test]
    fn a_snapshot_lists_each_changed_key_once_in_the_order_of_its_last_change() {
        let cache = ResourceCache::new();
        for (name, text) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")] {
            cache.apply([Change::Set(key(name), entry(text))]);
        }
        let old = cache.snapshot();
        cache.apply([Change::Remove(key("b"))]);
        assert_eq!(since(&cache.snapshot(), 0), Some(vec!["a".into(), "c".into(), "b".into()]));
        assert_eq!(since(&cache.snapshot(), 4), Some(vec!["b".into()]));
        assert!(old.lookup(&"t".into(), "b").is_some(), "a held snapshot does not change");
        assert!(cache.snapshot().lookup(&"t".into(), "b").is_none());
    }

    #[test]
    fn removals_are_remembered_up_to_a_bound() {
        let cache = ResourceCache::new();
        cache.apply([Change::Set(key("stays"), entry("1"))]);
        for n in 0..=MAX_TOMBSTONES {
            cache.apply([Change::Set(key(&n.to_string()), entry("1"))]);
            cache.apply([Change::Remove(key(&n.to_string()))]);
        }
        let snapshot = cache.snapshot();
        assert_eq!(since(&snapshot, 1), None);
        assert_eq!(since(&snapshot, snapshot.sequence()), Some(vec![]));
        assert_eq!(snapshot.0.log.size(), 1);
        assert_eq!(snapshot.0.changed_at.size(), 1);
        cache.apply([Change::Set(key("0"), entry("1"))]);
        assert_eq!(cache.snapshot().0.tombstones, 0);
    }

    #[test]
    fn nodes_without_a_needed_feature_are_offered_the_stub() {
        let encoded = |text: &str| Encoded::new(Bytes::copy_from_slice(text.as_bytes())).expect("small");
        let guarded = Entry::guarded(encoded("full"), ["f".to_owned()].into(), encoded("stub"));
        assert_eq!(guarded.for_features(&BTreeSet::new()), &encoded("stub"));
        assert_eq!(guarded.for_features(&["f".to_owned()].into()), &encoded("full"));
    }

    #[test]
    fn a_resource_over_the_limit_is_refused() {
        let size = MAX_RESOURCE + 1;
        assert_eq!(Encoded::new(Bytes::from(vec![0; size])), Err(TooLarge(size)));
    }
}
