//! What we made and is still there, followed by list and watch. Nothing is written here.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use mesh_model::ObjectName;
use serde_json::Value;
use tokio::sync::mpsc;

use super::super::feed::Pauses;
use super::super::{Api, CallError, Fault, client::Event, served::group_path};
use crate::provision::{MANAGED_BY, PieceKind};
use crate::serve::AbortOnDrop;

/// How long a server keeps a watch, in seconds.
const WATCH_SECONDS: u32 = 290;

/// Kind and name of an object that we made.
pub(super) type PieceKey = (PieceKind, ObjectName);

enum Change {
    Gone(PieceKey),
    Listed(PieceKind, Vec<Value>),
    Set(PieceKind, Value),
}

/// All objects that we made.
pub(super) struct Inventory {
    live: BTreeMap<PieceKey, Value>,
    listed: BTreeSet<PieceKind>,
    changes: mpsc::Receiver<Change>,
    _feeds: Vec<AbortOnDrop>,
}

impl Inventory {
    /// Follows what carries our label.
    pub(super) fn start(api: &Api, managed_by: &str) -> Self {
        let (sender, changes) = mpsc::channel(64);
        let selector = format!("labelSelector={MANAGED_BY}%3D{managed_by}");
        let feeds = PieceKind::ALL
            .map(|kind| AbortOnDrop::spawn(follow(api.clone(), kind, selector.clone(), sender.clone())));
        Self { live: BTreeMap::new(), listed: BTreeSet::new(), changes, _feeds: feeds.into() }
    }

    /// Whether every kind was listed once.
    pub(super) fn is_complete(&self) -> bool {
        self.listed.len() == PieceKind::ALL.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PieceKey, &Value)> {
        self.live.iter()
    }

    pub(super) fn find(&self, key: &PieceKey) -> Option<&Value> {
        self.live.get(key)
    }

    /// Notes what an answer told, so that it counts before the watch brings it.
    pub(super) fn note(&mut self, key: PieceKey, object: Value) {
        self.live.insert(key, object);
    }

    pub(super) fn forget(&mut self, key: &PieceKey) {
        self.live.remove(key);
    }

    /// Waits for changes and takes in all that are there.
    pub(super) async fn changed(&mut self) {
        let Some(change) = self.changes.recv().await else { return std::future::pending().await };
        self.take(change);
        while let Ok(change) = self.changes.try_recv() {
            self.take(change);
        }
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Gone(key) => self.forget(&key),
            Change::Listed(kind, objects) => {
                self.live.retain(|(other, _), _| *other != kind);
                let named = objects.into_iter().map(|object| ((kind, name(&object)), object));
                self.live.extend(named);
                self.listed.insert(kind);
            }
            Change::Set(kind, object) => drop(self.live.insert((kind, name(&object)), object)),
        }
    }
}

fn name(object: &Value) -> ObjectName {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    ObjectName::new(text("namespace"), text("name"))
}

fn group(kind: PieceKind) -> String {
    let (group, version) = kind.api_version().rsplit_once('/').unwrap_or(("", kind.api_version()));
    group_path(group, version)
}

/// The path of one object.
pub(super) fn path((kind, name): &PieceKey) -> String {
    format!("{}/namespaces/{}/{}/{}", group(*kind), name.namespace, kind.plural(), name.name)
}

async fn follow(api: Api, kind: PieceKind, selector: String, changes: mpsc::Sender<Change>) {
    let path = format!("{}/{}?{selector}", group(kind), kind.plural());
    let mut pauses = Pauses::default();
    let mut version = None;
    loop {
        let outcome = match version.take() {
            None => list(&api, &path, kind, &changes).await,
            Some(version) => watch(&api, (&path, version), kind, &changes).await,
        };
        match outcome {
            Ok(next) => {
                version = Some(next);
                pauses.reset();
            }
            Err(error) => {
                if error.fault() != Fault::Gone {
                    tracing::warn!(%error, "what was made for gateways is not followed; trying again");
                }
                pauses.wait().await;
            }
        }
    }
}

async fn list(
    api: &Api,
    path: &str,
    kind: PieceKind,
    changes: &mpsc::Sender<Change>,
) -> Result<String, CallError> {
    let mut list = api.get(path).await?;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let objects = match list["items"].take() {
        Value::Array(objects) => objects,
        _ => Vec::new(),
    };
    // Without a reader the task ends with its owner.
    let _ = changes.send(Change::Listed(kind, objects)).await;
    Ok(version)
}

/// Returns the version to go on from when the server ends the watch.
async fn watch(
    api: &Api,
    (path, mut version): (&str, String),
    kind: PieceKind,
    changes: &mpsc::Sender<Change>,
) -> Result<String, CallError> {
    let options = format!("watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}");
    let mut events = std::pin::pin!(api.watch(&format!("{path}&{options}&resourceVersion={version}")).await?);
    while let Some(event) = events.next().await {
        let change = match event? {
            Event::Bookmark(mark) => {
                version = mark;
                continue;
            }
            Event::Deleted(object) => Change::Gone((kind, name(&object))),
            Event::Set(object) => {
                if let Some(seen) = object["metadata"]["resourceVersion"].as_str() {
                    seen.clone_into(&mut version);
                }
                Change::Set(kind, object)
            }
        };
        let _ = changes.send(change).await;
    }
    Ok(version)
}
