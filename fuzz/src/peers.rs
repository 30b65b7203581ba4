//! Targets for what comes from other machines and from the disk: certificates and requests for them, tokens, ClientHello,
//! trace context, ADS requests, answers of name servers, the sealed store.

use std::net::IpAddr;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue};
use mesh_ca::csr::{self, CsrError};
use mesh_ca::jwt::{self, JwtError};
use mesh_ca::profile::{self, Leaf, Signing};
use mesh_ca::store::{self, SealingKey, UnsealError};
use mesh_ca::{PrivateKey, PublicKey, TrustBundle};
use mesh_dns::message::{Answer, Family, Question};
use mesh_dns::query::{Kind, Known, Place, Query};
use mesh_proxy::telemetry::trace::TraceContext;
use mesh_proxy::tls::{self, FirstBytes};
use mesh_xds::Types;
use mesh_xds::proto;
use mesh_xds::session::server::{Limits, Scope, ServerSession};

use crate::{planted, text};

/// The key of the seeds; it protects nothing.
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Certificates and keys in DER: a leaf that passes the profile has the identity that is read from it alone.
pub fn certificate(bytes: &[u8]) {
    let id = profile::parse_svid_id(bytes);
    if let Ok(leaf) = Leaf::parse(bytes) {
        assert_eq!(id.as_ref(), Ok(leaf.id()));
        planted(leaf.id().path() != "/ns/shop/sa/web");
    }
    let _ = Signing::parse(bytes);
    let _ = PublicKey::from_spki(bytes);
    let _ = PrivateKey::from_pkcs8(bytes);
}

/// Certificate requests: one that holds carries the key that comes out, and no other bytes mean the same.
pub fn certificate_request(bytes: &[u8]) {
    match csr::parse(bytes) {
        Ok(key) => assert!(bytes.windows(key.spki().len()).any(|part| part == key.spki())),
        Err(error) => planted(error == CsrError::Key),
    }
}

/// JWT-SVIDs: nothing holds where no key is believed, and the subject is a SPIFFE ID before its trust domain is asked for.
pub fn jwt_svid(bytes: &[u8]) {
    let Some(token) = text(bytes) else { return };
    let domain = "cluster.local".parse().expect("a trust domain");
    let bundle = TrustBundle::new(domain, Vec::new(), 0).expect("no roots are not too many");
    match jwt::validate(token, "reports", &[bundle].into_iter().collect(), SystemTime::UNIX_EPOCH) {
        Ok(claims) => panic!("nobody signed it: {claims:?}"),
        Err(error) => planted(matches!(error, JwtError::Untrusted(_))),
    }
}

/// The first bytes of a connection: more bytes never change what the first ones decided.
pub fn client_hello(bytes: &[u8]) {
    let whole = tls::look(bytes);
    for length in [1, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let beginning = tls::look(&bytes[..length.min(bytes.len())]);
        if let (Ok(Some(early)), Ok(Some(late))) = (&beginning, &whole) {
            assert_eq!(early, late);
        }
    }
    if let Ok(Some(FirstBytes::Tls(hello))) = whole {
        let sni = hello.sni.as_deref().unwrap_or_default();
        assert!(!sni.bytes().any(|b| b.is_ascii_uppercase()), "{sni}");
        let other_name = !matches!(sni, "" | "cart.shop.test");
        planted(other_name || hello.alpn.iter().any(|protocol| protocol.len() == 2 && protocol != b"h2"));
    }
}

/// `traceparent`: what is read is written back with the same trace.
pub fn trace_context(bytes: &[u8]) {
    let Some(context) = TraceContext::parse(bytes) else { return };
    assert!(context.trace_id != [0; 16] && context.span_id != [0; 8]);
    let mut headers = HeaderMap::new();
    context.write(&mut headers);
    assert_eq!(TraceContext::read(&mut headers), Some(context));
    let mut twice = HeaderMap::new();
    for _ in 0..2 {
        twice.append(
            "traceparent",
            HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        );
    }
    assert_eq!(TraceContext::read(&mut twice), None);
    planted(!context.sampled);
}

/// Requests on an ADS stream, several on one session.
pub fn xds_request(bytes: &[u8]) {
    let mut session = ServerSession::new(Types::mesh(), Scope::default(), Limits::default(), None);
    for part in bytes.split(|byte| *byte == 0xff) {
        let Ok(request) = proto::decode_request(part) else { return };
        planted(request.resource_names_subscribe.len() > 2);
        if session.request(request).is_err() {
            return;
        }
        session.take_events();
    }
}

/// Answers of name servers: whatever it says, an answer is bounded and of the family that was asked for.
pub fn dns_answer(bytes: &[u8]) {
    for family in [Family::V4, Family::V6] {
        let question = Question::new(7, "api.example.com", family).expect("the name is a constant");
        let Ok(answer) = question.answer(bytes) else { continue };
        if let Answer::Addresses(addresses, _) = &answer {
            assert!(addresses.len() * 10 <= bytes.len());
            assert!(addresses.iter().all(|address| address.is_ipv4() == (family == Family::V4)));
        }
        planted(matches!(answer, Answer::Failed(code) if code > 5));
    }
}

/// Questions of applications: whatever one says, each answer is bounded and is one to this question.
pub fn dns_query(bytes: &[u8]) {
    let Ok(query) = Query::read(bytes) else { return };
    let many: Vec<IpAddr> = (0..=u8::MAX).map(|n| IpAddr::from([10, 0, 0, n])).collect();
    let place = Place { name: "a.b".to_owned(), port: 80, addresses: many.clone() };
    for known in [Known::Addresses(many), Known::NoSuchName, Known::Places(vec![place])] {
        let answer = query.answer(&known, "cluster.local", query.limit());
        assert!(answer.len() <= query.limit() && query.is_answered_by(&answer));
    }
    assert!(query.is_answered_by(&query.failed()));
    planted(query.kind() == Kind::Other(255) && query.labels().len() > 2);
}

/// Sealed bytes from a disk: nothing opens that was not sealed.
pub fn sealed_store(bytes: &[u8]) {
    let key = SealingKey::from_hex(KEY).expect("the key is a constant");
    match store::open(bytes, &key, "fuzz") {
        Ok(_) => assert!(bytes.len() > 64),
        Err(error) => planted(matches!(error, UnsealError::Version(version) if version > 255)),
    }
}
