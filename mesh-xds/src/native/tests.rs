//! Tests of the codec: generated resources survive, golden bytes stay, nothing invalid gets in.

use mesh_model::policy::Action;
use mesh_model::{Listener, ListenerTls, Route};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

mod golden;
mod publisher;
mod resources;

use resources::any_resource;

fn config() -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(0x5EED);
    ProptestConfig { failure_persistence: None, rng_seed, ..ProptestConfig::with_cases(128) }
}

fn type_url(resource: &Resource) -> String {
    resource.key().kind.type_url()
}

fn is_same(a: &Resource, b: &Resource) -> bool {
    a == b && encode(a) == encode(b)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_resource_survives_the_wire(resource in any_resource()) {
        let bytes = encode(&resource);
        let back = decode(&type_url(&resource), &bytes);
        prop_assert_eq!(back.as_ref(), Ok(&resource));
        let named = decode_named(&type_url(&resource), &resource.key().to_string(), &bytes);
        prop_assert!(named.is_ok_and(|named| is_same(&named, &resource)));
        let other = decode_named(&type_url(&resource), "local/a/Route/other-name", &bytes);
        let misnamed = matches!(other, Err(DecodeError::Name { .. }));
        prop_assert!(misnamed);
    }

    #[test]
    fn fields_from_the_future_are_skipped(resource in any_resource()) {
        let mut bytes = encode(&resource).to_vec();
        bytes.extend_from_slice(b"\xf2\x7f\x03new\xf8\x7f\x01");
        prop_assert_eq!(decode(&type_url(&resource), &bytes), Ok(resource));
    }

    #[test]
    fn broken_bytes_are_errors_or_valid_resources(
        resource in any_resource(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode(&resource).to_vec();
        for (at, byte) in &edits {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        for bytes in [&bytes[..], &bytes[..end.index(bytes.len())]] {
            if let Ok(changed) = decode(&type_url(&resource), bytes) {
                prop_assert_eq!(decode(&type_url(&changed), &encode(&changed)), Ok(changed));
            }
        }
    }

    #[test]
    fn stubs_need_nothing_and_are_never_weaker(resource in any_resource()) {
        let stub = stub(&resource);
        prop_assert_eq!(stub.key(), resource.key());
        let needed = needed_features(&resource);
        prop_assert!(needed.iter().all(|feature| FEATURES.contains(&feature.as_str())));
        if needed.is_empty() {
            return Ok(());
        }
        prop_assert!(needed_features(&stub).is_empty());
        match &stub {
            Resource::Listener(listener) => prop_assert_eq!(
                &listener.tls,
                &Some(ListenerTls::Terminate { certificates: vec![], client: None })
            ),
            Resource::Policy(policy) => prop_assert!(policy.action == Action::Deny && policy.rules.len() == 1),
            Resource::Route(route) => {
                let invalid = |b: &mesh_model::backend::Backend| {
                    matches!(b.target, mesh_model::backend::Target::Invalid { .. })
                };
                prop_assert!(route.rules.iter().all(|rule| rule.backends.iter().all(invalid)));
                prop_assert!(route.rules.iter().all(|rule| rule.backends.len() == 1 && rule.filters.is_empty()));
            }
            other => prop_assert!(false, "{other:?} needs a feature"),
        }
    }
}

/// What `decode` says of a route after an edit of its message.
fn refused_route(edit: impl FnOnce(&mut wire::Route)) -> String {
    let Resource::Route(route) = golden::route() else { unreachable!("a route") };
    let mut message = route::encode(&route);
    edit(&mut message);
    decode(&Kind::Route.type_url(), &message.encode_to_vec()).expect_err("it is not valid").to_string()
}

#[test]
fn what_is_wrong_is_named_by_its_field() {
    type Edit = fn(&mut wire::Route);
    let cases: [(Edit, &str); 12] = [
        (|r| r.meta = None, "meta: is missing or of a kind that is not known here"),
        (|r| set_key(r, "local/a/Policy/b"), "meta.key: names a Policy"),
        (|r| r.kind = 99, "kind: is missing or of a kind that is not known here"),
        (|r| r.hostnames.push("a b".into()), "hostnames[1]: label \"a b\" is not a DNS label"),
        (|r| r.attachments[0].place = None, "attachments[0].place: is missing or of a kind"),
        (|r| r.rules[0].filters[1].action = None, "rules[0].filters[1].action: is missing or of a kind"),
        (
            |r| r.rules[0].matches[0].method = Some("A B".into()),
            "rules[0].matches[0].method: invalid HTTP method",
        ),
        (
            |r| r.rules[0].matches[0].headers[0].name = "a b".into(),
            "rules[0].matches[0].headers[0].name: invalid",
        ),
        (
            |r| set_path(r, wire::MatchPath::Regex("(".into())),
            "rules[0].matches[0].regex: regular expression",
        ),
        (
            |r| set_path(r, wire::MatchPath::Exact("x".into())),
            "rules[0].matches[0].exact: does not begin with",
        ),
        (|r| r.rules[0].backends[0].target = None, "rules[0].backends[0].target: is missing or of a kind"),
        (|r| set_nanos(r, 1_000_000_000), "rules[0].request_timeout: holds a second or more"),
    ];
    for (edit, expected) in cases {
        let text = refused_route(edit);
        assert!(text.starts_with(expected), "{text:?} instead of {expected:?}");
    }
}

fn set_key(route: &mut wire::Route, key: &str) {
    route.meta.as_mut().expect("it has one").key = key.to_owned();
}

fn set_path(route: &mut wire::Route, path: wire::MatchPath) {
    route.rules[0].matches[0].path = Some(path);
}

fn set_nanos(route: &mut wire::Route, nanos: u32) {
    route.rules[0].request_timeout = Some(wire::Span { seconds: 0, nanos });
}

#[test]
fn values_outside_the_model_are_refused_in_every_kind() {
    let listener = |edit: fn(&mut wire::Listener)| {
        let Resource::Listener(listener) = golden::listener() else { unreachable!("a listener") };
        let mut message = listener::encode(&listener);
        edit(&mut message);
        decode(&Kind::Listener.type_url(), &message.encode_to_vec())
    };
    assert!(listener(|_| ()).is_ok());
    for port in [0, 65_536, u32::MAX] {
        let Resource::Listener(golden) = golden::listener() else { unreachable!("a listener") };
        let message = wire::Listener { port, ..listener::encode(&golden) };
        assert!(decode(&Kind::Listener.type_url(), &message.encode_to_vec()).is_err(), "{port}");
    }
    assert!(listener(|l| l.name.clear()).is_err());
    assert!(listener(|l| l.protocol = 0).is_err());
    let chunk = |endpoints: usize| {
        let Resource::EndpointChunk(chunk) = golden::chunk() else { unreachable!("a chunk") };
        let mut message = service::encode_chunk(&chunk);
        message.endpoints = vec![message.endpoints[0].clone(); endpoints];
        decode(&Kind::EndpointChunk.type_url(), &message.encode_to_vec())
    };
    assert!(chunk(100).is_ok());
    let error = chunk(101).expect_err("too many").to_string();
    assert_eq!(error, "endpoints: 101 are more than 100");
    let Resource::Certificate(certificate) = golden::certificate() else { unreachable!("a certificate") };
    for edit in
        [|c: &mut wire::Certificate| c.chain.clear(), |c: &mut wire::Certificate| c.private_key.clear()]
    {
        let mut message = tls::encode_certificate(&certificate);
        edit(&mut message);
        assert!(decode(&Kind::Certificate.type_url(), &message.encode_to_vec()).is_err());
    }
    assert!(matches!(decode("type/other", &[]), Err(DecodeError::UnknownType(_))));
    assert!(matches!(decode(&Kind::Route.type_url(), &[0xff]), Err(DecodeError::Malformed(_))));
}

#[test]
fn a_condition_with_values_of_another_form_is_refused() {
    let Resource::Policy(policy) = golden::policy() else { unreachable!("a policy") };
    let mut message = policy::encode(&policy);
    let condition = &mut message.rules[0].when[0];
    condition.values = Some(wire::PolicyConditionValues::Ports(wire::NumberPatterns::default()));
    let error = decode(&Kind::Policy.type_url(), &message.encode_to_vec()).expect_err("a header is no port");
    let expected = "rules[0].when[0].values: is missing or of a kind that is not known here";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn private_keys_are_in_no_text_form() {
    let resource = golden::certificate();
    let Resource::Certificate(certificate) = &resource else { unreachable!("a certificate") };
    let message = tls::encode_certificate(certificate);
    let any = crate::proto::Any { type_url: "t".into(), value: encode(&resource) };
    let entry = entry(&resource).expect("small");
    let text = format!("{message:?} {any:?} {entry:?} {resource:?}");
    let secret = format!("{:?}", certificate.private_key.expose());
    assert!(!text.contains(secret.trim_matches(['[', ']'])), "{text}");
}

#[test]
fn a_cache_follows_deltas_and_a_resource_too_large_leaves_the_one_before() {
    let cache = crate::ResourceCache::new();
    let delta = Delta { set: vec![golden::route(), golden::policy()], removed: vec![] };
    let (steps, refused) = changes(&delta);
    assert_eq!((cache.apply(steps).changed.len(), refused.len()), (2, 0));
    let Resource::Route(route) = golden::route() else { unreachable!("a route") };
    let rule = mesh_model::Rule { name: Some("n".repeat(1 << 20).into()), ..Default::default() };
    let large = Route { rules: vec![rule; 9], ..(*route).clone() };
    let removed = vec![golden::policy().key().clone()];
    let (steps, refused) = changes(&Delta { set: vec![Resource::Route(Arc::new(large))], removed });
    assert_eq!(refused[0].0, route.key);
    assert_eq!(cache.apply(steps).changed.len(), 1);
    let snapshot = cache.snapshot();
    let key = Key::from(&route.key);
    let held = snapshot.lookup(&key.type_url, &key.name).expect("the version before");
    assert_eq!(held.for_features(&Default::default()).body(), &encode(&stub(&golden::route())));
    assert_eq!(snapshot.len(&Kind::Policy.into()), 0);
}

#[test]
fn a_snapshot_restores_everything_or_nothing() {
    let held = |resource: &Resource| {
        let encoded = Encoded::new(encode(resource)).expect("small");
        let (version, body) = (encoded.version().clone(), encoded.body().clone());
        Held { key: resource.key().into(), version, body }
    };
    let saved = std::time::UNIX_EPOCH;
    let mut last = LastGood { saved, resources: vec![held(&golden::route()), held(&golden::policy())] };
    assert_eq!(restore(&last).map(|delta| delta.set), Ok(vec![golden::route(), golden::policy()]));
    last.resources[1].body = Bytes::from_static(&[0xff]);
    assert_eq!(restore(&last).expect_err("a broken policy").0, Key::from(golden::policy().key()));
}

#[test]
fn a_listener_without_client_validation_needs_no_feature() {
    let Resource::Listener(listener) = golden::listener() else { unreachable!("a listener") };
    let plain = Listener { tls: None, ..(*listener).clone() };
    assert!(needed_features(&Resource::Listener(Arc::new(plain))).is_empty());
    assert!(!needed_features(&golden::listener()).is_empty());
}
