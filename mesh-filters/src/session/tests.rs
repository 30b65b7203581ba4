//! Rules of sessions: what a value leads to, and what it never leads to.

use mesh_model::{Origin, SessionCarrier, SourceRef};
use proptest::prelude::*;

use super::*;

const START: u64 = 1_790_000_000;

fn cart() -> ObjectName {
    ObjectName::new("shop", "cart")
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(START + seconds)
}

fn cookie(permanent: bool) -> SessionCarrier {
    let (name, path) = ("s".parse().expect("a name"), "/shop".parse().expect("a path"));
    SessionCarrier::Cookie { name, path, permanent }
}

fn session(carrier: SessionCarrier, limit: Option<u64>, keys: &[u8]) -> Arc<Session> {
    let source = SourceRef::new("HTTPRoute", cart(), Origin::Builtin);
    let absolute_timeout = limit.map(Duration::from_secs);
    let keys = keys.iter().map(|byte| SessionKey::new([*byte; 32])).collect();
    Arc::new(Session { source, carrier, absolute_timeout, keys })
}

fn endpoints(last: &[u8]) -> Arc<[Endpoint]> {
    let endpoint = |n: &u8| Endpoint {
        address: SocketAddr::from(([10, 0, 0, *n], 80)),
        identity: None,
        workload: format!("cart-{n}").into(),
        ready: true,
        zone: None,
        hostname: None,
    };
    last.iter().map(endpoint).collect()
}

/// What a client keeps of an answer, as it sends it: name and value of each cookie.
fn kept(answer: &HeaderMap) -> HeaderMap {
    let pair = |line: &http::HeaderValue| {
        let text = line.to_str().expect("text");
        text.split(';').next().expect("a pair").to_owned()
    };
    let all: Vec<String> = answer.get_all(http::header::SET_COOKIE).iter().map(pair).collect();
    let mut request = HeaderMap::new();
    if !all.is_empty() {
        request.insert(http::header::COOKIE, all.join("; ").parse().expect("a value"));
    }
    request
}

/// What an endpoint's answer tells a client that came with these headers.
fn served(session: &Arc<Session>, request: &HeaderMap, by: &Endpoint, now: u64) -> HeaderMap {
    let mut answer = HeaderMap::new();
    let visit = Visit::new(session, (&cart(), 80), request, at(now), false);
    visit.mark((by.address, &by.workload), &mut answer);
    answer
}

fn held(session: &Arc<Session>, request: &HeaderMap, ready: &Arc<[Endpoint]>, now: u64) -> Option<usize> {
    let visit = Visit::new(session, (&cart(), 80), request, at(now), false);
    Sessions::default().held(&visit, ready)
}

fn set_cookie(answer: &HeaderMap) -> &str {
    answer.get(http::header::SET_COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[test]
fn a_client_finds_its_endpoint_wherever_it_stands_and_is_told_once() {
    let session = session(cookie(false), None, &[1]);
    let ready = endpoints(&[1, 2, 3]);
    for (place, endpoint) in ready.iter().enumerate() {
        let answer = served(&session, &HeaderMap::new(), endpoint, 0);
        let request = kept(&answer);
        assert_eq!(held(&session, &request, &ready, 9_999_999), Some(place));
        assert_eq!(served(&session, &request, endpoint, 1), HeaderMap::new(), "it has it already");
        let moved = endpoints(&[9, 3, 2, 1]);
        assert_eq!(held(&session, &request, &moved, 1), Some(3 - place));
        let gone = endpoints(&[9]);
        assert_eq!(held(&session, &request, &gone, 1), None);
        let new = kept(&served(&session, &request, &gone[0], 1));
        assert_eq!(held(&session, &new, &endpoints(&[1, 2, 3, 9]), 1), Some(3), "a new session replaces it");
    }
}

#[test]
fn an_address_that_went_to_another_workload_is_another_endpoint() {
    let session = session(cookie(false), None, &[1]);
    let ready = endpoints(&[1]);
    let request = kept(&served(&session, &HeaderMap::new(), &ready[0], 0));
    let other: Arc<[Endpoint]> = [Endpoint { workload: "other".into(), ..ready[0].clone() }].into();
    assert_eq!(held(&session, &request, &other, 0), None);
}

#[test]
fn attributes_follow_the_session_and_the_clients_side() {
    let ready = endpoints(&[1]);
    let told = |permanent, limit, secure| {
        let session = session(cookie(permanent), limit, &[1]);
        let mut answer = HeaderMap::new();
        let visit = Visit::new(&session, (&cart(), 80), &HeaderMap::new(), at(0), secure);
        visit.mark((ready[0].address, &ready[0].workload), &mut answer);
        let all = set_cookie(&answer).to_owned();
        all.split_once("; ").expect("attributes").1.to_owned()
    };
    assert_eq!(told(false, None, false), "Path=/shop; HttpOnly; SameSite=Strict");
    assert_eq!(told(false, Some(300), true), "Path=/shop; HttpOnly; SameSite=Strict; Secure");
    assert_eq!(told(true, Some(300), false), "Path=/shop; HttpOnly; SameSite=Strict; Max-Age=300");
}

#[test]
fn a_session_ends_at_its_absolute_timeout_however_often_it_is_used() {
    let session = session(cookie(false), Some(300), &[1]);
    let ready = endpoints(&[1, 2]);
    let request = kept(&served(&session, &HeaderMap::new(), &ready[1], 0));
    assert_eq!(held(&session, &request, &ready, 299), Some(1));
    assert_eq!(held(&session, &request, &ready, 300), None);
    let again = served(&session, &request, &ready[1], 300);
    assert_eq!(held(&session, &kept(&again), &ready, 599), Some(1), "the new one has its own time");
    assert!(!kept(&again).is_empty());
}

#[test]
fn a_key_that_goes_takes_no_session_along_and_gives_none_more_time() {
    let ready = endpoints(&[1, 2]);
    let (old, both) = (session(cookie(true), Some(300), &[1]), session(cookie(true), Some(300), &[2, 1]));
    let new = session(cookie(true), Some(300), &[2]);
    let request = kept(&served(&old, &HeaderMap::new(), &ready[1], 0));
    assert_eq!(held(&both, &request, &ready, 100), Some(1));
    let renewed = served(&both, &request, &ready[1], 100);
    assert!(set_cookie(&renewed).ends_with("; Max-Age=200"), "{renewed:?}");
    assert_eq!(held(&new, &kept(&renewed), &ready, 299), Some(1));
    assert_eq!(held(&new, &kept(&renewed), &ready, 300), None);
    assert_eq!(held(&new, &request, &ready, 100), None, "the old key is gone");
}

#[test]
fn a_header_carries_a_session_too() {
    let session = session(SessionCarrier::Header("X-Session".parse().expect("a header")), None, &[1]);
    let ready = endpoints(&[1, 2]);
    let answer = served(&session, &HeaderMap::new(), &ready[1], 0);
    assert_eq!(answer.len(), 1);
    assert!(!answer["x-session"].is_empty());
    assert_eq!(held(&session, &answer, &ready, 0), Some(1));
    assert_eq!(served(&session, &answer, &ready[1], 0), HeaderMap::new());
}

#[test]
fn without_a_key_nothing_is_told_and_nothing_found() {
    let with = session(cookie(false), None, &[1]);
    let without = session(cookie(false), None, &[]);
    let ready = endpoints(&[1]);
    let request = kept(&served(&with, &HeaderMap::new(), &ready[0], 0));
    assert_eq!(held(&without, &request, &ready, 0), None);
    assert_eq!(served(&without, &request, &ready[0], 0), HeaderMap::new());
}

#[test]
fn each_backend_of_a_split_keeps_its_own_session_in_one_cookie() {
    let session = session(cookie(false), None, &[1]);
    let sessions = Sessions::default();
    let ready = endpoints(&[1, 2, 3]);
    let names: Vec<ObjectName> = (0..6).map(|n| ObjectName::new("shop", format!("b{n}"))).collect();
    let mut request = HeaderMap::new();
    for (n, name) in names.iter().enumerate() {
        let visit = Visit::new(&session, (name, 80), &request, at(0), false);
        assert_eq!(sessions.held(&visit, &ready), None);
        let mut answer = HeaderMap::new();
        visit.mark((ready[n % 3].address, &ready[n % 3].workload), &mut answer);
        request = kept(&answer);
    }
    for (n, name) in names.iter().enumerate() {
        let visit = Visit::new(&session, (name, 80), &request, at(0), false);
        let expected = (n >= 2).then_some(n % 3);
        assert_eq!(sessions.held(&visit, &ready), expected, "the last four are kept: {n}");
        let other_port = Visit::new(&session, (name, 81), &request, at(0), false);
        assert_eq!(sessions.held(&other_port, &ready), None);
    }
}

#[test]
fn a_value_is_found_among_many_cookies_and_lines_quoted_or_not() {
    let session = session(cookie(false), None, &[1]);
    let ready = endpoints(&[1, 2]);
    let value = kept(&served(&session, &HeaderMap::new(), &ready[1], 0));
    let pair = value[http::header::COOKIE].to_str().expect("text").to_owned();
    let (_, value) = pair.split_once('=').expect("a pair");
    let many: String = (0..500).map(|n| format!("c{n}=s; ")).collect();
    for lines in [
        vec![format!("{many}{pair}")],
        vec![format!("a=b; {pair};{many}")],
        vec!["a=b".to_owned(), format!("s=\"{value}\"")],
        vec![format!("s=; s=junk; s={}; {pair}", "x".repeat(8000))],
        vec![format!("S={value}; xs={value}; {pair}")],
    ] {
        let mut request = HeaderMap::new();
        for line in lines {
            request.append(http::header::COOKIE, line.parse().expect("a value"));
        }
        assert_eq!(held(&session, &request, &ready, 0), Some(1), "{request:?}");
    }
    for nobodys in [format!("S={value}"), format!("xs={value}"), format!("s={value}.{}", "A".repeat(200))] {
        let mut request = HeaderMap::new();
        request.insert(http::header::COOKIE, nobodys.parse().expect("a value"));
        assert_eq!(held(&session, &request, &ready, 0), None, "{nobodys}");
    }
}

#[test]
fn names_of_endpoints_are_made_when_the_endpoints_change_and_not_for_each_request() {
    let session = session(cookie(false), None, &[1]);
    let sessions = Sessions::default();
    let ready = endpoints(&[1, 2]);
    let request = kept(&served(&session, &HeaderMap::new(), &ready[1], 0));
    let visit = Visit::new(&session, (&cart(), 80), &request, at(0), false);
    for _ in 0..100 {
        assert_eq!(sessions.held(&visit, &ready), Some(1));
    }
    assert_eq!(sessions.made(), 1);
    assert_eq!(sessions.held(&visit, &endpoints(&[2])), Some(0));
    assert_eq!(sessions.made(), 2);
}

#[test]
fn no_changed_bit_of_a_token_leads_anywhere_and_none_tells_an_address() {
    let session = session(cookie(false), None, &[1]);
    let ready = endpoints(&[1, 2]);
    let request = kept(&served(&session, &HeaderMap::new(), &ready[1], 0));
    let pair = request[http::header::COOKIE].to_str().expect("text").to_owned();
    let token = Sealed::from_text(&pair.as_bytes()[2..]).expect("a token");
    let text = |token: &Sealed| {
        let mut text = String::from("s=");
        token.write(&mut text);
        text
    };
    assert_eq!(text(&token), pair);
    let (bytes, address) = (pair.as_bytes(), ready[1].address.to_string());
    assert!(!bytes.windows(address.len()).any(|part| part == address.as_bytes()));
    for at in 2..bytes.len() {
        for other in [b'A', b'_', bytes[at] ^ 1] {
            let mut changed = bytes.to_vec();
            changed[at] = other;
            if changed == bytes {
                continue;
            }
            let mut request = HeaderMap::new();
            request.insert(http::header::COOKIE, http::HeaderValue::from_bytes(&changed).expect("a value"));
            assert_eq!(held(&session, &request, &ready, 0), None, "{at}");
        }
    }
}

proptest! {
    #[test]
    fn any_cookie_is_read_without_a_session_in_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut request = HeaderMap::new();
        let line = [b"s=".as_slice(), &bytes].concat();
        if let Ok(value) = http::HeaderValue::from_bytes(&line) {
            request.insert(http::header::COOKIE, value);
        }
        let (session, ready) = (session(cookie(false), None, &[1]), endpoints(&[1, 2]));
        prop_assert_eq!(held(&session, &request, &ready, 0), None);
        let answer = served(&session, &request, &ready[0], 0);
        prop_assert_eq!(held(&session, &kept(&answer), &ready, 0), Some(0));
        prop_assert!(set_cookie(&answer).len() < 300);
    }
}
