//! Secrets appear in no debug output, no log line, no error and no file. A binary of its own, because it takes
//! the log of the whole process.
#![allow(clippy::unwrap_used)] // every line here is a test

use std::fmt::Debug;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use mesh_ca::attest::{Attestor, Evidence, LocalTokenAttestor, TokenKey};
use mesh_ca::csr::CertificateService;
use mesh_ca::rotate::{InProcess, Remote};
use mesh_ca::store::{FileStore, SealingKey, seal};
use mesh_ca::tls::PeerTls;
use mesh_ca::{Authority, Policy, PrivateKey, Rotation, SvidSource};
use mesh_model::SpiffeId;
use mesh_rt::ManualClock;
use tracing_subscriber::fmt::MakeWriter;

fn id(name: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/x/sa/{name}").parse().unwrap()
}

/// Every way in which eight bytes of a secret could be printed.
fn shapes(secret: &[u8]) -> Vec<String> {
    let mut shapes = Vec::new();
    for window in secret.windows(8) {
        shapes.push(window.iter().map(|byte| format!("{byte:02x}")).collect());
        shapes.push(window.iter().map(|byte| format!("{byte:02X}")).collect());
        shapes.push(format!("{window:?}").trim_matches(['[', ']']).to_owned());
    }
    shapes
}

fn hides(what: &str, text: &str, secret: &[u8]) {
    for shape in shapes(secret) {
        assert!(!text.contains(&shape), "{what} shows {shape}");
    }
}

fn printed(thing: &impl Debug) -> String {
    format!("{thing:?} {thing:#?}")
}

/// The private scalar of a P-256 key in PKCS#8: the public half may be shown.
fn scalar(key: &PrivateKey) -> &[u8] {
    &key.pkcs8()[36..68]
}

#[test]
fn the_shapes_find_a_secret_that_is_shown() {
    let secret = *b"canary!!";
    assert!(shapes(&secret).iter().any(|shape| format!("{secret:?}").contains(shape)));
    assert!(shapes(&secret).iter().any(|shape| "63616e6172792121".contains(shape)));
    let key = PrivateKey::generate();
    let public = key.public().spki();
    assert!(!public.windows(32).any(|window| window == scalar(&key)));
    let again = PrivateKey::from_pkcs8(key.pkcs8()).unwrap();
    assert_eq!(scalar(&again), scalar(&key));
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn debug_output_and_logs_hide_keys_and_tokens() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_writer(log.clone()).with_max_level(tracing::Level::TRACE).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_203_000));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca");
    let sealing = "00112233445566778899aabbccddeeff".repeat(2);
    let key = SealingKey::from_hex(&sealing).unwrap();
    let shown_sealing = printed(&key);
    let policy = Policy::scaled(Duration::from_secs(60));
    let store = FileStore::new(&path);
    let shown_store = printed(&store);
    let authority =
        Authority::open("cluster.local".parse().unwrap(), policy, clock.clone(), store, key).unwrap();
    authority.rotate_root().unwrap();
    let source = SvidSource::empty(clock.clone());
    let issuance = InProcess::new(authority.clone(), id("cart"));
    let shown_issuance = printed(&issuance);
    Rotation::new(source.clone(), authority.trust(), issuance).renew().await.unwrap();
    let tokens = LocalTokenAttestor::new(TokenKey::generate(), clock.clone());
    let token = tokens.mint(&id("cart"), Duration::from_secs(60));
    let svid = source.current().unwrap();
    let evidence =
        Evidence { token: Some("mesh1.00"), peer: None, from: None, key: svid.key().public(), asked: None };
    let refused = tokens.attest(evidence).await.unwrap_err();
    tracing::warn!(%refused, ?token, ?svid, "a line of our own");
    let peer = PeerTls::new(source.clone(), authority.trust());
    let remote = Remote::at("127.0.0.1:1".parse().unwrap(), id("ca"), &peer).unwrap();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for line in ["issued", "rotation", "a line of our own"] {
        assert!(log.contains(line), "{line} is not in the log:\n{log}");
    }
    let service = CertificateService::new(authority.clone(), mesh_ca::attest::PeerSvidAttestor);
    let shown = [
        ("log", log),
        ("sealing key", shown_sealing),
        ("store", shown_store),
        ("issuance", shown_issuance),
        ("svid", printed(&svid)),
        ("key", printed(svid.key())),
        ("authority", printed(&authority)),
        ("source", printed(&source)),
        ("peer", printed(&peer)),
        ("remote", printed(&remote)),
        ("tokens", printed(&tokens)),
        ("token", printed(&token)),
        ("service", printed(&service)),
    ];
    let sealing: Vec<u8> = (0u8..16).map(|n| n * 0x11).collect();
    for (what, text) in &shown {
        hides(what, text, scalar(svid.key()));
        hides(what, text, &sealing);
        assert!(!text.contains(&token.expose()[70..]), "{what} shows the token");
    }
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let clear = [&b"certificate"[..], b"\"key\"", b"cluster.local"];
        assert!(clear.iter().all(|word| !bytes.windows(word.len()).any(|window| window == *word)));
    }
    let sealed = seal(svid.key().pkcs8(), &SealingKey::generate(), "test", 1);
    assert!(!sealed.windows(8).any(|window| scalar(svid.key()).windows(8).any(|secret| secret == window)));
}
