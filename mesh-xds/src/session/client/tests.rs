//! Tests of the client's session, message by message, against hand-made responses.

use super::*;
use crate::proto::Any;

const A: &str = "type/a";
const B: &str = "type/b";

fn session() -> ClientSession {
    let mut session = ClientSession::new(Types::new([A.into(), B.into()]), Node::default());
    session.subscribe_all(&A.into());
    session
}

fn resource(name: &str, body: &'static str) -> Resource {
    let any = Any { type_url: A.into(), value: Bytes::from_static(body.as_bytes()) };
    Resource { version: format!("v-{body}"), resource: Some(any), name: name.into() }
}

fn response(resources: &[Resource], removed: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: A.into(),
        nonce: "n1".into(),
        resources: resources.to_vec(),
        removed_resources: removed.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

fn take(
    session: &mut ClientSession,
    response: DeltaDiscoveryResponse,
) -> (Update<String>, DeltaDiscoveryRequest) {
    session.response(response, |_, _, body| match &**body {
        b"bad" => Err("it is\nbad".to_owned()),
        body => Ok(String::from_utf8_lossy(body).into_owned()),
    })
}

fn held(session: &ClientSession) -> Vec<(String, String)> {
    session.held(&A.into()).map(|(name, version)| (name.to_string(), version.to_string())).collect()
}

#[test]
fn the_first_requests_name_the_node_once_and_what_is_held() {
    let mut session = session();
    session.subscribe(&B.into(), ["b2", "b1"]);
    session.restore(&A.into(), "x", "7".into());
    session.restore(&B.into(), "not wanted", "7".into());
    session.restore(&"type/unknown".into(), "x", "7".into());
    let requests = session.open();
    let [a, b] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((&*a.type_url, &*b.type_url), (A, B));
    assert_eq!(a.node.as_ref().map(Node::announced), Some(2));
    assert_eq!(b.node, None);
    assert_eq!(a.resource_names_subscribe, ["*"]);
    assert_eq!(b.resource_names_subscribe, ["b1", "b2"]);
    assert_eq!(a.initial_resource_versions, [("x".to_owned(), "7".to_owned())].into());
    assert!(b.initial_resource_versions.is_empty());
}

#[test]
fn good_resources_apply_and_the_answer_names_the_bad_ones() {
    let mut session = session();
    session.open();
    take(&mut session, response(&[resource("x", "1"), resource("y", "1")], &[]));
    let (update, answer) = take(&mut session, response(&[resource("x", "bad"), resource("y", "2")], &[]));
    assert_eq!(update.set, [(Arc::from("y"), "v-2".into(), "2".to_owned())]);
    assert_eq!(answer.response_nonce, "n1");
    let error = answer.error_detail.expect("a NACK");
    assert_eq!(error.message, "x: it is bad");
    assert_eq!(rejection::from_status(&error), [("x".to_owned(), "it is bad".to_owned())].into());
    assert_eq!(held(&session), [("x".into(), "v-1".into()), ("y".into(), "v-2".into())]);
    let request = session.open().remove(0);
    assert_eq!(request.initial_resource_versions["x"], "v-1", "the refused version is not held");
}

#[test]
fn removals_name_only_what_was_held_and_clear_refusals() {
    let mut session = session();
    session.open();
    take(&mut session, response(&[resource("x", "1"), resource("y", "bad")], &[]));
    assert_eq!(session.rejected().count(), 1);
    let (update, answer) = take(&mut session, response(&[], &["x", "y", "never held", "x"]));
    assert_eq!(update.removed, [Arc::from("x")]);
    assert_eq!((answer.error_detail, session.rejected().count()), (None, 0));
    assert_eq!(held(&session), []);
}

#[test]
fn contradictory_and_broken_resources_are_refused_one_by_one() {
    let mut session = session();
    session.open();
    let foreign = Any { type_url: B.into(), value: Bytes::new() };
    let resources = [
        resource("twice", "1"),
        resource("twice", "2"),
        resource("also removed", "1"),
        Resource { resource: None, ..resource("empty", "1") },
        Resource { resource: Some(foreign), ..resource("foreign", "1") },
        resource(&"n".repeat(MAX_NAME + 1), "1"),
        resource("good", "1"),
    ];
    let (update, answer) = take(&mut session, response(&resources, &["also removed"]));
    assert_eq!(update.set.len(), 1);
    let named = rejection::from_status(&answer.error_detail.expect("a NACK"));
    assert_eq!(named["also removed"], "the name appears twice in one response");
    assert_eq!(named["empty"], "the resource has no payload");
    assert_eq!(named["foreign"], "the payload is a \"type/b\"");
    assert_eq!(named.len(), 5);
}

#[test]
fn what_is_not_wanted_is_not_taken() {
    let mut session = session();
    session.open();
    let other = DeltaDiscoveryResponse { type_url: B.into(), ..response(&[resource("x", "1")], &[]) };
    let (update, answer) = take(&mut session, other);
    assert!(update.set.is_empty() && answer.error_detail.is_some());
    session.subscribe(&A.into(), ["x"]);
    let request = session.unsubscribe(&A.into(), ["*"]).expect("the stream is open");
    assert_eq!(request.resource_names_unsubscribe, ["*"]);
    let (update, answer) = take(&mut session, response(&[resource("x", "1"), resource("y", "1")], &[]));
    assert_eq!((update.set.len(), answer.error_detail), (1, None));
    session.unsubscribe(&A.into(), ["x"]);
    assert_eq!(held(&session), []);
    session.close();
    assert_eq!(session.subscribe(&A.into(), ["x"]), None, "without a stream there is nothing to send");
}

#[test]
fn in_step_means_every_type_answered_to_the_end_of_the_servers_step() {
    let mut session = session();
    session.subscribe_all(&B.into());
    session.open();
    let step = |type_url: &str, stamp: &str| DeltaDiscoveryResponse {
        type_url: type_url.into(),
        system_version_info: stamp.into(),
        ..Default::default()
    };
    for (type_url, stamp, synced) in [(A, "5+", false), (A, "5+", false), (B, "5+", false), (B, "5", true)] {
        take(&mut session, step(type_url, stamp));
        assert_eq!(session.is_synced(), synced, "{type_url} {stamp}");
    }
    session.open();
    assert!(!session.is_synced(), "a new stream must say it anew");
}
