//! All objects as one value: a snapshot that is cheap to copy and to compare. It reads nothing and watches
//! nothing.

use std::fmt;
use std::sync::Arc;

use mesh_model::{FieldPath, Finding, ObjectName, Origin, Position, Reason, SourceRef};
use rpds::RedBlackTreeMapSync;

use mesh_objects::{Object, ObjectKind, Typed};
use mesh_yaml::Node;

/// One object with the place it came from.
#[derive(Debug, Clone)]
pub struct Stored {
    object: Arc<Object>,
    source: SourceRef,
    place: Option<Place>,
    live: Option<Arc<Live>>,
    problem: Option<Arc<str>>,
}

/// What an API server holds beside what was asked for. It is not part of the object, so that a status that is
/// written changes nothing that is made from the object.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// Group and version as the server wrote them.
    pub api_version: Arc<str>,
    /// `metadata.resourceVersion`, for conditional writes.
    pub resource_version: Arc<str>,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `status` as it stands, with all that others wrote into it; null where there is none.
    pub status: serde_json::Value,
}

/// A document in a file.
#[derive(Clone)]
pub struct Place {
    /// The path as the user gave it.
    pub file: Arc<str>,
    /// Lines of the file before the document.
    pub line_offset: u32,
    /// The tree the object was read from.
    pub root: Arc<Node>,
}

impl fmt::Debug for Place {
    /// Without the tree, which is the whole text of the object.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.file, self.line_offset)
    }
}

impl Place {
    /// Where a field is in the file, or the innermost value around it that is there.
    pub fn position(&self, path: &FieldPath) -> Position {
        shifted(self.root.position(path), self.line_offset)
    }
}

/// A place of a document as a place of its file.
pub(crate) const fn shifted(position: Position, line_offset: u32) -> Position {
    Position { line: position.line.saturating_add(line_offset), column: position.column }
}

impl Stored {
    /// An object that is not from a file.
    pub fn new(object: Object, origin: Origin) -> Self {
        let source = object.source(origin);
        Self { object: Arc::new(object), source, place: None, live: None, problem: None }
    }

    /// An object from an API server, its status set apart.
    pub fn from_server(object: Arc<Object>, generation: i64, live: Live) -> Self {
        let source = object.source(Origin::Api { generation });
        Self { object, source, place: None, live: Some(Arc::new(live)), problem: None }
    }

    /// An object from a file.
    pub fn from_file(object: Arc<Object>, place: Place) -> Self {
        let line = place.position(&FieldPath::root()).line;
        let source = object.source(Origin::File { path: Arc::clone(&place.file), line });
        Self { object, source, place: Some(place), live: None, problem: None }
    }

    /// The same object, still in force because the one that replaced it cannot be used; the text says why.
    #[must_use]
    pub fn outlasting(&self, problem: impl Into<Arc<str>>) -> Self {
        Self { problem: Some(problem.into()), ..self.clone() }
    }

    /// Why what replaced this object is not in force.
    pub const fn problem(&self) -> Option<&Arc<str>> {
        self.problem.as_ref()
    }

    /// The object.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// The object, to be kept.
    pub const fn shared(&self) -> &Arc<Object> {
        &self.object
    }

    /// The object as this type, when it is of this kind.
    pub fn get<T: Typed>(&self) -> Option<&T> {
        T::from_object(&self.object)
    }

    /// The object as the source of what is made from it.
    pub const fn source(&self) -> &SourceRef {
        &self.source
    }

    /// Namespace and name.
    pub const fn name(&self) -> &ObjectName {
        &self.source.object
    }

    /// What the server holds beside the object, when it came from one.
    pub fn live(&self) -> Option<&Live> {
        self.live.as_deref()
    }

    /// The document, when it came from a file.
    pub const fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// An error at a field of the object, with its place in the file.
    pub fn finding(&self, reason: Reason, path: FieldPath, message: impl Into<String>) -> Finding {
        let place = self.place.as_ref().map(|place| (Arc::clone(&place.file), place.position(&path)));
        let finding = Finding::error(reason, &self.source, path, message);
        match place {
            Some((file, position)) => finding.at(file, position),
            None => finding,
        }
    }

    /// Whether both are the same document at the same place of one file.
    pub(crate) fn is_same_document(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Some(one), Some(two)) => Arc::ptr_eq(&one.root, &two.root) && one.line_offset == two.line_offset,
            _ => false,
        }
    }

    /// Whether object and source are the same. The place inside of the document may differ,
    /// and so may what a server holds beside the object.
    pub fn same(&self, other: &Self) -> bool {
        self.source == other.source
            && self.problem == other.problem
            && (Arc::ptr_eq(&self.object, &other.object) || self.object == other.object)
    }
}

/// Kind and name of an object: unique in a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// The kind.
    pub kind: ObjectKind,
    /// Namespace and name.
    pub name: ObjectName,
}

impl ObjectKey {
    /// A key from its parts.
    pub const fn new(kind: ObjectKind, name: ObjectName) -> Self {
        Self { kind, name }
    }
}

/// A snapshot of all objects, ordered by kind, namespace and name. A copy shares everything.
#[derive(Debug, Clone, Default)]
pub struct ObjectStore {
    objects: RedBlackTreeMapSync<ObjectKey, Arc<Stored>>,
}

impl ObjectStore {
    /// The store with an object added or replaced.
    #[must_use]
    pub fn insert(&self, stored: Arc<Stored>) -> Self {
        let key = ObjectKey::new(stored.object().kind(), stored.name().clone());
        Self { objects: self.objects.insert(key, stored) }
    }

    /// The store without an object.
    #[must_use]
    pub fn remove(&self, key: &ObjectKey) -> Self {
        Self { objects: self.objects.remove(key) }
    }

    /// An object.
    pub fn find(&self, key: &ObjectKey) -> Option<&Arc<Stored>> {
        self.objects.get(key)
    }

    /// An object of a known type.
    pub fn one<T: Typed>(&self, name: &ObjectName) -> Option<(&Arc<Stored>, &T)> {
        let stored = self.objects.get(&ObjectKey::new(T::KIND, name.clone()))?;
        Some((stored, stored.get::<T>()?))
    }

    /// All objects of a type, by namespace and name.
    pub fn all<T: Typed>(&self) -> impl Iterator<Item = (&Arc<Stored>, &T)> {
        self.typed(ObjectKey::new(T::KIND, ObjectName::new("", "")), |_| true)
    }

    /// All objects of a type in a namespace, by name.
    pub fn in_namespace<T: Typed>(&self, namespace: &str) -> impl Iterator<Item = (&Arc<Stored>, &T)> {
        let first = ObjectKey::new(T::KIND, ObjectName::new(namespace, ""));
        let namespace = Arc::clone(&first.name.namespace);
        self.typed(first, move |key| key.name.namespace == namespace)
    }

    fn typed<T: Typed>(
        &self,
        first: ObjectKey,
        belongs: impl Fn(&ObjectKey) -> bool,
    ) -> impl Iterator<Item = (&Arc<Stored>, &T)> {
        let from = self.objects.range(first..);
        let of_type = from.take_while(move |(key, _)| key.kind == T::KIND && belongs(key));
        of_type.filter_map(|(_, stored)| Some((stored, stored.get::<T>()?)))
    }

    /// Every object.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Stored>> {
        self.objects.values()
    }

    /// The key of every object.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.objects.keys()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// What was added, changed or removed since an earlier snapshot, in the order of the store.
    pub fn changes_since(&self, earlier: &Self) -> Vec<ObjectKey> {
        let mut changed = Vec::new();
        let (mut now, mut then) = (self.objects.iter().peekable(), earlier.objects.iter().peekable());
        loop {
            let order = match (now.peek(), then.peek()) {
                (None, None) => return changed,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((new, _)), Some((old, _))) => new.cmp(old),
            };
            let added = if order.is_le() { now.next() } else { None };
            let removed = if order.is_ge() { then.next() } else { None };
            match (added, removed) {
                (Some((_, new)), Some((_, old))) if Arc::ptr_eq(new, old) || new.same(old) => {}
                (Some((key, _)), _) | (None, Some((key, _))) => changed.push(key.clone()),
                (None, None) => {}
            }
        }
    }
}

impl FromIterator<Arc<Stored>> for ObjectStore {
    fn from_iter<I: IntoIterator<Item = Arc<Stored>>>(objects: I) -> Self {
        objects.into_iter().fold(Self::default(), |store, stored| store.insert(stored))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_objects::{ConfigMap, Secret};

    fn stored(kind: ObjectKind, namespace: &str, name: &str, label: &str) -> Arc<Stored> {
        let metadata = serde_json::json!({"namespace": namespace, "name": name, "labels": {"l": label}});
        let value = serde_json::json!({"apiVersion": "v1", "kind": kind.as_str(), "metadata": metadata});
        let object = Object::parse(kind, value).expect("a complete object");
        Arc::new(Stored::new(object, Origin::Builtin))
    }

    #[test]
    fn objects_are_found_by_type_namespace_and_name() {
        let maps = [("b", "1"), ("a", "2"), ("a", "1")];
        let store: ObjectStore =
            maps.map(|(ns, n)| stored(ObjectKind::ConfigMap, ns, n, "")).into_iter().collect();
        let store = store.insert(stored(ObjectKind::Secret, "a", "1", ""));
        let names = |found: Vec<(&Arc<Stored>, &ConfigMap)>| {
            found.iter().map(|(stored, _)| stored.name().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(store.all().collect()), ["a/1", "a/2", "b/1"]);
        assert_eq!(names(store.in_namespace("a").collect()), ["a/1", "a/2"]);
        assert!(store.one::<Secret>(&ObjectName::new("a", "1")).is_some());
        assert!(store.one::<Secret>(&ObjectName::new("b", "1")).is_none());
        assert_eq!(store.len(), 4);
    }

    #[test]
    fn changes_name_what_was_added_changed_and_removed() {
        let kind = ObjectKind::ConfigMap;
        let before: ObjectStore =
            ["kept", "changed", "removed"].map(|n| stored(kind, "a", n, "1")).into_iter().collect();
        let same: ObjectStore =
            ["kept", "changed", "removed"].map(|n| stored(kind, "a", n, "1")).into_iter().collect();
        assert!(same.changes_since(&before).is_empty());
        let key = |name: &str| ObjectKey::new(kind, ObjectName::new("a", name));
        let after = before
            .insert(stored(kind, "a", "changed", "2"))
            .insert(stored(kind, "a", "added", "1"))
            .remove(&key("removed"));
        assert_eq!(after.changes_since(&before), [key("added"), key("changed"), key("removed")]);
        assert_eq!(before.changes_since(&after), [key("added"), key("changed"), key("removed")]);
    }
}
