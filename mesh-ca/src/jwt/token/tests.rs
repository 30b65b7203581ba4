//! Tokens that hold and tokens that do not.

use super::*;
use crate::svid::{TrustBundle, TrustBundles};

const NOW: Duration = Duration::from_secs(1_795_203_000);
const TTL: Duration = Duration::from_secs(300);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + NOW
}

fn cart() -> SpiffeId {
    "spiffe://cluster.local/ns/x/sa/cart".parse().unwrap()
}

fn bundle(domain: &str, keys: &[&PrivateKey]) -> TrustBundle {
    let keys = keys.iter().map(|key| JwtKey::new(key.public().clone())).collect();
    TrustBundle::new(domain.parse().unwrap(), Vec::new(), 1).unwrap().with_jwt_keys(keys).unwrap()
}

fn trusting(key: &PrivateKey) -> TrustBundles {
    [bundle("cluster.local", &[key])].into_iter().collect()
}

/// A token of any header and claims, well signed.
fn signed(key: &PrivateKey, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
    let signature = base64url(&key.sign_fixed(signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[test]
fn a_token_says_who_its_bearer_is_to_its_audience_only() {
    let key = PrivateKey::generate();
    let audience = ["reports".to_owned(), "ledger".to_owned()];
    let token = mint(&cart(), &audience, &key, now(), TTL);
    assert_eq!(token.expires(), now() + TTL);
    let judge = |audience: &str| validate(token.expose(), audience, &trusting(&key), now());
    for audience in &audience {
        let claims = judge(audience).unwrap();
        assert_eq!(claims.subject, cart());
        assert_eq!(claims.all["iat"], NOW.as_secs());
    }
    for other in ["", "report", "reports,ledger", "spiffe://cluster.local/ns/x/sa/cart"] {
        assert_eq!(judge(other), Err(JwtError::Audience), "{other:?}");
    }
}

#[test]
fn its_life_ends_to_the_second() {
    let key = PrivateKey::generate();
    let token = mint(&cart(), &["a".to_owned()], &key, now(), TTL);
    let at =
        |time: SystemTime| validate(token.expose(), "a", &trusting(&key), time).map(|claims| claims.subject);
    assert_eq!(at(now() + TTL - Duration::from_millis(1)), Ok(cart()));
    assert_eq!(at(now() + TTL), Err(JwtError::Expired));
}

#[test]
fn only_keys_of_its_own_trust_domain_count() {
    let (key, other) = (PrivateKey::generate(), PrivateKey::generate());
    let token = mint(&cart(), &["a".to_owned()], &key, now(), TTL);
    let judge = |bundles: Vec<TrustBundle>| {
        let bundles = bundles.into_iter().collect();
        validate(token.expose(), "a", &bundles, now()).map(|claims| claims.subject)
    };
    assert_eq!(judge(vec![bundle("cluster.local", &[&other, &key])]), Ok(cart()));
    assert_eq!(judge(vec![bundle("cluster.local", &[&other])]), Err(JwtError::Signature));
    let elsewhere = bundle("other.test", &[&key]);
    assert_eq!(judge(vec![bundle("cluster.local", &[]), elsewhere.clone()]), Err(JwtError::Signature));
    assert_eq!(judge(vec![elsewhere]), Err(JwtError::Untrusted("cluster.local".parse().unwrap())));
}

#[test]
fn what_the_standard_forbids_is_refused_although_it_is_signed() {
    let key = PrivateKey::generate();
    let good_header = r#"{"alg":"ES256"}"#;
    let claims = |rest: &str| format!(r#"{{"sub":"spiffe://cluster.local/ns/x/sa/cart","aud":"a"{rest}}}"#);
    let good = claims(r#","exp":1795203300"#);
    let judge = |header: &str, claims: &str| {
        validate(&signed(&key, header, claims), "a", &trusting(&key), now()).map(|claims| claims.subject)
    };
    for header in [good_header, r#"{"alg":"ES256","typ":"JOSE"}"#] {
        assert_eq!(judge(header, &good), Ok(cart()), "{header}");
    }
    let headers = [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"es256"}"#,
        r#"{"alg":"ES256","typ":"jwt"}"#,
        r#"{"alg":"ES256","typ":"at+jwt"}"#,
        r#"{"alg":"ES256","kid":"another"}"#,
        r#"{"alg":"ES256","crit":["exp"]}"#,
        r#"{"alg":"ES256","jwk":{}}"#,
        r#"{"alg":"ES256","alg":"ES256"}"#,
        r#"{"typ":"JWT"}"#,
        "{}",
        "",
    ];
    for header in headers {
        assert!(judge(header, &good).is_err(), "{header}");
    }
    let bodies = [
        (claims(""), JwtError::Malformed("it has no end")),
        (claims(r#","exp":"1795203300""#), JwtError::Malformed("a time of it is no number")),
        (claims(r#","exp":1795203000"#), JwtError::Expired),
        (claims(r#","exp":-1"#), JwtError::Expired),
        (claims(r#","exp":1795203300,"nbf":1795203001"#), JwtError::NotYetValid),
        (claims(r#","exp":1795203300,"nbf":[]"#), JwtError::Malformed("a time of it is no number")),
        (good.replace(r#""aud":"a""#, r#""aud":[]"#), JwtError::Audience),
        (good.replace(r#""aud":"a""#, r#""aud":["b",{"a":"a"}]"#), JwtError::Audience),
        (good.replace(r#""aud":"a","#, ""), JwtError::Audience),
        (good.replace(r#""sub""#, r#""sup""#), JwtError::Malformed("it has no subject")),
        ("[]".to_owned(), JwtError::Malformed("its claims")),
    ];
    for (claims, expected) in bodies {
        assert_eq!(judge(good_header, &claims), Err(expected), "{claims}");
    }
    for subject in ["cart", "spiffe://cluster.local", "https://cluster.local/ns/x/sa/cart"] {
        let claims = good.replace("spiffe://cluster.local/ns/x/sa/cart", subject);
        assert!(matches!(judge(good_header, &claims), Err(JwtError::Subject(_))), "{subject}");
    }
}

#[test]
fn a_changed_token_does_not_hold() {
    let key = PrivateKey::generate();
    let token = mint(&cart(), &["a".to_owned()], &key, now(), TTL);
    let trusted = trusting(&key);
    for at in 0..token.expose().len() {
        let mut changed = token.expose().as_bytes().to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(validate(&changed, "a", &trusted, now()).is_err(), "byte {at}");
    }
    for end in 0..token.expose().len() {
        assert!(validate(&token.expose()[..end], "a", &trusted, now()).is_err());
    }
    let longer =
        [token.expose().to_owned() + "=", token.expose().to_owned() + ".", "a".repeat(LONGEST_TOKEN + 1)];
    assert!(longer.iter().all(|text| validate(text, "a", &trusted, now()).is_err()));
}

#[test]
fn audiences_are_bounded() {
    let audience = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(checked_audience(&audience(&["a"])), Ok(()));
    let refused = [audience(&[]), audience(&["a", ""]), vec!["a".to_owned(); 9], vec!["a".repeat(513)]];
    assert!(refused.iter().all(|audience| checked_audience(audience).is_err()));
}

#[test]
fn a_token_is_never_printed() {
    let token = mint(&cart(), &["a".to_owned()], &PrivateKey::generate(), now(), TTL);
    assert!(!format!("{token:?}").contains(token.expose().split('.').next().unwrap()));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[A-Za-z0-9_.=-]{0,200}") {
        let trusted = trusting(&PrivateKey::generate());
        proptest::prop_assert!(validate(&text, "a", &trusted, now()).is_err());
    }

    #[test]
    fn no_signed_json_makes_it_panic(header in r#"\{("alg":"ES256")?(,"[a-z]{1,3}":[0-9"a]{1,3})?\}"#, claims in r#"[{}\[\]",:a-z0-9]{0,60}"#) {
        let key = PrivateKey::generate();
        proptest::prop_assert!(validate(&signed(&key, &header, &claims), "a", &trusting(&key), now()).is_err());
    }
}
