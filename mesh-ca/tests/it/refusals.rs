//! Certificates that must be refused, each presented by a client to our server and by a server to our client,
//! in real handshakes. The list is frozen: a row that disappears fails the test too.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_ca::tls::{self, ClientAuth, PeerTls};
use mesh_ca::{Authority, SvidSource, TrustBundle, TrustSource};
use mesh_rt::{Clock, ManualClock};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};
use rustls_pki_types::CertificateDer;

use crate::pki::{blind_client, blind_server, connect, id, start};

const HOUR: Duration = Duration::from_secs(3600);
const GOOD: &str = "spiffe://cluster.local/ns/x/sa/peer";

/// A signing certificate with its key.
struct Ca {
    params: CertificateParams,
    key: KeyPair,
    der: CertificateDer<'static>,
}

impl Ca {
    fn root(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (signing(name), KeyPair::generate().unwrap());
        change(&mut params);
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { params, key, der }
    }

    fn below(above: &Self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (signing(name), KeyPair::generate().unwrap());
        change(&mut params);
        let der = params.signed_by(&key, &above.issuer()).unwrap().der().clone();
        Self { params, key, der }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

fn now() -> SystemTime {
    start().wall()
}

fn signing(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = ((now() - HOUR).into(), (now() + 100 * HOUR).into());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// A leaf that keeps every rule.
fn leaf() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    (params.not_before, params.not_after) = ((now() - HOUR).into(), (now() + HOUR).into());
    params.is_ca = IsCa::ExplicitNoCa;
    params.subject_alt_names = vec![uri(GOOD)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// What a peer presents, and what both sides trust.
struct Presented {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    roots: Vec<(&'static str, CertificateDer<'static>)>,
}

/// A leaf changed by the row, below a good root and issuer.
fn changed(change: impl FnOnce(&mut CertificateParams)) -> Presented {
    let root = Ca::root("root", |_| {});
    let issuer = Ca::below(&root, "issuer", |_| {});
    under(&root, &[&issuer], change)
}

/// A leaf below the first issuer of a chain that ends at a root.
fn under(root: &Ca, issuers: &[&Ca], change: impl FnOnce(&mut CertificateParams)) -> Presented {
    let (mut params, key) = (leaf(), KeyPair::generate().unwrap());
    change(&mut params);
    let signer = issuers.first().copied().unwrap_or(root);
    let leaf = params.signed_by(&key, &signer.issuer()).unwrap().der().clone();
    let chain = std::iter::once(leaf).chain(issuers.iter().map(|issuer| issuer.der.clone())).collect();
    Presented { chain, key, roots: vec![("cluster.local", root.der.clone())] }
}

fn extension(oid: &[u64], critical: bool, content: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(critical);
    extension
}

/// Presents it from both ends: what our server said of the client, and our client of the server.
async fn both_sides(presented: &Presented) -> [Result<(), String>; 2] {
    let clock = start();
    let authority = Authority::in_memory("cluster.local".parse().unwrap(), clock.clone()).unwrap();
    let own = authority.issue_svid(&id("us")).unwrap();
    let bundles = presented
        .roots
        .iter()
        .map(|(domain, root)| TrustBundle::new(domain.parse().unwrap(), vec![root.clone()], 1).unwrap());
    let us = PeerTls::new(SvidSource::new(own, clock), TrustSource::new(bundles.collect()));
    let server = tls::server_config(&us, ClientAuth::Required, &[]).unwrap();
    let expected = [GOOD, "spiffe://elsewhere/ns/x/sa/peer", "spiffe://cluster.local/ns/y"];
    let expected = expected.iter().map(|id| id.parse().unwrap()).collect();
    let client = tls::client_config(&us, expected, &[]).unwrap();
    let pkcs8 = presented.key.serialize_der();
    let as_client = connect(blind_client(presented.chain.clone(), &pkcs8), server).await.map(drop);
    let as_server = connect(client, blind_server(presented.chain.clone(), &pkcs8)).await.map(drop);
    [as_client, as_server]
}

/// Every row of the table: its name, what is presented, and what the refusal must say.
fn table() -> Vec<(&'static str, Presented, &'static str)> {
    [leaf_rows(), name_rows(), usage_rows(), path_rows()].into_iter().flatten().collect()
}

type Rows = Vec<(&'static str, Presented, &'static str)>;

fn leaf_rows() -> Rows {
    let self_signed = {
        let (params, key) = (leaf(), KeyPair::generate().unwrap());
        let chain = vec![params.self_signed(&key).unwrap().der().clone()];
        Presented { chain, key, roots: vec![("cluster.local", Ca::root("root", |_| {}).der)] }
    };
    let wrong_key = Presented { key: KeyPair::generate().unwrap(), ..changed(|_| {}) };
    let mut tampered = changed(|_| {});
    tampered.chain[0] = {
        let mut der = tampered.chain[0].to_vec();
        let last = der.len() - 1;
        der[last] ^= 1;
        der.into()
    };
    let mut longer = changed(|_| {});
    longer.chain[0] = [&longer.chain[0][..], &[0]].concat().into();
    let mut garbage = changed(|_| {});
    garbage.chain[0] = vec![0x30, 0x03, 0x02, 0x01, 0x01].into();
    vec![
        ("expired", changed(|leaf| leaf.not_after = (now() - Duration::from_secs(1)).into()), "expired at"),
        (
            "not yet valid",
            changed(|leaf| leaf.not_before = (now() + Duration::from_secs(1)).into()),
            "becomes valid at",
        ),
        ("self-signed", self_signed, "no path from"),
        ("key of another certificate", wrong_key, "BadSignature"),
        ("tampered signature", tampered, "no path from"),
        ("bytes after the certificate", longer, "bytes after the certificate"),
        ("no certificate", garbage, "not an X.509 certificate"),
        ("CA leaf", changed(|leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), "be a CA"),
        (
            "name constraints in a leaf",
            changed(|leaf| {
                let content = [0x30, 0x08, 0xa0, 0x06, 0x30, 0x04, 0x82, 0x02, b'a', b'b'];
                leaf.custom_extensions.push(extension(&[2, 5, 29, 30], true, &content));
            }),
            "must not carry name constraints",
        ),
        (
            "unknown critical extension",
            changed(|leaf| leaf.custom_extensions.push(extension(&[1, 3, 6, 1, 4, 1, 99], true, &[5, 0]))),
            "no path from",
        ),
    ]
}

fn name_rows() -> Rows {
    let named = |names: &[SanType]| changed(|leaf| leaf.subject_alt_names = names.to_vec());
    let said = |text: &str| named(&[uri(text)]);
    let dns = SanType::DnsName("cluster.local".try_into().unwrap());
    vec![
        ("no name at all", named(&[]), "no URI subject alternative name"),
        ("DNS name only", named(&[dns]), "no URI subject alternative name"),
        ("two URI names", named(&[uri(GOOD), uri("spiffe://cluster.local/admin")]), "exactly one"),
        ("the same URI twice", named(&[uri(GOOD), uri(GOOD)]), "exactly one"),
        (
            "two extensions of names",
            changed(|leaf| {
                let name = b"spiffe://cluster.local/admin";
                let length = u8::try_from(name.len()).unwrap();
                let content = [&[0x30, length + 2, 0x86, length], &name[..]].concat();
                leaf.custom_extensions.push(extension(&[2, 5, 29, 17], false, &content));
            }),
            "cannot be read",
        ),
        ("another scheme", said("https://cluster.local/ns/x/sa/peer"), "scheme is not spiffe"),
        ("upper-case scheme", said("SPIFFE://cluster.local/ns/x/sa/peer"), "scheme is not spiffe"),
        ("upper-case trust domain", said("spiffe://Cluster.local/ns/x/sa/peer"), "in a trust domain"),
        ("percent in the path", said("spiffe://cluster.local/ns/x/sa/p%65er"), "in a SPIFFE path"),
        ("NUL in the path", said("spiffe://cluster.local/ns/x/sa/peer\0.evil"), "in a SPIFFE path"),
        ("NUL in the trust domain", said("spiffe://cluster.local\0/ns/x/sa/peer"), "in a trust domain"),
        ("user in the authority", said("spiffe://u@cluster.local/ns/x/sa/peer"), "in a trust domain"),
        ("port in the authority", said("spiffe://cluster.local:443/ns/x/sa/peer"), "in a trust domain"),
        ("query", said("spiffe://cluster.local/ns/x/sa/peer?a"), "in a SPIFFE path"),
        ("fragment", said("spiffe://cluster.local/ns/x/sa/peer#a"), "in a SPIFFE path"),
        ("dot segments", said("spiffe://cluster.local/ns/../sa/peer"), "empty or relative"),
        ("trailing slash", said("spiffe://cluster.local/ns/x/sa/peer/"), "empty or relative"),
        ("trust domain alone", said("spiffe://cluster.local"), "needs a path"),
        ("unknown trust domain", said("spiffe://elsewhere/ns/x/sa/peer"), "elsewhere is not trusted"),
    ]
}

fn usage_rows() -> Rows {
    let usage = |usages: &[KeyUsagePurpose]| changed(|leaf| leaf.key_usages = usages.to_vec());
    let extended =
        |usages: &[ExtendedKeyUsagePurpose]| changed(|leaf| leaf.extended_key_usages = usages.to_vec());
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyAgreement, KeyCertSign};
    vec![
        ("keyCertSign", usage(&[DigitalSignature, KeyCertSign]), "must not carry keyCertSign"),
        ("cRLSign", usage(&[DigitalSignature, CrlSign]), "must not carry cRLSign"),
        ("no key usage", usage(&[]), "critical key usage with digitalSignature"),
        ("no digitalSignature", usage(&[KeyAgreement]), "critical key usage with digitalSignature"),
        (
            "key usage not critical",
            changed(|leaf| {
                leaf.key_usages.clear();
                leaf.custom_extensions.push(extension(&[2, 5, 29, 15], false, &[3, 2, 7, 0x80]));
            }),
            "critical key usage with digitalSignature",
        ),
        ("code signing only", extended(&[ExtendedKeyUsagePurpose::CodeSigning]), "does not allow"),
        ("any purpose only", extended(&[ExtendedKeyUsagePurpose::Any]), "does not allow"),
    ]
}

fn path_rows() -> Rows {
    let root = || Ca::root("root", |_| {});
    let with_issuer = |change: fn(&mut CertificateParams)| {
        let root = root();
        let issuer = Ca::below(&root, "issuer", change);
        under(&root, &[&issuer], |_| {})
    };
    let no_issuer = {
        let mut presented = changed(|_| {});
        presented.chain.truncate(1);
        presented
    };
    let stranger = Presented { roots: vec![("cluster.local", root().der)], ..changed(|_| {}) };
    let expired_root = {
        let root = Ca::root("root", |root| root.not_after = (now() - Duration::from_secs(1)).into());
        under(&root, &[&Ca::below(&root, "issuer", |_| {})], |_| {})
    };
    let too_deep = {
        let root = Ca::root("root", |root| root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
        under(&root, &[&Ca::below(&root, "issuer", |_| {})], |_| {})
    };
    let long = {
        let root = root();
        let issuers: Vec<Ca> = (0..5).map(|_| Ca::below(&root, "issuer", |_| {})).collect();
        under(&root, &issuers.iter().collect::<Vec<_>>(), |_| {})
    };
    // Both domains are trusted, each by its own root; one root signs for the other domain.
    let confused = |signs: &'static str, other: &'static str, name: &'static str| {
        let (root, foreign) = (root(), Ca::root("foreign", |_| {}));
        let issuer = Ca::below(&root, "issuer", |_| {});
        let presented = under(&root, &[&issuer], |leaf| leaf.subject_alt_names = vec![uri(name)]);
        Presented { roots: vec![(signs, root.der), (other, foreign.der)], ..presented }
    };
    vec![
        ("issuer left out", no_issuer, "no path from"),
        ("unknown root", stranger, "no path from"),
        ("expired root", expired_root, "no root of trust domain cluster.local is valid now"),
        (
            "expired issuer",
            with_issuer(|issuer| issuer.not_after = (now() - Duration::from_secs(1)).into()),
            "no path from",
        ),
        ("issuer that is no CA", with_issuer(|issuer| issuer.is_ca = IsCa::ExplicitNoCa), "no path from"),
        (
            "issuer without keyCertSign",
            with_issuer(|issuer| issuer.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
            "no path from",
        ),
        (
            "issuer of another trust domain",
            with_issuer(|issuer| issuer.subject_alt_names = vec![uri("spiffe://elsewhere")]),
            "no path from",
        ),
        (
            "issuer with a workload's name",
            with_issuer(|issuer| issuer.subject_alt_names = vec![uri("spiffe://cluster.local/ns/x")]),
            "no path from",
        ),
        (
            "issuer whose DNS constraints exclude all",
            with_issuer(|issuer| {
                issuer.name_constraints = Some(NameConstraints {
                    permitted_subtrees: vec![],
                    excluded_subtrees: vec![GeneralSubtree::DirectoryName(DistinguishedName::new())],
                });
            }),
            "no path from",
        ),
        ("path longer than the root allows", too_deep, "no path from"),
        ("too many intermediates", long, "5 intermediate certificates are more than"),
        (
            "root of a foreign domain signs ours",
            confused("elsewhere", "cluster.local", GOOD),
            "no path from spiffe://cluster.local",
        ),
        (
            "our root signs a foreign domain",
            confused("cluster.local", "elsewhere", "spiffe://elsewhere/ns/x/sa/peer"),
            "no path from spiffe://elsewhere",
        ),
    ]
}

#[tokio::test]
async fn a_good_certificate_is_accepted_on_both_sides() {
    assert_eq!(both_sides(&changed(|_| {})).await, [Ok(()), Ok(())]);
    let with_dns = changed(|leaf| {
        leaf.subject_alt_names.push(SanType::DnsName("reviews".try_into().unwrap()));
    });
    assert_eq!(both_sides(&with_dns).await, [Ok(()), Ok(())], "other kinds of names are allowed beside");
    let without_purpose = changed(|leaf| leaf.extended_key_usages.clear());
    assert_eq!(both_sides(&without_purpose).await, [Ok(()), Ok(())], "extended key usage may be absent");
}

#[tokio::test]
async fn every_bad_certificate_is_refused_on_both_sides() {
    let table = table();
    assert_eq!(table.len(), 49, "the list is frozen");
    for (name, presented, reason) in table {
        let sides = both_sides(&presented).await;
        for (side, said) in ["client", "server"].iter().zip(sides) {
            let said = said.expect_err(&format!("{name}: accepted from a {side}"));
            assert!(said.contains(reason), "{name}, from a {side}: {said}");
        }
    }
}

#[tokio::test]
async fn a_certificate_for_one_side_is_refused_on_the_other() {
    let only = |usage: ExtendedKeyUsagePurpose| changed(|leaf| leaf.extended_key_usages = vec![usage]);
    let [client, server] = both_sides(&only(ExtendedKeyUsagePurpose::ClientAuth)).await;
    assert_eq!(client, Ok(()));
    assert!(server.unwrap_err().contains("does not allow Server"));
    let [client, server] = both_sides(&only(ExtendedKeyUsagePurpose::ServerAuth)).await;
    assert!(client.unwrap_err().contains("does not allow Client"));
    assert_eq!(server, Ok(()));
}

#[tokio::test]
async fn a_server_that_requires_a_certificate_refuses_clients_without_one() {
    let clock = start();
    let authority = Authority::in_memory("cluster.local".parse().unwrap(), clock.clone()).unwrap();
    let server = SvidSource::new(authority.issue_svid(&id("us")).unwrap(), clock.clone());
    let server = PeerTls::new(server, authority.trust());
    let nobody = PeerTls::new(SvidSource::empty(clock), authority.trust());
    let client = || tls::client_config(&nobody, vec![id("us")], &[]).unwrap();
    let strict = tls::server_config(&server, ClientAuth::Required, &[]).unwrap();
    assert!(connect(client(), strict).await.unwrap_err().contains("no certificates"));
    let optional = tls::server_config(&server, ClientAuth::Optional, &[]).unwrap();
    assert_eq!(connect(client(), optional.clone()).await.unwrap().server_saw, None);
    let bad = changed(|leaf| leaf.key_usages.clear());
    let bad = blind_client(bad.chain, &bad.key.serialize_der());
    assert!(connect(bad, optional).await.is_err(), "one that is presented must hold");
}

#[test]
fn a_root_that_may_not_sign_is_no_root() {
    let cases = [
        Ca::root("root", |root| root.is_ca = IsCa::ExplicitNoCa),
        Ca::root("root", |root| root.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
        Ca::root("root", |root| root.subject_alt_names = vec![uri("spiffe://elsewhere")]),
    ];
    for root in cases {
        assert!(TrustBundle::new("cluster.local".parse().unwrap(), vec![root.der], 1).is_err());
    }
    let many = vec![Ca::root("root", |_| {}).der; 17];
    assert!(TrustBundle::new("cluster.local".parse().unwrap(), many, 1).is_err());
}

#[tokio::test]
async fn clocks_may_differ_by_four_minutes() {
    for (behind, fails) in [(0, false), (4, false), (6, true)] {
        let (issuing, reading) = (start(), start());
        let authority = Authority::in_memory("cluster.local".parse().unwrap(), issuing.clone()).unwrap();
        let source = SvidSource::new(authority.issue_svid(&id("us")).unwrap(), issuing.clone());
        let server = PeerTls::new(source.clone(), authority.trust());
        reading.step_wall(issuing.wall() - Duration::from_secs(60 * behind));
        let source: Arc<ManualClock> = reading;
        let own = SvidSource::new(authority.issue_svid(&id("us")).unwrap(), source);
        let client = PeerTls::new(own, authority.trust());
        let config = tls::client_config(&client, vec![id("us")], &[]).unwrap();
        let accept = tls::server_config(&server, ClientAuth::Required, &[]).unwrap();
        match connect(config, accept).await {
            Ok(_) => assert!(!fails, "{behind} minutes"),
            Err(error) => {
                assert!(fails, "{behind} minutes: {error}");
                assert!(error.contains("becomes valid at 2026-11-20T19:25:00Z"), "{error}");
            }
        }
    }
}
