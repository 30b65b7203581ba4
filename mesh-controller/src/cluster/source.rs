//! The objects of an API server as snapshots: one feed per served kind, and what they say put together. Which
//! kinds are served is asked again and again, so that definitions may come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::client::Api;
use super::definitions;
use super::discovery::discover;
use super::feed::{Feed, Pauses, Signs};
use super::holdings::{Holdings, Update};
use super::served::{Resource, Served};
use super::unusable::Unusables;
use crate::objects::ObjectKind;
use crate::serve::{AbortOnDrop, Counters, Reading};
use crate::source::Snapshot;
use crate::store::ObjectKey;

/// How often it is asked which kinds are served when nothing says that this has changed.
const LOOK: Duration = Duration::from_secs(30);
/// How soon it is asked again after a change: a server lists a new kind a moment after its definition is there.
const SETTLE: Duration = Duration::from_secs(1);
/// Updates that may wait to be taken.
const QUEUE: usize = 1024;
/// Most updates that are taken as one.
const BATCH: usize = 4096;

/// A stream of snapshots. It belongs to one task.
pub(super) struct Source {
    updates: mpsc::Receiver<Update>,
    served: watch::Receiver<Arc<Served>>,
    holdings: Holdings,
    unusable: watch::Sender<Arc<Unusables>>,
    complete: bool,
    signs: Signs,
    _discovering: AbortOnDrop,
}

impl Source {
    /// Begins to read. Must be called within a tokio runtime.
    pub(super) fn start(api: Api, counters: Arc<Counters>) -> Self {
        let (updates, receiver) = mpsc::channel(QUEUE);
        let (served_sender, served) = watch::channel(Arc::default());
        let signs = Signs { counters, ..Signs::default() };
        let feeds = Feeds { api, updates, signs: signs.clone(), running: BTreeMap::new() };
        let discovering = AbortOnDrop::spawn(feeds.run(served_sender));
        let holdings = Holdings::default();
        let unusable = watch::Sender::default();
        Self {
            updates: receiver,
            served,
            holdings,
            unusable,
            complete: false,
            signs,
            _discovering: discovering,
        }
    }

    /// Follows which kinds are served.
    pub(super) fn served(&self) -> watch::Receiver<Arc<Served>> {
        self.served.clone()
    }

    /// Where it is said what is not read; others who read say it there, too.
    pub(super) fn signs(&self) -> Signs {
        self.signs.clone()
    }

    /// Follows which objects cannot be used.
    pub(super) fn unusable(&self) -> watch::Receiver<Arc<Unusables>> {
        self.unusable.subscribe()
    }

    /// Follows what is not read, and why.
    pub(super) fn reading(&self) -> watch::Receiver<Reading> {
        self.signs.reading.subscribe()
    }

    /// The next snapshot with the objects that changed since the one before; whatever is queued goes into one.
    /// The first one is complete: it comes when every served kind has been listed.
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> (Snapshot, BTreeSet<ObjectKey>) {
        loop {
            tokio::select! {
                update = self.updates.recv() => self.take(update),
                // The last list may have come before it was known that no other kind is served.
                _ = self.served.changed() => {}
            }
            if !self.complete {
                let served = Arc::clone(&self.served.borrow());
                let missing: BTreeSet<&'static str> = self.holdings.missing(&served).collect();
                self.complete = missing.is_empty() && served.iter().next().is_some();
                tracing::debug!(?missing, "reading");
                self.signs.reading.send_if_modified(|reading| {
                    std::mem::replace(&mut reading.waiting, missing.clone()) != missing
                });
            }
            if let Some(unusable) = self.holdings.unusable() {
                self.unusable.send_replace(Arc::new(unusable));
            }
            if self.complete {
                return self.holdings.snapshot();
            }
        }
    }

    fn take(&mut self, first: Option<Update>) {
        let Some(first) = first else { return };
        self.holdings.take(first);
        for _ in 1..BATCH {
            let Ok(update) = self.updates.try_recv() else { return };
            self.holdings.take(update);
        }
    }
}

/// The running feeds, by kind.
struct Feeds {
    api: Api,
    updates: mpsc::Sender<Update>,
    signs: Signs,
    running: BTreeMap<ObjectKind, (Resource, AbortOnDrop)>,
}

impl Feeds {
    async fn run(mut self, sender: watch::Sender<Arc<Served>>) {
        let mut pauses = Pauses::default();
        let changed = Arc::new(Notify::new());
        let _following = AbortOnDrop::spawn(definitions::watch(self.api.clone(), Arc::clone(&changed)));
        let mut settling = false;
        loop {
            let before = Arc::clone(&sender.borrow());
            match discover(&self.api, &before).await {
                Ok(served) => {
                    pauses.reset();
                    self.align(&served).await;
                    if served != *before {
                        let kinds = served.iter().map(|r| format!("{} {}", r.kind.as_str(), r.version));
                        let kinds = kinds.collect::<Vec<_>>().join(", ");
                        tracing::info!(kinds, "kinds that are served");
                        sender.send_replace(Arc::new(served));
                    }
                    let rest = if settling { SETTLE } else { LOOK };
                    settling = tokio::time::timeout(rest, changed.notified()).await.is_ok();
                }
                Err(error) => {
                    if pauses.is_first() {
                        tracing::warn!(%error, "it is not known which kinds are served; trying again");
                    }
                    pauses.wait().await;
                }
            }
        }
    }

    /// Starts and ends feeds so that they are those of the served kinds.
    async fn align(&mut self, served: &Served) {
        let ended: Vec<ObjectKind> = self.running.keys().copied().collect();
        for kind in ended {
            let now = served.of(kind);
            if self.running.get(&kind).is_some_and(|(resource, _)| Some(resource) == now) {
                continue;
            }
            self.running.remove(&kind);
            if now.is_none() {
                self.signs.note(kind.as_str(), None);
                let _ = self.updates.send(Update::Unserved(kind)).await;
            }
        }
        for resource in served.iter() {
            self.running.entry(resource.kind).or_insert_with(|| {
                let feed =
                    Feed::new(self.api.clone(), resource.clone(), self.updates.clone(), self.signs.clone());
                (resource.clone(), AbortOnDrop::spawn(feed.run()))
            });
        }
    }
}

#[cfg(test)]
mod tests;
