//! Tests of the server's session, message by message. Interleavings with a real client are in `interleaving`.

use bytes::Bytes;

use super::*;
use crate::cache::{Change, Encoded, Entry, ResourceCache};
use crate::proto::{Any, Resource};

mod interleaving;

const A: &str = "type/a";
const B: &str = "type/b";

fn entry(text: &str) -> Entry {
    Entry::new(Encoded::new(Bytes::copy_from_slice(text.as_bytes())).expect("small"))
}

fn set(type_url: &str, name: &str, text: &str) -> Change {
    Change::Set(Key::new(type_url.into(), name), entry(text))
}

fn unset(type_url: &str, name: &str) -> Change {
    Change::Remove(Key::new(type_url.into(), name))
}

fn version(text: &str) -> String {
    Version::of(text.as_bytes()).to_string()
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn wants(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.into(),
        resource_names_subscribe: strings(names),
        ..Default::default()
    }
}

fn no_longer_wants(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.into(),
        resource_names_unsubscribe: strings(names),
        ..Default::default()
    }
}

/// A cache and one stream to it.
struct Stream {
    cache: ResourceCache,
    session: ServerSession,
    now: Instant,
    last: (String, String),
}

impl Stream {
    fn new(initial: impl IntoIterator<Item = Change>) -> Self {
        Self::with(initial, Limits::default(), Scope::default())
    }

    fn with(initial: impl IntoIterator<Item = Change>, limits: Limits, scope: Scope) -> Self {
        let cache = ResourceCache::new();
        cache.apply(initial);
        cache.mark_synced();
        let types = Types::new([A.into(), B.into()]);
        let session = ServerSession::new(types, scope, limits, None);
        let now = mesh_rt::Clock::monotonic(&mesh_rt::SystemClock);
        Self { cache, session, now, last: Default::default() }
    }

    fn ask(&mut self, request: DeltaDiscoveryRequest) {
        self.session.request(request).expect("within limits");
    }

    fn apply(&mut self, changes: impl IntoIterator<Item = Change>) {
        self.cache.apply(changes);
    }

    fn next(&mut self) -> Option<DeltaDiscoveryResponse> {
        self.session.changed(self.cache.snapshot());
        self.session.next_response(self.now)
    }

    /// The next response as text: resources as `name=body`, removals as `-name`.
    fn shown(&mut self) -> Option<String> {
        let response = self.next()?;
        let body = |r: &Resource| {
            let any: &Any = r.resource.as_ref().expect("a payload");
            assert_eq!(
                (&any.type_url, r.version.as_str()),
                (&response.type_url, Version::of(&any.value).as_str())
            );
            format!("{}={}", r.name, String::from_utf8_lossy(&any.value))
        };
        let removed = response.removed_resources.iter().map(|name| format!("-{name}"));
        let parts: Vec<String> = response.resources.iter().map(body).chain(removed).collect();
        let short = response.type_url.trim_start_matches("type/");
        self.last = (response.type_url.clone(), response.nonce.clone());
        Some(format!("{short}: {}", parts.join(" ")).trim_end().to_owned())
    }

    fn answer(&mut self, error_detail: Option<Status>) {
        let (type_url, response_nonce) = self.last.clone();
        self.ask(DeltaDiscoveryRequest { type_url, response_nonce, error_detail, ..Default::default() });
    }

    fn ack(&mut self) {
        self.answer(None);
    }

    fn nack(&mut self, refused: &[(&str, &str)]) {
        let refused = refused.iter().map(|(name, reason)| (name.to_string(), reason.to_string()));
        self.answer(Some(rejection::to_status(&refused.collect())));
    }

    /// Answers everything until nothing is due, and returns what was sent.
    fn drain(&mut self) -> Vec<String> {
        let mut sent = Vec::new();
        while let Some(text) = self.shown() {
            sent.push(text);
            self.ack();
        }
        sent
    }
}

#[test]
fn a_wildcard_gets_everything_once_and_then_only_what_changes() {
    let mut stream = Stream::new([set(A, "x", "1"), set(A, "y", "1"), set(B, "z", "1")]);
    stream.ask(wants(A, &[]));
    assert_eq!(stream.drain(), ["a: x=1 y=1"]);
    stream.apply([set(A, "x", "2"), set(B, "z", "2")]);
    assert_eq!(stream.drain(), ["a: x=2"]);
    stream.apply([unset(A, "y")]);
    assert_eq!(stream.drain(), ["a: -y"]);
    stream.apply([set(B, "z", "3")]);
    assert_eq!(stream.drain(), [""; 0], "an unaffected subscriber receives nothing");
}

#[test]
fn the_first_request_of_a_type_is_answered_even_when_there_is_nothing() {
    let mut stream = Stream::new([]);
    stream.ask(wants(A, &["*"]));
    assert_eq!(stream.drain(), ["a:"]);
    assert_eq!(stream.drain(), [""; 0]);
}

#[test]
fn nothing_is_sent_before_the_source_has_delivered_everything() {
    let mut stream = Stream::new([]);
    stream.cache = ResourceCache::new();
    let held = [("x".to_owned(), version("1"))].into();
    stream.ask(DeltaDiscoveryRequest { initial_resource_versions: held, ..wants(A, &[]) });
    assert_eq!(stream.shown(), None, "a controller that has just started must not remove what proxies hold");
    stream.apply([set(A, "x", "1")]);
    stream.cache.mark_synced();
    assert_eq!(stream.drain(), ["a:"]);
}

#[test]
fn a_reconnect_with_versions_gets_differences_and_removals_only() {
    let mut stream = Stream::new([set(A, "same", "1"), set(A, "new", "1"), set(A, "old", "2")]);
    let held = [("same", version("1")), ("old", version("1")), ("gone", version("1"))];
    let initial_resource_versions = held.map(|(name, v)| (name.to_owned(), v)).into();
    stream.ask(DeltaDiscoveryRequest { initial_resource_versions, ..wants(A, &["*"]) });
    assert_eq!(stream.drain(), ["a: new=1 old=2 -gone"]);
}

#[test]
fn one_response_waits_for_its_answer_and_changes_meanwhile_coalesce() {
    let mut stream = Stream::new([set(A, "x", "0")]);
    stream.ask(wants(A, &[]));
    assert_eq!(stream.shown().as_deref(), Some("a: x=0"));
    for n in 1..=1000 {
        stream.apply([set(A, "x", &n.to_string()), set(A, "y", &n.to_string())]);
        assert_eq!(stream.shown(), None, "the first response is not answered yet");
    }
    stream.apply([unset(A, "y")]);
    stream.ack();
    assert_eq!(stream.drain(), ["a: x=1000"], "a slow consumer gets the last state, not the history");
}

#[test]
fn a_stale_or_unknown_nonce_is_no_answer_but_its_subscriptions_count() {
    let mut stream = Stream::new([set(A, "x", "1"), set(A, "y", "1")]);
    stream.ask(wants(A, &["x"]));
    assert_eq!(stream.shown().as_deref(), Some("a: x=1"));
    for nonce in ["", "0", "99", "\u{0}"] {
        stream.ask(DeltaDiscoveryRequest { response_nonce: nonce.into(), ..wants(A, &["y"]) });
        assert_eq!(stream.shown(), None);
    }
    stream.ask(DeltaDiscoveryRequest { response_nonce: stream.last.1.clone(), ..wants(B, &["*"]) });
    assert_eq!(stream.shown(), None, "the nonce of another type is no answer either");
    assert_eq!(stream.session.take_events(), []);
    stream.ack();
    assert_eq!(stream.drain(), ["a: y=1", "b:"]);
}

#[test]
fn a_lost_answer_is_reported_and_its_content_is_sent_again() {
    let mut stream = Stream::new([set(A, "x", "1")]);
    stream.ask(wants(A, &[]));
    assert_eq!(stream.shown().as_deref(), Some("a: x=1"));
    let lost = stream.last.clone();
    stream.now += Duration::from_secs(5);
    assert_eq!(stream.session.deadline(), Some(stream.now));
    stream.session.expire(stream.now - Duration::from_millis(1));
    assert_eq!(stream.session.take_events(), []);
    stream.session.expire(stream.now);
    assert_eq!(stream.session.take_events(), [Event::Unanswered { type_url: A.into() }]);
    stream.apply([set(A, "x", "2")]);
    assert_eq!(stream.shown(), None);
    stream.now += Duration::from_secs(15);
    stream.session.expire(stream.now);
    assert_eq!(stream.shown().as_deref(), Some("a: x=2"));
    let second = std::mem::replace(&mut stream.last, lost);
    stream.ack();
    assert_eq!(stream.session.take_events(), [], "the lost answer comes too late to count");
    assert_eq!(stream.session.deadline(), Some(stream.now + Duration::from_secs(5)));
    stream.last = second;
    stream.ack();
    let events = stream.session.take_events();
    assert!(matches!(&events[..], [Event::Acked { .. }, Event::Synced { .. }]), "{events:?}");
    assert_eq!((stream.drain(), stream.session.deadline()), (vec![], None));
}

#[test]
fn a_given_up_response_is_sent_again_even_if_the_content_went_back() {
    let mut stream = Stream::new([set(A, "x", "1")]);
    stream.ask(wants(A, &[]));
    stream.drain();
    stream.apply([set(A, "x", "2")]);
    assert_eq!(stream.shown().as_deref(), Some("a: x=2"));
    stream.apply([set(A, "x", "1")]);
    for seconds in [5, 15] {
        stream.now += Duration::from_secs(seconds);
        stream.session.expire(stream.now);
    }
    assert_eq!(stream.drain(), ["a: x=1"], "the client may hold 2: nobody knows");
}

#[test]
fn a_refused_resource_is_reported_and_not_sent_again_unchanged() {
    let mut stream = Stream::new([set(A, "x", "1"), set(A, "y", "1")]);
    stream.ask(wants(A, &[]));
    stream.drain();
    stream.session.take_events();
    stream.apply([set(A, "x", "bad"), set(A, "y", "2")]);
    assert_eq!(stream.shown().as_deref(), Some("a: x=bad y=2"));
    stream.nack(&[("x", "no such filter")]);
    let refused = Event::Nacked {
        key: Key::new(A.into(), "x"),
        version: Version::of(b"bad"),
        reason: "no such filter".into(),
    };
    let applied = Event::Acked {
        type_url: A.into(),
        resources: vec![(Arc::from("y"), Version::of(b"2"))],
        removed: vec![],
    };
    assert_eq!(stream.session.take_events(), [refused, applied, Event::Synced { sequence: 4 }]);
    assert_eq!(stream.shown(), None);
    stream.apply([set(A, "y", "3")]);
    stream.ask(wants(A, &["x"]));
    assert_eq!(stream.drain(), ["a: y=3"], "asking again does not bring the refused version back");
    stream.apply([set(A, "x", "good")]);
    assert_eq!(stream.drain(), ["a: x=good"]);
}

#[test]
fn after_a_refusal_the_client_counts_as_holding_the_previous_version_and_learns_that_it_is_current() {
    let mut stream = Stream::new([set(A, "x", "1")]);
    stream.ask(wants(A, &[]));
    stream.drain();
    stream.apply([set(A, "x", "bad")]);
    stream.shown();
    stream.nack(&[("x", "no")]);
    assert_eq!(stream.drain(), [""; 0]);
    stream.apply([set(A, "x", "1")]);
    assert_eq!(stream.drain(), ["a: x=1"]);
    stream.apply([set(A, "x", "bad")]);
    stream.shown();
    stream.nack(&[("x", "no")]);
    stream.apply([unset(A, "x")]);
    assert_eq!(stream.drain(), ["a: -x"]);
}

#[test]
fn a_refusal_without_names_refuses_the_whole_response() {
    let mut stream = Stream::new([set(A, "x", "1"), set(A, "y", "1")]);
    stream.ask(wants(A, &[]));
    stream.shown();
    stream.answer(Some(Status { code: 13, message: "foreign\ntext".into(), details: vec![] }));
    let events = stream.session.take_events();
    let reasons = events.iter().filter_map(|event| match event {
        Event::Nacked { key, reason, .. } => Some((&*key.name, reason.as_str())),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), [("x", "foreign text"), ("y", "foreign text")]);
    stream.apply([set(A, "x", "2")]);
    assert_eq!(stream.drain(), ["a: x=2"]);
}

#[test]
fn a_refusal_of_an_empty_response_is_reported_too() {
    let mut stream = Stream::new([]);
    stream.ask(wants(A, &[]));
    stream.shown();
    stream.answer(Some(Status { code: 5, message: "why?".into(), details: vec![] }));
    let expected = Event::NackedResponse { type_url: A.into(), reason: "why?".into() };
    assert_eq!(stream.session.take_events().first(), Some(&expected));
}

#[test]
fn additions_travel_in_the_order_of_types_and_removals_in_reverse() {
    let mut stream = Stream::new([]);
    stream.ask(wants(B, &[]));
    stream.ask(wants(A, &[]));
    stream.drain();
    stream.apply([set(B, "b1", "uses a1"), set(A, "a1", "1")]);
    assert_eq!(stream.drain(), ["a: a1=1", "b: b1=uses a1"]);
    stream.apply([unset(A, "a1"), set(A, "a2", "1"), set(B, "b1", "uses a2")]);
    assert_eq!(stream.drain(), ["a: a2=1", "b: b1=uses a2", "a: -a1"]);
    stream.apply([unset(A, "a2"), unset(B, "b1")]);
    assert_eq!(stream.drain(), ["b: -b1", "a: -a2"]);
}

#[test]
fn what_refers_to_a_new_resource_never_overtakes_it() {
    let mut stream = Stream::new([set(B, "b", "uses nothing")]);
    stream.ask(wants(A, &[]));
    stream.ask(wants(B, &[]));
    stream.drain();
    stream.apply([set(A, "a0", "1"), set(B, "b", "uses a0")]);
    assert_eq!(stream.shown().as_deref(), Some("a: a0=1"));
    stream.apply([set(A, "a1", "1"), set(B, "b", "uses a1")]);
    stream.ack();
    assert_eq!(stream.drain(), ["b: b=uses a0", "a: a1=1", "b: b=uses a1"]);
}

#[test]
fn the_first_round_waits_for_all_announced_types() {
    let mut stream = Stream::new([set(A, "a", "1"), set(B, "b", "1")]);
    let mut node = Node::with_features("n", "c", []);
    node.announce(3);
    stream.ask(DeltaDiscoveryRequest { node: Some(node), ..wants(B, &[]) });
    assert_eq!(stream.shown(), None);
    stream.ask(wants("type/newer-than-this-server", &[]));
    assert_eq!(stream.shown(), None);
    stream.ask(wants(A, &[]));
    assert_eq!(stream.drain(), ["a: a=1", "b: b=1"]);
}

#[test]
fn named_resources_are_sent_when_asked_for_and_missing_ones_are_said_to_be_missing() {
    let mut stream = Stream::new([set(A, "x", "1"), set(A, "other", "1")]);
    stream.ask(wants(A, &["x", "missing"]));
    assert_eq!(stream.drain(), ["a: x=1 -missing"]);
    stream.apply([set(A, "missing", "1"), set(A, "other", "2")]);
    assert_eq!(stream.drain(), ["a: missing=1"]);
    stream.ask(wants(A, &["x"]));
    assert_eq!(
        stream.drain(),
        ["a: x=1"],
        "a repeated subscription is answered, the client may have dropped it"
    );
    stream.ask(no_longer_wants(A, &["x"]));
    stream.apply([set(A, "x", "2")]);
    assert_eq!(stream.drain(), [""; 0]);
}

#[test]
fn wildcard_and_named_subscriptions_hold_side_by_side() {
    let mut stream = Stream::new([set(A, "x", "1"), set(A, "y", "1")]);
    stream.ask(wants(A, &["*", "x", "z"]));
    assert_eq!(stream.drain(), ["a: x=1 y=1 -z"]);
    stream.ask(no_longer_wants(A, &["x"]));
    assert_eq!(stream.drain(), ["a: x=1"], "still covered by the wildcard: said again");
    stream.ask(no_longer_wants(A, &["z"]));
    assert_eq!(stream.drain(), ["a: -z"], "not there under the wildcard either");
    stream.ask(wants(A, &["y"]));
    stream.ask(no_longer_wants(A, &["*"]));
    assert_eq!(stream.drain(), ["a: y=1"]);
    stream.apply([set(A, "x", "2"), set(A, "y", "2"), set(A, "n", "1")]);
    assert_eq!(stream.drain(), ["a: y=2"]);
    stream.ask(wants(A, &["*"]));
    assert_eq!(stream.drain(), ["a: n=1 x=2"]);
}

#[test]
fn a_subscriber_gets_only_what_its_scope_allows_and_a_stub_where_it_lacks_a_feature() {
    let scope = Scope::new(|node, key| &*key.name != "secret" || node.cluster == "gateway");
    let encoded = |text: &str| Encoded::new(Bytes::copy_from_slice(text.as_bytes())).expect("small");
    let guarded = Entry::guarded(encoded("full"), ["new".to_owned()].into(), encoded("deny"));
    let resources = || [set(A, "secret", "1"), Change::Set(Key::new(A.into(), "f"), guarded.clone())];
    let first = |cluster: &str, features: &[&'static str]| DeltaDiscoveryRequest {
        node: Some(Node::with_features("n", cluster, features.iter().copied())),
        ..wants(A, &["*", "secret"])
    };
    let mut outsider = Stream::with(resources(), Limits::default(), scope.clone());
    outsider.ask(first("sidecar", &[]));
    assert_eq!(outsider.drain(), ["a: f=deny -secret"]);
    outsider.ask(first("gateway", &["new"]));
    assert_eq!(outsider.drain(), ["a: -secret"], "a node cannot change its scope on an open stream");
    let mut gateway = Stream::with(resources(), Limits::default(), scope);
    gateway.ask(first("gateway", &["new", "newer"]));
    assert_eq!(gateway.drain(), ["a: f=full secret=1"]);
}

#[test]
fn responses_are_cut_to_size_and_all_but_the_last_say_that_more_follows() {
    let text = "v".repeat(1000);
    let changes = (0..10).map(|n| set(A, &format!("r{n}"), &text));
    let limits = Limits { response_bytes: 3500, ..Limits::default() };
    let mut stream = Stream::with(changes.chain([set(A, "s", &text.repeat(9))]), limits, Scope::default());
    stream.ask(wants(A, &[]));
    let mut seen = Vec::new();
    while let Some(response) = stream.next() {
        seen.push((response.resources.len(), response.system_version_info.ends_with(MORE)));
        stream.last = (response.type_url, response.nonce);
        stream.ack();
    }
    assert_eq!(seen, [(3, true), (3, true), (3, true), (1, true), (1, false)]);
}

#[test]
fn requests_over_the_limits_close_the_stream_and_unknown_types_do_not() {
    let mut stream = Stream::new([]);
    let long = "x".repeat(MAX_NAME + 1);
    let result = stream.session.request(wants(A, &[&long]));
    assert_eq!(result, Err(ProtocolError::NameTooLong(MAX_NAME + 1)));
    let many: Vec<String> = (0..=MAX_NAMES).map(|n| n.to_string()).collect();
    let request = DeltaDiscoveryRequest { resource_names_subscribe: many, ..wants(A, &[]) };
    assert_eq!(stream.session.request(request), Err(ProtocolError::TooManyNames));
    let mut stream = Stream::new([]);
    stream.ask(wants("nothing", &[]));
    assert_eq!(stream.shown(), None);
    assert_eq!(stream.session.take_events(), [Event::UnknownType { type_url: "nothing".into() }]);
}

#[test]
fn nothing_is_remembered_of_resources_that_came_and_went() {
    let mut stream = Stream::new([]);
    stream.ask(wants(A, &[]));
    stream.drain();
    for n in 0..50 {
        let name = n.to_string();
        stream.apply([set(A, &name, "bad")]);
        stream.shown();
        if n % 2 == 0 {
            stream.nack(&[(&name, "no")])
        } else {
            stream.ack()
        }
        stream.apply([unset(A, &name)]);
        stream.drain();
    }
    assert_eq!(stream.session.subscriptions[&0].known_names().count(), 0);
}
