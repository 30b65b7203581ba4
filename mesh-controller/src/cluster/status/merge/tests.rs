//! Merging statuses: what others wrote, times, generations, limits.

use serde_json::{Value, json};

use super::{Newer, Pen};

const PEN: Pen<'_> =
    Pen { controllers: ["a.example/gateway", "a.example/mesh"], now: "2026-11-26T10:00:00Z" };
const THEN: &str = "2020-01-01T00:00:00Z";

fn ours(kind: &str, status: bool, generation: i64) -> Value {
    json!({"type": kind, "status": status, "reason": "R", "observedGeneration": generation})
}

fn live(kind: &str, status: &str, generation: i64) -> Value {
    json!({"type": kind, "status": status, "reason": "R", "message": "", "observedGeneration": generation,
        "lastTransitionTime": THEN})
}

fn check(live: &Value, ours: &Value, expected: &Value) {
    assert_eq!(PEN.merge(live, ours).as_ref(), Ok(expected), "{live} and {ours}");
    // A second look finds nothing to write.
    assert_eq!(PEN.merge(expected, ours).as_ref(), Ok(expected));
}

#[test]
fn conditions_of_others_stay_and_times_follow_the_status_only() {
    let foreign = json!({"type": "example.org/Theirs", "status": "Unknown", "x": [1, {"y": null}]});
    let there = json!({"conditions": [live("Accepted", "True", 1), foreign, live("Programmed", "Unknown", 0)], "z": 1});
    let mut programmed = live("Programmed", "True", 2);
    programmed["lastTransitionTime"] = json!(PEN.now);
    let wanted = json!({"conditions": [live("Accepted", "True", 2), foreign, programmed], "z": 1});
    let says = json!({"conditions": [ours("Accepted", true, 2), ours("Programmed", true, 2)]});
    check(&there, &says, &wanted);
}

#[test]
fn a_condition_that_is_not_said_any_more_goes_when_it_is_ours() {
    let there = json!({"conditions": [live("Accepted", "True", 1), live("InsecureFrontendValidationMode", "True", 1)]});
    let wanted = json!({"conditions": [live("Accepted", "True", 1)]});
    check(&there, &json!({"conditions": [ours("Accepted", true, 1)]}), &wanted);
}

#[test]
fn a_later_generation_is_never_taken_back() {
    let there = json!({"conditions": [live("Accepted", "True", 3)]});
    assert_eq!(PEN.merge(&there, &json!({"conditions": [ours("Accepted", false, 2)]})), Err(Newer));
}

#[test]
fn listeners_keep_foreign_conditions_and_stale_ones_go() {
    let foreign = json!({"type": "example.org/Theirs", "status": "True"});
    let there = json!({"listeners": [
        {"name": "gone", "attachedRoutes": 1, "conditions": []},
        {"name": "http", "attachedRoutes": 1, "conditions": [foreign, live("Accepted", "True", 1)]},
    ]});
    let says = json!({"listeners": [
        {"name": "http", "attachedRoutes": 2, "supportedKinds": [], "conditions": [ours("Accepted", true, 2)]},
    ]});
    let wanted = json!({"listeners": [
        {"name": "http", "attachedRoutes": 2, "supportedKinds": [],
            "conditions": [foreign, live("Accepted", "True", 2)]},
    ]});
    check(&there, &says, &wanted);
}

#[test]
fn addresses_are_replaced_as_a_whole() {
    let there = json!({"addresses": [{"type": "IPAddress", "value": "192.0.2.1"}], "listeners": []});
    let says = json!({"listeners": [], "addresses": [{"type": "IPAddress", "value": "192.0.2.2"}]});
    check(&there, &says, &says);
    check(&there, &json!({"listeners": []}), &json!({"listeners": []}));
}

fn entry(parent: &str, controller: &str, conditions: &Value) -> Value {
    json!({"parentRef": {"name": parent}, "controllerName": controller, "conditions": conditions})
}

#[test]
fn entries_of_others_keep_their_place_and_ours_follow_the_route() {
    let foreign =
        json!({"parentRef": {"name": "x"}, "controllerName": "b.example/c", "conditions": [{"odd": 1}]});
    let old = json!([live("Accepted", "True", 1)]);
    let there = json!({"parents": [
        entry("left", PEN.controllers[0], &old), foreign, entry("kept", PEN.controllers[1], &old),
    ]});
    let new = json!([ours("Accepted", true, 2)]);
    let says = json!({"parents": [
        entry("new", PEN.controllers[0], &new), entry("kept", PEN.controllers[1], &new),
    ]});
    let mut accepted = live("Accepted", "True", 2);
    let kept = entry("kept", PEN.controllers[1], &json!([accepted]));
    accepted["lastTransitionTime"] = json!(PEN.now);
    let added = entry("new", PEN.controllers[0], &json!([accepted]));
    check(&there, &says, &json!({"parents": [foreign, kept, added]}));
}

#[test]
fn nothing_said_removes_ours_and_leaves_an_object_without_status_alone() {
    let foreign = entry("x", "b.example/c", &json!([]));
    let there = json!({"parents": [entry("a", PEN.controllers[0], &json!([])), foreign]});
    assert!(PEN.signed(&there["parents"]));
    check(&there, &json!({"parents": []}), &json!({"parents": [foreign]}));
    check(&Value::Null, &json!({"parents": []}), &Value::Null);
    check(&json!({"parents": [foreign]}), &json!({"parents": []}), &json!({"parents": [foreign]}));
}

#[test]
fn lists_stay_within_their_limits_and_others_come_first() {
    let foreign: Vec<Value> = (0..31).map(|n| entry(&format!("f{n}"), "b.example/c", &json!([]))).collect();
    let says: Vec<Value> = (0..3).map(|n| entry(&format!("o{n}"), PEN.controllers[0], &json!([]))).collect();
    let merged = PEN.merge(&json!({"parents": foreign}), &json!({"parents": says}));
    let merged = merged.expect("nothing newer");
    let parents = merged["parents"].as_array().expect("a list");
    assert_eq!((parents.len(), &parents[..31]), (32, &foreign[..]));
    let foreign: Vec<Value> = (0..7).map(|n| json!({"type": format!("F{n}")})).collect();
    let says = json!({"conditions": [ours("Accepted", true, 1), ours("Programmed", true, 1)]});
    let merged = PEN.merge(&json!({"conditions": foreign}), &says).expect("nothing newer");
    assert_eq!(merged["conditions"].as_array().map(Vec::len), Some(8));
}
