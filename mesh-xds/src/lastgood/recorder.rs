//! Keeps the file in step with what a client holds, without ever making the client wait.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mesh_rt::SharedClock;
use rpds::RedBlackTreeMapSync as PersistentMap;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Held, LastGood, Store, StoreError};
use crate::client::ClientState;
use crate::key::{Key, TypeUrl, Version};

/// At least this long between two writes.
const PAUSE: Duration = Duration::from_millis(200);
/// Without changes the file is written again this often while the client is in step, so that its age says when
/// it was last known to be right.
const REFRESH: Duration = Duration::from_secs(600);
/// How soon a failed write is tried again.
const RETRY: Duration = Duration::from_secs(10);

type Resources = PersistentMap<Key, Held>;

/// Notes what a client holds. Cheap enough for the client's task.
#[derive(Debug)]
pub struct Recorder {
    held: Resources,
    out: watch::Sender<Resources>,
}

/// How writing goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteState {
    /// When the file was last written by this process.
    pub saved: Option<SystemTime>,
    /// Why the last attempt failed, if it did.
    pub error: Option<String>,
}

/// The task that writes the file.
pub struct Writer {
    store: Store,
    clock: SharedClock,
    held: watch::Receiver<Resources>,
    state: watch::Sender<WriteState>,
}

impl Recorder {
    /// A recorder that begins with what was restored, and the task that writes its file.
    pub fn new(store: Store, clock: SharedClock, restored: Option<&LastGood>) -> (Self, Writer) {
        let restored = restored.into_iter().flat_map(|last| &last.resources);
        let held: Resources = restored.map(|held| (held.key.clone(), held.clone())).collect();
        let out = watch::Sender::new(held.clone());
        let writer = Writer { store, clock, held: out.subscribe(), state: watch::Sender::default() };
        (Self { held, out }, writer)
    }

    /// Notes the changes of one response.
    pub fn note<'a>(
        &mut self,
        type_url: &TypeUrl,
        set: impl IntoIterator<Item = (&'a Arc<str>, &'a Version, &'a Bytes)>,
        removed: &[Arc<str>],
    ) {
        let key = |name: &Arc<str>| Key { type_url: type_url.clone(), name: name.clone() };
        for (name, version, body) in set {
            // A copy: the received bytes are a slice of a large buffer, which would stay as long as they do.
            let body = Bytes::copy_from_slice(body);
            self.held.insert_mut(key(name), Held { key: key(name), version: version.clone(), body });
        }
        removed.iter().for_each(|name| _ = self.held.remove_mut(&key(name)));
    }

    /// Hands the present state to the writer. Call it at the end of a server's step, so that no file ever holds
    /// half of one.
    pub fn publish(&self) {
        self.out.send_replace(self.held.clone());
    }
}

impl Writer {
    /// How writing goes.
    pub fn state(&self) -> watch::Receiver<WriteState> {
        self.state.subscribe()
    }

    /// Writes after changes, coalesced, until `shutdown` resolves or the recorder is gone; then once more if
    /// something is left to write. `client` tells whether the client is in step with its server.
    pub async fn run(mut self, client: watch::Receiver<ClientState>, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        let mut due = Instant::now() + REFRESH;
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                changed = self.held.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
                () = sleep_until(due) => {
                    if !client.borrow().synced && self.state.borrow().error.is_none() {
                        due = Instant::now() + REFRESH;
                        continue;
                    }
                }
            }
            let pause = if self.save().await { REFRESH } else { RETRY };
            due = Instant::now() + pause;
            tokio::select! {
                () = &mut shutdown => break,
                () = sleep_until(Instant::now() + PAUSE) => {}
            }
        }
        let unwritten = self.held.borrow().has_changed();
        if unwritten {
            self.save().await;
        }
    }

    async fn save(&mut self) -> bool {
        let held = self.held.borrow_and_update().clone();
        let (store, now) = (self.store.clone(), self.clock.wall());
        let saving = tokio::task::spawn_blocking(move || store.save(now, held.values()));
        let saved = saving.await.unwrap_or_else(|error| Err(StoreError::Io(error.into())));
        let good = saved.is_ok();
        self.state.send_modify(|state| match saved {
            Ok(()) => *state = WriteState { saved: Some(now), error: None },
            Err(error) => {
                tracing::warn!(%error, path = %self.store.path().display(), "last-good snapshot not written");
                state.error = Some(error.to_string());
            }
        });
        good
    }
}
