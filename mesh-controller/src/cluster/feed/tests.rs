//! Lists and watches, against a server that answers in a fixed order.

use std::collections::VecDeque;

use serde_json::json;

use super::super::client::fake::{self, Answer, Call};
use super::*;
use crate::store::ObjectKey;

fn map(name: &str, version: u64) -> Value {
    let metadata = json!({"namespace": "a", "name": name, "resourceVersion": version.to_string()});
    json!({"metadata": metadata, "data": {}})
}

fn list(version: u64, items: &[Value]) -> Answer {
    fake::ok(json!({"metadata": {"resourceVersion": version.to_string()}, "items": items}))
}

fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}

fn bookmark(version: u64) -> Value {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"resourceVersion": version.to_string()}});
    event("BOOKMARK", &object)
}

/// Runs a feed over these answers, in order, until they are used up. Returns the updates as short texts, and
/// what was asked.
async fn run(answers: Vec<Answer>) -> (Vec<String>, Vec<Call>) {
    let (done, mut finished) = mpsc::channel::<()>(1);
    let mut answers: VecDeque<Answer> = answers.into();
    let (api, calls) = fake::server(move |_| {
        answers.pop_front().unwrap_or_else(|| {
            let _ = done.try_send(());
            fake::status(503)
        })
    });
    let (updates, mut receiver) = mpsc::channel(64);
    let resource = Resource { kind: ObjectKind::ConfigMap, version: "v1", plural: "configmaps".to_owned() };
    let feed = tokio::spawn(Feed::new(api, resource, updates, Signs::default()).run());
    finished.recv().await;
    feed.abort();
    let mut shown = Vec::new();
    while let Ok(update) = receiver.try_recv() {
        shown.push(text_of(&update));
    }
    let calls = calls.lock().expect("no panic before").clone();
    (shown, calls)
}

fn text_of(update: &Update) -> String {
    let name = |key: &ObjectKey| key.name.name.to_string();
    match update {
        Update::Gone(key, version) => format!("gone {}@{version}", name(key)),
        Update::List(_, items) => {
            let items: Vec<String> =
                items.iter().map(|item| format!("{}@{}", name(&item.key), item.version)).collect();
            format!("list {}", items.join(" "))
        }
        Update::Set(item) => format!("set {}@{}", name(&item.key), item.version),
        Update::Unserved(kind) => format!("unserved {}", kind.as_str()),
    }
}

fn asked(calls: &[Call]) -> Vec<String> {
    let version = |query: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        found.map(str::to_owned)
    };
    calls
        .iter()
        .map(|call| version(&call.query).map_or("list".to_owned(), |v| format!("watch {v}")))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_from_the_last_version_that_was_seen() {
    let events = [event("ADDED", &map("y", 6)), bookmark(9)];
    let (updates, calls) = run(vec![list(5, &[map("x", 3)]), fake::watch(&events)]).await;
    assert_eq!(updates, ["list x@3", "set y@6"]);
    assert_eq!(asked(&calls), ["list", "watch 5", "watch 9"]);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_version_leads_to_a_new_list() {
    let gone = json!({"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "code": 410,
        "reason": "Expired", "message": "too old"}});
    let answers = vec![
        list(5, &[map("x", 3)]),
        fake::watch(&[event("MODIFIED", &map("x", 6)), gone]),
        list(8, &[map("z", 7)]),
    ];
    let (updates, calls) = run(answers).await;
    assert_eq!(updates, ["list x@3", "set x@6", "list z@7"]);
    assert_eq!(asked(&calls), ["list", "watch 5", "list", "watch 8"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_the_past_is_refused_and_asked_for_again() {
    let answers = vec![
        list(5, &[map("x", 3)]),
        fake::watch(&[event("MODIFIED", &map("x", 9))]),
        fake::status(410),
        list(7, &[]),
        list(10, &[map("x", 9)]),
    ];
    let (updates, calls) = run(answers).await;
    assert_eq!(updates, ["list x@3", "set x@9", "list x@9"]);
    assert_eq!(asked(&calls), ["list", "watch 5", "watch 9", "list", "list", "watch 10"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_put_back_is_read_anew_once_it_has_caught_up() {
    let answers = vec![
        list(5, &[map("x", 3)]),
        fake::watch(&[event("MODIFIED", &map("x", 9))]),
        fake::status(503),
        list(7, &[]),
        list(8, &[]),
        list(12, &[map("x", 3), map("y", 11)]),
    ];
    let (updates, calls) = run(answers).await;
    assert_eq!(updates, ["list x@3", "set x@9", "list x@3 y@11"]);
    assert_eq!(asked(&calls), ["list", "watch 5", "watch 9", "list", "list", "list", "watch 12"]);
    assert!(calls[3].query.contains("limit=1") && !calls[4].query.contains("limit=1&"), "{}", calls[4].query);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_broke_goes_on_at_a_server_that_knows_as_much() {
    let answers = vec![
        list(5, &[map("x", 3)]),
        fake::status(503),
        list(5, &[map("x", 3)]),
        fake::watch(&[event("ADDED", &map("y", 6))]),
    ];
    let (updates, calls) = run(answers).await;
    assert_eq!(updates, ["list x@3", "set y@6"]);
    assert_eq!(asked(&calls), ["list", "watch 5", "list", "watch 5", "watch 6"]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_or_broken_server_is_asked_again_with_growing_pauses() {
    let begin = tokio::time::Instant::now();
    let failures = [429, 500, 503, 429, 500, 504, 403].map(fake::status);
    let answers: Vec<Answer> = failures.into_iter().chain([list(5, &[])]).collect();
    let (updates, calls) = run(answers).await;
    assert_eq!(updates, ["list "]);
    assert_eq!(calls.len(), 9, "each answer was asked for once");
    let waited = begin.elapsed();
    assert!(waited > Duration::from_secs(5) && waited < Duration::from_secs(13), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn pages_make_one_list() {
    let page = json!({"metadata": {"resourceVersion": "5", "continue": "a=/+"}, "items": [map("x", 3)]});
    let (updates, calls) = run(vec![fake::ok(page), list(5, &[map("y", 4)])]).await;
    assert_eq!(updates, ["list x@3 y@4"]);
    assert!(calls[1].query.ends_with("&continue=a%3D%2F%2B"), "{}", calls[1].query);
}

#[tokio::test(start_paused = true)]
async fn one_object_that_cannot_be_read_harms_no_other() {
    let metadata = json!({"namespace": "a", "name": "bad", "resourceVersion": "4"});
    let bad = json!({"metadata": metadata, "data": ["no", "mapping"]});
    let (updates, _) = run(vec![
        list(5, &[map("x", 3), bad.clone()]),
        fake::watch(&[event("MODIFIED", &json!({"metadata": {}})), event("DELETED", &map("x", 7))]),
    ])
    .await;
    assert_eq!(updates, ["list x@3 bad@4", "gone x@7"]);
    let resource = Resource { kind: ObjectKind::ConfigMap, version: "v1", plural: "configmaps".to_owned() };
    let item = item::read(&resource, bad).expect("it has a name");
    assert!(item.stored.is_none() && !item.findings.is_empty());
}
