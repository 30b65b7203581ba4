//! The objects of one kind, for ever: a list, then a watch, and again from where it was when the watch ends.
//!
//! A list that is older than what was seen before is refused: after a failover a server may show the past, and
//! nothing is deleted because of it. When the state behind the server was put back for good, everything is read anew
//! as soon as the server counts as far as it did before; a restart takes it as the new beginning at once.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use mesh_rt::random::Fast;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::client::{Api, CallError, Event, Fault};
use super::holdings::{Update, is_older};
use super::item;
use super::served::Resource;
use crate::objects::ObjectKind;
use crate::serve::{Count, Counters, Reading};

/// Objects per page of a list.
const PAGE: usize = 500;
/// How long a server keeps a watch; it then begins again where it was.
const WATCH_SECONDS: u64 = 290;
/// Silence after which a watch counts as dead: servers send bookmarks about every minute.
const SILENCE: Duration = Duration::from_secs(150);
/// First and longest time between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// Whether somebody still takes the updates.
type Taken = Result<(), CallError>;

/// Where feeds say how they fare. A copy says it in the same place.
#[derive(Debug, Clone, Default)]
pub(super) struct Signs {
    pub(super) reading: watch::Sender<Reading>,
    pub(super) counters: Arc<Counters>,
    /// The newest version of anything that was seen.
    pub(super) newest: Arc<AtomicU64>,
}

impl Signs {
    /// Notes a version of whatever kind.
    pub(super) fn saw(&self, version: &str) {
        if let Ok(version) = version.parse() {
            self.newest.fetch_max(version, Ordering::Relaxed);
        }
    }

    /// Whether the server is at an older version than the newest that was seen: then its state was put back, though a
    /// kind that changes rarely may not show it. Kinds may be kept in different places,
    /// whose versions say nothing about each other: what follows from this is no more than another list.
    pub(super) async fn is_behind(&self, api: &Api, path: &str) -> Result<bool, CallError> {
        let version = text(&api.get(path).await?, "/metadata/resourceVersion").parse::<u64>();
        Ok(version.is_ok_and(|version| version < self.newest.load(Ordering::Relaxed)))
    }

    /// Counts a list or watch that failed. What passes by itself is no news.
    pub(super) fn failed(&self, kind: &'static str, error: &CallError) {
        self.counters.add(Count::WatchRestarts, kind);
        if matches!(error.fault(), Fault::Forbidden | Fault::NotFound | Fault::Refused) {
            self.note(kind, Some(error));
        }
    }

    /// Notes why a kind cannot be read, or that it can.
    pub(super) fn note(&self, kind: &'static str, problem: Option<&CallError>) {
        let text = problem.map(ToString::to_string);
        self.reading.send_if_modified(|reading| match text {
            Some(text) if reading.problems.get(kind) == Some(&text) => false,
            Some(text) => {
                reading.problems.insert(kind, text);
                true
            }
            None => reading.problems.remove(kind).is_some(),
        });
    }
}

/// The feed of one kind.
pub(super) struct Feed {
    api: Api,
    resource: Resource,
    updates: mpsc::Sender<Update>,
    signs: Signs,
    pauses: Pauses,
    /// The newest version that was seen.
    newest: Arc<str>,
}

impl Feed {
    pub(super) fn new(api: Api, resource: Resource, updates: mpsc::Sender<Update>, signs: Signs) -> Self {
        Self { api, resource, updates, signs, pauses: Pauses::default(), newest: Arc::from("") }
    }

    /// Runs until nobody takes the updates.
    pub(super) async fn run(mut self) {
        let (mut from, mut broken): (Option<Arc<str>>, bool) = (None, false);
        while !self.updates.is_closed() {
            let outcome = match &from {
                None => self.list().await.map(Some),
                // Of what it knows less than was seen it would say nothing, whatever happens there meanwhile.
                Some(version) if broken => {
                    self.is_behind().await.map(|behind| (!behind).then(|| Arc::clone(version)))
                }
                Some(version) => self.watch(Arc::clone(version)).await.map(Some),
            };
            match outcome {
                Ok(version) => (from, broken) = (version, false),
                Err(error) => {
                    broken = true;
                    let kind = self.resource.kind.as_str();
                    self.signs.failed(kind, &error);
                    match self.pauses.is_first() {
                        true => tracing::warn!(kind, %error, "objects are not up to date; trying again"),
                        false => tracing::debug!(kind, %error, "objects are not up to date; trying again"),
                    }
                    if error.fault() == Fault::Gone {
                        self.signs.counters.add(Count::WatchesForgotten, kind);
                    }
                    // Only a forgotten version needs everything anew.
                    from = Some(Arc::clone(&self.newest)).filter(|newest| {
                        error.fault() != Fault::Gone && !newest.is_empty() && from.is_some()
                    });
                    self.pauses.wait().await;
                }
            }
        }
    }

    async fn is_behind(&self) -> Result<bool, CallError> {
        let path = format!("{}?limit=1{}", self.resource.path(), selection(&self.resource));
        self.signs.is_behind(&self.api, &path).await
    }

    /// Reads all objects. Returns the version of the list.
    async fn list(&mut self) -> Result<Arc<str>, CallError> {
        let mut items = Vec::new();
        let mut next = String::new();
        loop {
            let path = format!("{}?limit={PAGE}{}{next}", self.resource.path(), selection(&self.resource));
            let mut page = self.api.get(&path).await?;
            let version: Arc<str> = text(&page, "/metadata/resourceVersion").into();
            if is_older(&version, &self.newest) {
                self.signs.counters.add(Count::ListsRefused, self.resource.kind.as_str());
                let text = format!("the list is of version {version}, and {} was seen before", self.newest);
                return Err(CallError::new(path, Fault::Unavailable, text));
            }
            if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
                items.extend(found.into_iter().filter_map(|value| item::read(&self.resource, value)));
            }
            let token = text(&page, "/metadata/continue");
            if token.is_empty() {
                self.newest = Arc::clone(&version);
                self.signs.saw(&version);
                self.succeeded();
                self.send(Update::List(self.resource.kind, items)).await?;
                return Ok(version);
            }
            next = format!("&continue={}", escaped(token));
        }
    }

    /// Follows changes since a version until the watch ends. Returns the version to go on from.
    async fn watch(&mut self, from: Arc<str>) -> Result<Arc<str>, CallError> {
        let (path, selection) = (self.resource.path(), selection(&self.resource));
        let path = format!(
            "{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}\
             &resourceVersion={from}{selection}"
        );
        let mut events = pin!(self.api.watch(&path).await?);
        let mut any = false;
        while let Ok(Some(event)) = tokio::time::timeout(SILENCE, events.next()).await {
            let event = event?;
            any = true;
            self.succeeded();
            self.take(event).await?;
        }
        match any {
            true => Ok(Arc::clone(&self.newest)),
            // A server that ends every watch at once must not be asked in a loop.
            false => Err(CallError::new(path, Fault::Unavailable, "the watch ended without an event")),
        }
    }

    async fn take(&mut self, event: Event) -> Taken {
        let kind = self.resource.kind;
        match event {
            Event::Bookmark(version) => self.seen(&version.into()),
            Event::Deleted(value) => {
                if let Some((key, version)) = value.as_object().and_then(|root| item::identity(kind, root)) {
                    self.seen(&version);
                    self.send(Update::Gone(key, version)).await?;
                }
            }
            Event::Set(value) => {
                if let Some(item) = item::read(&self.resource, value) {
                    self.seen(&item.version);
                    self.send(Update::Set(item)).await?;
                }
            }
        }
        Ok(())
    }

    fn succeeded(&mut self) {
        self.pauses.reset();
        self.signs.note(self.resource.kind.as_str(), None);
    }

    fn seen(&mut self, version: &Arc<str>) {
        if !is_older(version, &self.newest) {
            self.newest = Arc::clone(version);
            self.signs.saw(version);
        }
    }

    async fn send(&self, update: Update) -> Taken {
        let closed = |_| CallError::new(self.resource.path(), Fault::Unavailable, "nobody takes updates");
        self.updates.send(update).await.map_err(closed)
    }
}

/// What is left out on the server's side: secrets of types that nothing here refers to.
fn selection(resource: &Resource) -> &'static str {
    match resource.kind {
        ObjectKind::Secret => {
            "&fieldSelector=type!%3Dhelm.sh%2Frelease.v1%2Ctype!%3Dkubernetes.io%2Fservice-account-token\
             %2Ctype!%3Dkubernetes.io%2Fdockerconfigjson%2Ctype!%3Dbootstrap.kubernetes.io%2Ftoken"
        }
        _ => "",
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A text as a value of a query (RFC 3986, section 2.1).
pub(super) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

/// Times between attempts: each twice the one before, and none like another's.
pub(super) struct Pauses {
    next: Duration,
    random: Fast,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: PAUSES.0, random: Fast::from_entropy() }
    }
}

impl Pauses {
    pub(super) const fn reset(&mut self) {
        self.next = PAUSES.0;
    }

    /// Whether there was no attempt before. What is said once need not be said at every attempt.
    pub(super) fn is_first(&self) -> bool {
        self.next == PAUSES.0
    }

    pub(super) async fn wait(&mut self) {
        let pause = self.random.jitter(self.next, 0.3);
        self.next = (self.next * 2).min(PAUSES.1);
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests;
