//! The plan under a moving clock: phases, overlap, lifetimes, and what is said when nothing can be signed.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use mesh_model::SpiffeId;
use proptest::prelude::{Strategy, prop_oneof};

use super::*;
use crate::key::PrivateKey;
use crate::profile::{Leaf, Signing};
use crate::svid::Svid;
use crate::tls::verify_svid;

const SECOND: Duration = Duration::from_secs(1);
const LEAF: Duration = Duration::from_secs(30);

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_203_000)
}

fn cart() -> SpiffeId {
    "spiffe://cluster.local/ns/shop/sa/cart".parse().unwrap()
}

fn short_lived() -> Hierarchy {
    Hierarchy::new("cluster.local".parse().unwrap(), Policy::scaled(LEAF), start()).unwrap()
}

fn issue(hierarchy: &Hierarchy, now: SystemTime) -> Svid {
    let key = PrivateKey::generate();
    let chain = hierarchy.issue(&cart(), key.public(), None, now).unwrap();
    Svid::new(chain, key).unwrap()
}

fn holds(svid: &Svid, hierarchy: &Hierarchy, now: SystemTime) -> bool {
    let bundles = [hierarchy.bundle().unwrap()].into_iter().collect();
    verify_svid(svid, &bundles, now).is_ok()
}

#[test]
fn a_root_is_announced_then_signs_then_the_old_one_is_dropped() {
    let (mut hierarchy, now) = (short_lived(), start());
    let old = issue(&hierarchy, now);
    hierarchy.rotate_root(now).unwrap();
    assert_eq!((hierarchy.bundle().unwrap().roots().len(), hierarchy.bundle().unwrap().sequence()), (2, 2));
    assert_eq!(issue(&hierarchy, now).chain()[1], old.chain()[1], "the old issuer signs while peers learn");
    assert_eq!(hierarchy.tick(now + LEAF - SECOND).unwrap(), []);
    let now = now + LEAF;
    let last = issue(&hierarchy, now - SECOND);
    assert_eq!(hierarchy.tick(now).unwrap(), [Step::SignWithRoot]);
    assert_ne!(issue(&hierarchy, now).chain()[1], old.chain()[1]);
    assert_eq!(hierarchy.status().drop_blocked_until, Some(now + LEAF));
    assert!(matches!(hierarchy.rotate_root(now), Err(AuthorityError::RotationInProgress)));
    assert_eq!(hierarchy.tick(last.not_after()).unwrap(), [], "a leaf of the old root is alive");
    assert!(holds(&last, &hierarchy, last.not_after()));
    let now = now + LEAF + SECOND;
    assert_eq!(hierarchy.tick(now).unwrap(), [Step::DropIssuer, Step::DropRoot]);
    assert_eq!(hierarchy.bundle().unwrap().roots().len(), 1);
    assert!(!holds(&last, &hierarchy, last.not_after()));
}

#[test]
fn secrets_come_and_go_with_their_roots_and_that_of_the_signing_one_is_first() {
    let (mut hierarchy, now) = (short_lived(), start());
    let secrets = |hierarchy: &Hierarchy| hierarchy.secrets("a").iter().map(|s| **s).collect::<Vec<_>>();
    let old = secrets(&hierarchy);
    assert_eq!(old.len(), 1);
    assert_ne!(old, hierarchy.secrets("b").iter().map(|s| **s).collect::<Vec<_>>());
    hierarchy.rotate_root(now).unwrap();
    let announced = secrets(&hierarchy);
    assert_eq!((announced.len(), announced[0]), (2, old[0]), "what is new opens before it seals");
    assert_eq!(hierarchy.tick(now + LEAF).unwrap(), [Step::SignWithRoot]);
    assert_eq!(secrets(&hierarchy), [announced[1], announced[0]]);
    hierarchy.tick(now + LEAF * 2 + SECOND).unwrap();
    assert_eq!(secrets(&hierarchy), [announced[1]]);
    let again = stored::decode(&stored::encode(&hierarchy), Policy::scaled(LEAF)).unwrap().0;
    assert_eq!(secrets(&again), secrets(&hierarchy), "who shares the state has the same");
    assert_ne!(secrets(&short_lived()), old);
}

#[test]
fn a_token_holds_for_all_of_its_life_whatever_rotates() {
    let mut hierarchy = short_lived();
    let audience = ["reports".to_owned()];
    let mut given: Vec<crate::jwt::Token> = Vec::new();
    let mut keys = BTreeSet::new();
    for second in 0..200 {
        let now = start() + SECOND * second;
        if second % 40 == 0 {
            // It may be under way already.
            let _ = hierarchy.rotate_root(now);
        }
        hierarchy.tick(now).unwrap();
        let token = hierarchy.issue_token(&cart(), &audience, now).unwrap();
        assert_eq!(token.expires(), now + LEAF, "no longer than a leaf");
        given.push(token);
        let bundle = hierarchy.bundle().unwrap();
        assert_eq!(bundle.jwt_keys().len(), bundle.roots().len());
        keys.extend(bundle.jwt_keys().iter().map(|key| key.id().to_owned()));
        let bundles = [bundle].into_iter().collect();
        for token in given.iter().filter(|token| now < token.expires()) {
            let claims = crate::jwt::validate(token.expose(), "reports", &bundles, now);
            assert_eq!(claims.unwrap().subject, cart(), "second {second}");
        }
    }
    assert!(keys.len() >= 3, "{keys:?}");
    let again = stored::decode(&stored::encode(&hierarchy), Policy::scaled(LEAF)).unwrap().0;
    assert_eq!(
        again.bundle().unwrap(),
        hierarchy.bundle().unwrap(),
        "who shares the state has the same keys"
    );
}

#[test]
fn no_token_is_made_for_foreigners_for_nobody_or_by_an_expired_root() {
    let hierarchy = short_lived();
    let refused = |id: &str, audience: &[String], now: SystemTime| {
        hierarchy.issue_token(&id.parse().unwrap(), audience, now).unwrap_err().to_string()
    };
    let (own, audience) = (cart().to_string(), ["a".to_owned()]);
    assert!(
        refused("spiffe://other.test/x", &audience, start()).contains("not in trust domain cluster.local")
    );
    assert_eq!(refused(&own, &[], start()), "no token: the audience is absent or another one");
    let end = hierarchy.bundle().unwrap().not_after().unwrap() + SECOND;
    assert!(refused(&own, &audience, end).contains("expired at"));
}

#[test]
fn an_issuer_is_replaced_at_half_of_its_life_and_forgotten_after_its_last_leaf() {
    let mut hierarchy = short_lived();
    assert_eq!(hierarchy.tick(start() + LEAF * 2 - SECOND).unwrap(), []);
    let now = start() + LEAF * 2;
    let last = issue(&hierarchy, now);
    assert_eq!(hierarchy.tick(now).unwrap(), [Step::SignWithIssuer]);
    assert_eq!(hierarchy.status().issuers.len(), 2);
    assert!(holds(&last, &hierarchy, last.not_after()) && holds(&issue(&hierarchy, now), &hierarchy, now));
    assert_eq!(hierarchy.tick(now + LEAF).unwrap(), []);
    assert_eq!(hierarchy.tick(now + LEAF + SECOND).unwrap(), [Step::DropIssuer]);
}

#[test]
fn no_leaf_outlives_its_issuer_and_no_issuer_its_root() {
    let mut hierarchy = short_lived();
    // Without ticks the issuer nears its end: leaves get shorter.
    let late = start() + LEAF * 4 - Duration::from_secs(10);
    let leaf = issue(&hierarchy, late);
    assert_eq!(leaf.not_after(), start() + LEAF * 4);
    let over = start() + LEAF * 4;
    let key = PrivateKey::generate();
    let refused = hierarchy.issue(&cart(), key.public(), None, over).unwrap_err().to_string();
    assert_eq!(refused, "the issuer expired at 2026-11-20T19:32:00Z");
    assert_eq!(hierarchy.tick(over).unwrap(), [Step::DropIssuer, Step::SignWithIssuer].split_at(1).1);
    let root = Signing::parse(hierarchy.bundle().unwrap().roots().next().unwrap()).unwrap();
    for (_, not_after) in hierarchy.status().issuers {
        assert!(not_after <= root.not_after());
    }
}

#[test]
fn a_leaf_has_the_life_that_was_asked_for_within_the_policy() {
    let hierarchy = short_lived();
    let life = |ttl: u64| {
        let key = PrivateKey::generate();
        let ttl = Some(Duration::from_secs(ttl));
        let chain = hierarchy.issue(&cart(), key.public(), ttl, start()).unwrap();
        Leaf::parse(&chain[0]).unwrap().not_after().duration_since(start()).unwrap().as_secs()
    };
    assert_eq!([life(0), life(7), life(30), life(u64::MAX)], [1, 7, 30, 30]);
    let leaf = issue(&hierarchy, start());
    assert_eq!(leaf.not_before(), start() - Duration::from_secs(300));
}

#[test]
fn serial_numbers_are_unique_and_long() {
    let hierarchy = short_lived();
    let key = PrivateKey::generate();
    let serials: BTreeSet<String> = (0..1000)
        .map(|_| hierarchy.issue(&cart(), key.public(), None, start()).unwrap())
        .map(|chain| Leaf::parse(&chain[0]).unwrap().serial().to_owned())
        .collect();
    assert_eq!(serials.len(), 1000);
    assert!(serials.iter().filter(|serial| serial.len() >= 31).count() > 990, "about 128 bits each");
}

#[test]
fn an_expired_root_is_named_and_only_a_person_replaces_it() {
    let mut hierarchy = short_lived();
    let now = start() + LEAF * 100;
    assert_eq!(hierarchy.tick(now).unwrap(), []);
    let key = PrivateKey::generate();
    let refused = hierarchy.issue(&cart(), key.public(), None, now).unwrap_err();
    assert!(matches!(refused, AuthorityError::RootExpired { .. }));
    assert_eq!(
        refused.to_string(),
        "the root of trust domain cluster.local expired at 2026-11-20T19:38:00Z: rotate the root and \
         distribute the new one"
    );
    hierarchy.rotate_root(now).unwrap();
    assert!(holds(&issue(&hierarchy, now), &hierarchy, now));
    assert_eq!(hierarchy.bundle().unwrap().roots().len(), 1);
}

#[test]
fn a_clock_that_was_ahead_and_is_right_again_does_not_stop_issuing() {
    let mut hierarchy = short_lived();
    let ahead = start() + LEAF * 3;
    assert_eq!(hierarchy.tick(ahead).unwrap(), [Step::SignWithIssuer]);
    let back = ahead - Duration::from_secs(301);
    let key = PrivateKey::generate();
    let refused = hierarchy.issue(&cart(), key.public(), None, back);
    assert!(matches!(refused, Err(AuthorityError::ClockBeforeIssuer)));
    let back = start();
    let mut far = short_lived();
    far.policy.backdate = SECOND;
    far.tick(ahead).unwrap();
    assert!(matches!(far.issue(&cart(), key.public(), None, back), Err(AuthorityError::ClockBeforeIssuer)));
    assert_eq!(far.tick(back).unwrap(), [Step::SignWithIssuer]);
    assert!(holds(&issue(&far, back), &far, back));
    let before = SystemTime::UNIX_EPOCH - SECOND;
    let policy = Policy::scaled(LEAF);
    assert!(matches!(
        Hierarchy::new("cluster.local".parse().unwrap(), policy, before),
        Err(AuthorityError::Sign(_))
    ));
}

#[test]
fn identities_of_other_trust_domains_are_refused() {
    let (hierarchy, key) = (short_lived(), PrivateKey::generate());
    let foreign = "spiffe://elsewhere/ns/shop/sa/cart".parse().unwrap();
    let refused = hierarchy.issue(&foreign, key.public(), None, start());
    assert!(matches!(refused, Err(AuthorityError::ForeignTrustDomain { .. })));
}

#[test]
fn lifetimes_that_leave_no_overlap_are_refused() {
    let good = Policy::scaled(LEAF);
    let bad = [
        Policy { leaf_ttl: Duration::ZERO, ..good },
        Policy { issuer_ttl: LEAF * 3, ..good },
        Policy { root_ttl: LEAF * 15, ..good },
        Policy { trust_delay: LEAF * 5, ..good },
        Policy { root_ttl: Duration::MAX, ..good },
        Policy { backdate: Duration::from_secs(3601), ..good },
    ];
    for policy in bad {
        let refused = Hierarchy::new("cluster.local".parse().unwrap(), policy, start());
        assert!(matches!(refused, Err(AuthorityError::Policy(_))), "{policy:?}");
    }
    assert!(Policy::default().check().is_ok());
}

#[test]
fn a_stored_hierarchy_comes_back_whole() {
    let mut hierarchy = short_lived();
    hierarchy.rotate_root(start()).unwrap();
    hierarchy.tick(start() + LEAF).unwrap();
    let bytes = stored::encode(&hierarchy);
    let (read, grew) = stored::decode(&bytes, Policy::scaled(LEAF)).unwrap();
    assert!(!grew);
    assert_eq!(read.bundle().unwrap(), hierarchy.bundle().unwrap());
    let now = start() + LEAF;
    assert!(holds(&issue(&read, now), &hierarchy, now));
    assert_eq!(read.status().issuers.len(), hierarchy.status().issuers.len());
    let (longer, grew) = stored::decode(&bytes, Policy::scaled(LEAF * 2)).unwrap();
    assert!(grew);
    assert!(longer.issuers.iter().all(|issuer| issuer.longest_leaf == LEAF * 2));
    assert!(stored::decode(&bytes[..bytes.len() - 1], Policy::scaled(LEAF)).is_err());
    assert!(stored::decode(b"{}", Policy::scaled(LEAF)).is_err());
}

#[derive(Debug, Clone)]
enum Event {
    Advance(u64),
    Issue,
    Rotate,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0u64..200).prop_map(Event::Advance),
        4 => proptest::prelude::Just(Event::Issue),
        1 => proptest::prelude::Just(Event::Rotate),
    ]
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    /// Whatever happens in which order: a leaf that has not expired holds under the roots of the moment.
    #[test]
    fn every_unexpired_leaf_holds_at_every_moment(
        events in proptest::collection::vec(event(), 1..40),
    ) {
        let (mut hierarchy, mut now) = (short_lived(), start());
        let mut alive: Vec<Svid> = Vec::new();
        for event in events {
            match event {
                Event::Advance(seconds) => {
                    now += Duration::from_secs(seconds);
                    hierarchy.tick(now).unwrap();
                }
                Event::Issue => match hierarchy.issue(&cart(), PrivateKey::generate().public(), None, now) {
                    Ok(_) => alive.push(issue(&hierarchy, now)),
                    Err(error) => proptest::prop_assert!(
                        matches!(error, AuthorityError::RootExpired { .. }), "{error}"
                    ),
                },
                Event::Rotate => drop(hierarchy.rotate_root(now)),
            }
            alive.retain(|svid| svid.not_after() >= now);
            for svid in &alive {
                proptest::prop_assert!(holds(svid, &hierarchy, now));
            }
        }
    }
}
