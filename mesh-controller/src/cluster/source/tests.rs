//! When the first snapshot comes, and what a lost kind takes along, against a server in the test.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::super::client::fake::{self, Answer, Call};
use super::*;

const GROUP: &str = "/apis/gateway.networking.k8s.io/v1";

/// What the server does at the moment.
#[derive(Default)]
struct Mood {
    /// Lists of routes that fail before one does not.
    failures: u32,
    /// Whether this account may not list routes.
    forbidden: bool,
    /// Whether routes are defined.
    routes: bool,
}

fn object(name: &str) -> Value {
    json!({"metadata": {"namespace": "a", "name": name, "resourceVersion": "3"}, "spec": {}})
}

fn answer(mood: &mut Mood, call: &Call) -> Answer {
    let list = |items: &[Value]| fake::ok(json!({"metadata": {"resourceVersion": "5"}, "items": items}));
    let kinds = |kind: &str, name: &str| fake::ok(json!({"resources": [{"kind": kind, "name": name}]}));
    match &*call.path {
        "/apis" if mood.routes => {
            fake::ok(json!({"groups": [{"versions": [{"groupVersion": "gateway.networking.k8s.io/v1"}]}]}))
        }
        "/apis" => fake::ok(json!({"groups": []})),
        "/api/v1" => kinds("ConfigMap", "configmaps"),
        GROUP => kinds("HTTPRoute", "httproutes"),
        _ if call.query.contains("watch=true") => fake::watch(&[]),
        "/api/v1/configmaps" => list(&[object("map")].map(|mut map| {
            map["data"] = json!({});
            map.as_object_mut().expect("a mapping").remove("spec");
            map
        })),
        path if path.ends_with("/httproutes") && mood.forbidden => fake::status(403),
        path if path.ends_with("/httproutes") && mood.failures > 0 => {
            mood.failures -= 1;
            fake::status(503)
        }
        path if path.ends_with("/httproutes") => list(&[object("route")]),
        _ => fake::status(404),
    }
}

fn names(snapshot: &Snapshot) -> Vec<String> {
    snapshot.store.iter().map(|stored| stored.name().name.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_first_snapshot_waits_for_every_kind_and_a_lost_definition_takes_its_objects_along() {
    let mood = Arc::new(Mutex::new(Mood { failures: 4, routes: true, ..Mood::default() }));
    let shared = Arc::clone(&mood);
    let (api, _) = fake::server(move |call| answer(&mut shared.lock().expect("no panic before"), call));
    let mut source = Source::start(api, Arc::default());
    let (first, _) = source.next().await;
    assert_eq!(names(&first), ["map", "route"]);
    assert_eq!(mood.lock().expect("no panic before").failures, 0, "it waited for the list of routes");
    mood.lock().expect("no panic before").routes = false;
    loop {
        let (next, _) = source.next().await;
        if names(&next) == ["map"] {
            break;
        }
    }
    mood.lock().expect("no panic before").routes = true;
    loop {
        let (next, changed) = source.next().await;
        if names(&next) == ["map", "route"] {
            assert_eq!(changed.len(), 1);
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_may_not_be_read_is_named_until_it_may() {
    let mood = Arc::new(Mutex::new(Mood { forbidden: true, routes: true, ..Mood::default() }));
    let shared = Arc::clone(&mood);
    let (api, _) = fake::server(move |call| answer(&mut shared.lock().expect("no panic before"), call));
    let counters = Arc::new(Counters::default());
    let mut source = Source::start(api, Arc::clone(&counters));
    let mut reading = source.reading();
    tokio::select! {
        _ = source.next() => panic!("a kind is not read"),
        told = reading.wait_for(|reading| !reading.waiting.is_empty() && !reading.problems.is_empty()) => {
            let told = told.expect("the source is there").clone();
            assert_eq!(told.waiting, ["HTTPRoute"].into());
            assert!(told.problems["HTTPRoute"].contains("answered 403"), "{told:?}");
            assert!(told.waits().contains("waiting for HTTPRoute (GET "), "{}", told.waits());
        }
    }
    mood.lock().expect("no panic before").forbidden = false;
    let (first, _) = source.next().await;
    assert_eq!(names(&first), ["map", "route"]);
    assert_eq!(*source.reading().borrow(), Reading::default());
}
