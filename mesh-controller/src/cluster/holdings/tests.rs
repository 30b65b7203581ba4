//! What is held, and that the order of the streams does not matter.

use mesh_model::Severity;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::item;
use super::super::served::Resource;
use super::*;
use crate::translate::refused_policies;

fn resource(kind: ObjectKind) -> Resource {
    Resource { kind, version: kind.versions()[0], plural: "any".to_owned() }
}

fn object(kind: ObjectKind, name: &str, version: u64, extra: Value) -> Item {
    let metadata = json!({"namespace": "a", "name": name, "resourceVersion": version.to_string()});
    let mut value = json!({"metadata": metadata});
    for (key, field) in extra.as_object().expect("a mapping") {
        value[key] = field.clone();
    }
    item::read(&resource(kind), value).expect("it has a name")
}

fn map(name: &str, version: u64) -> Item {
    object(ObjectKind::ConfigMap, name, version, json!({"data": {"v": version.to_string()}}))
}

fn gone(item: &Item, version: u64) -> Update {
    Update::Gone(item.key.clone(), version.to_string().into())
}

fn names(holdings: &mut Holdings) -> Vec<String> {
    let (snapshot, _) = holdings.snapshot();
    snapshot
        .store
        .iter()
        .map(|stored| {
            let version = stored.live().map(|live| live.resource_version.to_string()).unwrap_or_default();
            format!("{}@{version}", stored.name().name)
        })
        .collect()
}

#[test]
fn nothing_that_is_held_goes_back_in_time() {
    let mut holdings = Holdings::default();
    holdings.take(Update::List(ObjectKind::ConfigMap, vec![map("x", 10), map("y", 11)]));
    holdings.take(Update::Set(map("x", 9)));
    holdings.take(gone(&map("y", 0), 8));
    assert_eq!(names(&mut holdings), ["x@10", "y@11"]);
    holdings.take(Update::Set(map("x", 12)));
    holdings.take(gone(&map("y", 0), 13));
    assert_eq!(names(&mut holdings), ["x@12"]);
    holdings.take(Update::List(ObjectKind::ConfigMap, vec![map("z", 14)]));
    assert_eq!(names(&mut holdings), ["z@14"]);
    // A list is never older than what was seen, but the state that it shows may have been put back.
    holdings.take(Update::List(ObjectKind::ConfigMap, vec![map("z", 4), map("y", 15)]));
    assert_eq!(names(&mut holdings), ["y@15", "z@4"]);
}

#[test]
fn a_broken_update_leaves_the_last_good_object_in_force() {
    let kind = ObjectKind::AuthorizationPolicy;
    let good = json!({"spec": {"action": "ALLOW"}});
    let broken = json!({"spec": {"action": "Perhaps"}});
    let mut holdings = Holdings::default();
    holdings.take(Update::Set(object(kind, "p", 1, good)));
    assert!(holdings.snapshot().0.findings.is_empty(), "{:?}", holdings.told);
    holdings.take(Update::Set(object(kind, "p", 2, broken.clone())));
    let (snapshot, changed) = holdings.snapshot();
    assert_eq!(snapshot.store.len(), 1);
    assert!(changed.is_empty());
    assert!(snapshot.findings.iter().any(|finding| finding.severity == Severity::Error));
    assert!(refused_policies(&snapshot).is_empty());
    // One that never was good refuses everybody until it can be read.
    holdings.take(Update::Set(object(kind, "q", 3, broken)));
    assert_eq!(refused_policies(&holdings.snapshot().0).len(), 1);
    holdings.take(gone(&object(kind, "q", 3, json!({"spec": {}})), 4));
    assert!(refused_policies(&holdings.snapshot().0).is_empty());
}

#[test]
fn a_slice_whose_endpoints_are_all_gone_has_none() {
    let kind = ObjectKind::EndpointSlice;
    let slice = |version: u64, endpoints: Value| {
        object(kind, "s", version, json!({"addressType": "IPv4", "endpoints": endpoints, "ports": null}))
    };
    let mut holdings = Holdings::default();
    holdings.take(Update::Set(slice(1, json!([{"addresses": ["10.0.0.1"]}]))));
    holdings.take(Update::Set(slice(2, Value::Null)));
    let (snapshot, _) = holdings.snapshot();
    let (_, held) = snapshot.store.all::<crate::objects::EndpointSlice>().next().expect("it is there");
    assert!(held.endpoints.is_empty() && snapshot.findings.is_empty(), "{:?}", snapshot.findings);
}

#[test]
fn a_kind_that_was_never_listed_is_missing() {
    let served: Served = [ObjectKind::ConfigMap, ObjectKind::Secret].map(resource).into_iter().collect();
    let mut holdings = Holdings::default();
    assert_eq!(holdings.missing(&served).collect::<Vec<_>>(), ["ConfigMap", "Secret"]);
    holdings.take(Update::List(ObjectKind::Secret, Vec::new()));
    assert_eq!(holdings.missing(&served).collect::<Vec<_>>(), ["ConfigMap"]);
}

/// The streams of three kinds: each a list and then sets and removals with growing versions.
fn streams() -> impl Strategy<Value = Vec<Vec<(u8, bool)>>> {
    proptest::collection::vec(proptest::collection::vec((0_u8..4, any::<bool>()), 0..8), 3)
}

fn updates(kind: ObjectKind, events: &[(u8, bool)]) -> Vec<Update> {
    let make = |name: u8, version: u64| {
        let extra = match kind {
            ObjectKind::ServiceAccount => json!({}),
            _ => json!({"data": {"v": "AA=="}}),
        };
        object(kind, &format!("o{name}"), version, extra)
    };
    let mut updates = vec![Update::List(kind, vec![make(0, 1), make(1, 2)])];
    for (at, (name, set)) in events.iter().enumerate() {
        let item = make(*name, 3 + at as u64);
        updates.push(if *set { Update::Set(item) } else { gone(&item, 3 + at as u64) });
    }
    updates
}

proptest! {
    #[test]
    fn any_mixture_of_the_streams_gives_the_same_snapshot(
        streams in streams(),
        order in proptest::collection::vec(0_usize..3, 0..40),
    ) {
        let kinds = [ObjectKind::ConfigMap, ObjectKind::Secret, ObjectKind::ServiceAccount];
        let streams: Vec<Vec<Update>> =
            kinds.iter().zip(&streams).map(|(kind, events)| updates(*kind, events)).collect();
        let mut one = Holdings::default();
        streams.iter().flatten().cloned().for_each(|update| one.take(update));
        let mut rest: Vec<_> = streams.iter().map(|stream| stream.iter().cloned()).collect();
        let mut other = Holdings::default();
        for index in order {
            if let Some(update) = rest[index].next() {
                other.take(update);
            }
        }
        rest.into_iter().flatten().for_each(|update| other.take(update));
        prop_assert!(one.snapshot().0.store.changes_since(&other.snapshot().0.store).is_empty());
        prop_assert_eq!(names(&mut one), names(&mut other));
    }
}
