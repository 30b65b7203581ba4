//! One object as the translation sees it, and what changes from one moment to the next.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_model::{Finding, ObjectName, Origin, SessionKey, Severity, SourceRef};

use crate::local::Replica;
use crate::objects::{Object, ObjectKind};
use crate::pods::Pod;
use crate::source::{Aims, Snapshot};
use crate::store::{ObjectKey, ObjectStore, Stored};

/// An object and where it came from. The line in its file is left out: it changes when the file is edited
/// above the object, and no resource may change with it. Findings get their place from the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The object.
    pub object: Arc<Object>,
    /// Its name and origin.
    pub source: SourceRef,
    /// Why what replaced this object is not in force.
    pub problem: Option<Arc<str>>,
}

impl Entry {
    /// An object from its origin.
    pub fn new(object: impl Into<Arc<Object>>, origin: Origin) -> Self {
        let object = object.into();
        let origin = match origin {
            Origin::File { path, .. } => Origin::File { path, line: 0 },
            other => other,
        };
        Self { source: object.source(origin), object, problem: None }
    }

    /// An object of the store.
    pub fn of(stored: &Stored) -> Self {
        let entry = Self::new(Arc::clone(stored.shared()), stored.source().origin.clone());
        Self { problem: stored.problem().cloned(), ..entry }
    }

    /// Namespace and name.
    pub fn name(&self) -> ObjectName {
        self.source.object.clone()
    }

    /// The namespace; empty for objects outside of namespaces.
    pub fn namespace(&self) -> &str {
        &self.source.object.namespace
    }

    /// The generation, where an API server counts it.
    pub fn generation(&self) -> Option<i64> {
        self.object.metadata().generation
    }

    /// Seconds since 1970 at which the object was made; 0 when unknown, as in files.
    pub fn created(&self) -> u64 {
        let time = self.object.metadata().creation_timestamp.as_ref();
        time.and_then(|t| u64::try_from(t.unix_micros() / 1_000_000).ok()).unwrap_or_default()
    }

    /// The order in which conflicts are decided: the older object first, then by namespace and name.
    pub(super) fn seniority(&self) -> (u64, ObjectName) {
        (self.created(), self.name())
    }
}

/// What changed since the last update.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Objects that are new, changed, or (with `None`) gone.
    pub objects: Vec<(ObjectKind, ObjectName, Option<Arc<Entry>>)>,
    /// Pods that are new, changed, or (with `None`) gone.
    pub pods: Vec<(ObjectName, Option<Pod>)>,
    /// Processes whose running replicas changed, with all that run now.
    pub replicas: Vec<(ObjectName, Vec<Replica>)>,
    /// All authorization policies that are written but cannot be read, when that changed. Until they can, the
    /// workloads of their namespaces let nobody in.
    pub refused_policies: Option<BTreeSet<ObjectName>>,
    /// As `refused_policies`, of policies for TLS towards backends. Until they can be read, no service that they are
    /// about is dialled that has no other policy; no service of their namespaces, when that cannot be read either.
    pub refused_tls_policies: Option<Aims>,
    /// The keys of the mesh that those of sessions are made of, when they changed: the first one seals.
    pub session_keys: Option<Vec<SessionKey>>,
    /// The present time in seconds since 1970, for the validity of certificates.
    pub time: Option<u64>,
}

impl Changes {
    /// New or changed objects.
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        let change = |entry: Entry| (entry.object.kind(), entry.name(), Some(Arc::new(entry)));
        Self { objects: entries.into_iter().map(change).collect(), ..Self::default() }
    }

    /// What changed from one snapshot of the store to a later one.
    pub fn between(earlier: &ObjectStore, later: &ObjectStore) -> Self {
        Self::of_keys(later.changes_since(earlier), later)
    }

    /// These objects as they are in a snapshot now.
    pub fn of_keys(keys: impl IntoIterator<Item = ObjectKey>, now: &ObjectStore) -> Self {
        let change = |key: ObjectKey| {
            let entry = now.find(&key).map(|stored| Arc::new(Entry::of(stored)));
            (key.kind, key.name, entry)
        };
        Self { objects: keys.into_iter().map(change).collect(), ..Self::default() }
    }
}

/// Gives each finding about an object of the store its place in a file.
pub fn locate(findings: &mut [Finding], store: &ObjectStore) {
    for finding in findings.iter_mut().filter(|finding| finding.position.is_none()) {
        let Some(source) = &finding.object else { continue };
        let Some(kind) = ObjectKind::ALL.iter().find(|kind| kind.as_str() == &*source.kind) else { continue };
        let key = ObjectKey::new(*kind, source.object.clone());
        let Some(stored) = store.find(&key) else { continue };
        finding.object = Some(stored.source().clone());
        if let Some(place) = stored.place() {
            finding.file = Some(Arc::clone(&place.file));
            finding.position = Some(place.position(&finding.path));
        }
    }
}

/// Authorization policies that the reader refused and of which no earlier version is in force.
pub fn refused_policies(snapshot: &Snapshot) -> BTreeSet<ObjectName> {
    refused(snapshot, ObjectKind::AuthorizationPolicy)
}

/// Policies for TLS towards backends that the reader refused and of which no earlier version is in force.
pub fn refused_tls_policies(snapshot: &Snapshot) -> Aims {
    let aim = |policy: &ObjectName| snapshot.aims.get(policy).cloned().flatten();
    let refused = refused(snapshot, ObjectKind::BackendTlsPolicy).into_iter();
    refused.map(|policy| (policy.clone(), aim(&policy))).collect()
}

fn refused(snapshot: &Snapshot, kind: ObjectKind) -> BTreeSet<ObjectName> {
    let errors = snapshot.findings.iter().filter(|finding| finding.severity == Severity::Error);
    let policies = errors.filter_map(|f| f.object.as_ref()).filter(|source| *source.kind == *kind.as_str());
    let names = policies.map(|source| source.object.clone());
    names.filter(|name| snapshot.store.find(&ObjectKey::new(kind, name.clone())).is_none()).collect()
}
