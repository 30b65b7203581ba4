//! All pods of the cluster, for ever: a list, then a watch. A pod is reduced at once to what the mesh looks at, so that
//! thousands of them are small. A list that is older than what was seen before is refused, as for objects.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use mesh_model::ObjectName;
use serde_json::Value;
use tokio::sync::mpsc;

use super::client::{Api, CallError, Event, Fault};
use super::feed::{Pauses, Signs};
use super::holdings::is_older;
use crate::pods::Pod;
use crate::serve::AbortOnDrop;

const PATH: &str = "/api/v1/pods";
const KIND: &str = "Pod";
/// Pods per page of a list.
const PAGE: usize = 500;
/// How long a server keeps a watch, in seconds.
const WATCH_SECONDS: u64 = 290;
/// Silence after which a watch counts as dead.
const SILENCE: Duration = Duration::from_secs(150);
/// Messages that may wait to be taken.
const QUEUE: usize = 1024;
/// Most messages that are taken as one.
const BATCH: usize = 4096;

/// What the stream says.
enum Message {
    Gone(ObjectName),
    List(Vec<Pod>),
    Set(Pod),
}

/// Pods that are new, changed, or (with `None`) gone.
pub(super) type Changed = Vec<(ObjectName, Option<Pod>)>;

/// A stream of changes. It belongs to one task.
pub(super) struct Pods {
    messages: mpsc::Receiver<Message>,
    known: BTreeSet<ObjectName>,
    _following: AbortOnDrop,
}

impl Pods {
    /// Begins to read. Must be called within a tokio runtime.
    pub(super) fn start(api: Api, signs: Signs) -> Self {
        let (sender, messages) = mpsc::channel(QUEUE);
        let following = AbortOnDrop::spawn(follow(api, sender, signs));
        Self { messages, known: BTreeSet::new(), _following: following }
    }

    /// The next changes; the first are all pods. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Changed {
        let mut changed = Vec::new();
        let Some(first) = self.messages.recv().await else { return std::future::pending().await };
        self.take(first, &mut changed);
        for _ in 1..BATCH {
            let Ok(message) = self.messages.try_recv() else { break };
            self.take(message, &mut changed);
        }
        changed
    }

    fn take(&mut self, message: Message, changed: &mut Changed) {
        match message {
            Message::Gone(name) => {
                self.known.remove(&name);
                changed.push((name, None));
            }
            Message::List(pods) => {
                let now: BTreeSet<ObjectName> = pods.iter().map(|pod| pod.name.clone()).collect();
                changed.extend(self.known.difference(&now).map(|name| (name.clone(), None)));
                changed.extend(pods.into_iter().map(|pod| (pod.name.clone(), Some(pod))));
                self.known = now;
            }
            Message::Set(pod) => {
                self.known.insert(pod.name.clone());
                changed.push((pod.name.clone(), Some(pod)));
            }
        }
    }
}

async fn follow(api: Api, messages: mpsc::Sender<Message>, signs: Signs) {
    let mut pauses = Pauses::default();
    let (mut newest, mut listed, mut broken) = (String::new(), false, false);
    while !messages.is_closed() {
        let outcome = match listed {
            false => list(&api, &messages, &mut newest).await.map(|()| true),
            // Of what it knows less than was seen a server would say nothing, whatever happens there meanwhile.
            true if broken => signs.is_behind(&api, &format!("{PATH}?limit=1")).await.map(|behind| !behind),
            true => watch(&api, &messages, &mut newest).await.map(|()| true),
        };
        match outcome {
            Ok(goes_on) => {
                signs.saw(&newest);
                (listed, broken) = (goes_on, false);
                pauses.reset();
                signs.note(KIND, None);
            }
            Err(error) => {
                signs.failed(KIND, &error);
                if pauses.is_first() {
                    tracing::warn!(%error, "pods are not up to date; trying again");
                }
                broken = true;
                // Only a forgotten version needs everything anew.
                listed = listed && error.fault() != Fault::Gone;
                pauses.wait().await;
            }
        }
    }
}

async fn list(api: &Api, messages: &mpsc::Sender<Message>, newest: &mut String) -> Result<(), CallError> {
    let mut pods = Vec::new();
    let mut next = String::new();
    loop {
        let page = api.get(&format!("{PATH}?limit={PAGE}{next}")).await?;
        let version = page["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if is_older(version, newest) {
            let text = format!("the list is of version {version}, and {newest} was seen before");
            return Err(CallError::new(PATH, Fault::Unavailable, text));
        }
        pods.extend(page["items"].as_array().into_iter().flatten().filter_map(Pod::read));
        let token = page["metadata"]["continue"].as_str().unwrap_or_default();
        if token.is_empty() {
            version.clone_into(newest);
            return send(messages, Message::List(pods)).await;
        }
        next = format!("&continue={}", super::feed::escaped(token));
    }
}

/// Follows changes until the server ends the watch.
async fn watch(api: &Api, messages: &mpsc::Sender<Message>, newest: &mut String) -> Result<(), CallError> {
    let options = format!("watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}");
    let path = format!("{PATH}?{options}&resourceVersion={newest}");
    let mut events = pin!(api.watch(&path).await?);
    let mut any = false;
    while let Ok(Some(event)) = tokio::time::timeout(SILENCE, events.next()).await {
        match event? {
            Event::Bookmark(version) => *newest = version,
            Event::Deleted(pod) => {
                seen(&pod, newest);
                if let Some(pod) = Pod::read(&pod) {
                    send(messages, Message::Gone(pod.name)).await?;
                }
            }
            Event::Set(pod) => {
                seen(&pod, newest);
                if let Some(pod) = Pod::read(&pod) {
                    send(messages, Message::Set(pod)).await?;
                }
            }
        }
        any = true;
    }
    match any {
        true => Ok(()),
        // A server that ends every watch at once must not be asked in a loop.
        false => Err(CallError::new(path, Fault::Unavailable, "the watch ended without an event")),
    }
}

fn seen(pod: &Value, newest: &mut String) {
    if let Some(version) = pod["metadata"]["resourceVersion"].as_str().filter(|v| !is_older(v, newest)) {
        version.clone_into(newest);
    }
}

async fn send(messages: &mpsc::Sender<Message>, message: Message) -> Result<(), CallError> {
    let closed = |_| CallError::new(PATH, Fault::Unavailable, "nobody takes pods");
    messages.send(message).await.map_err(closed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::client::fake;
    use super::*;

    fn pod(name: &str, version: u32) -> Value {
        json!({"metadata": {"namespace": "shop", "name": name, "resourceVersion": version.to_string()}})
    }

    #[tokio::test]
    async fn a_second_list_tells_of_pods_that_are_gone() {
        let mut lists = 0;
        let (api, _) = fake::server(move |call| match call.query.contains("watch") {
            true => fake::watch(&[json!({"type": "ERROR", "object": {"kind": "Status", "code": 410}})]),
            false => {
                lists += 1;
                let items = if lists == 1 { vec![pod("a", 1), pod("b", 2)] } else { vec![pod("b", 2)] };
                let version = json!({"resourceVersion": (10 * lists).to_string()});
                fake::ok(json!({"metadata": version, "items": items}))
            }
        });
        let mut pods = Pods::start(api, Signs::default());
        let names = |changed: &Changed| -> Vec<(String, bool)> {
            changed.iter().map(|(name, pod)| (name.name.to_string(), pod.is_some())).collect()
        };
        assert_eq!(names(&pods.next().await), [("a".to_owned(), true), ("b".to_owned(), true)]);
        assert_eq!(names(&pods.next().await), [("a".to_owned(), false), ("b".to_owned(), true)]);
    }
}
