//! Two replicas and one state, against a server that keeps secrets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use mesh_ca::{Authority, Policy};
use mesh_model::TrustDomain;
use mesh_rt::SystemClock;

use super::super::client::fake::{self, Answer, Call};
use super::*;

type Secrets = Arc<Mutex<BTreeMap<String, Value>>>;

/// Secrets as an API server keeps them: with versions, and conflicts.
fn answer(secrets: &Secrets, call: &Call) -> Answer {
    let mut secrets = secrets.lock().expect("no panic before");
    let name = call.path.rsplit('/').next().unwrap_or_default();
    let mut next = call.body.clone();
    match &*call.method {
        "GET" => secrets.get(name).map_or_else(|| fake::status(404), |held| fake::ok(held.clone())),
        "POST" => {
            let name = next["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if secrets.contains_key(&name) {
                return fake::status(409);
            }
            next["metadata"]["resourceVersion"] = json!("1");
            secrets.insert(name, next.clone());
            fake::ok(next)
        }
        _ => {
            let held = secrets.get(name).and_then(|held| held["metadata"]["resourceVersion"].as_str());
            if held != next["metadata"]["resourceVersion"].as_str() {
                return fake::status(409);
            }
            let version: u64 = held.and_then(|held| held.parse().ok()).unwrap_or_default();
            next["metadata"]["resourceVersion"] = json!((version + 1).to_string());
            secrets.insert(name.to_owned(), next.clone());
            fake::ok(next)
        }
    }
}

fn vault(secrets: &Secrets) -> Vault {
    let secrets = Arc::clone(secrets);
    Vault::start("system", move || async move { Ok(fake::server(move |call| answer(&secrets, call)).0) })
        .expect("a thread")
}

fn open(secrets: &Secrets, key: &str) -> Result<Arc<Authority>, mesh_ca::AuthorityError> {
    let key = SealingKey::from_hex(key).expect("a key");
    Authority::open(TrustDomain::default(), Policy::default(), SystemClock::shared(), vault(secrets), key)
}

const ONE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[test]
fn two_replicas_share_one_authority_and_one_of_two_changes_wins() {
    let secrets = Secrets::default();
    let one = open(&secrets, ONE).expect("the first makes it");
    let two = open(&secrets, ONE).expect("the second finds it");
    let roots = |authority: &Authority| authority.bundle().roots().count();
    assert_eq!(one.bundle(), two.bundle());
    one.rotate_root().expect("saved");
    let late = two.rotate_root().expect_err("the state has moved on");
    assert!(late.to_string().contains("another replica"), "{late}");
    assert_eq!((roots(&one), roots(&two)), (2, 1));
    assert!(two.reload().expect("readable"));
    assert_eq!(one.bundle(), two.bundle());
    assert!(!two.reload().expect("readable"), "there is nothing newer");
    two.issue_svid(&"spiffe://cluster.local/ns/a/sa/b".parse().expect("an id")).expect("issued");
}

#[tokio::test]
async fn the_sealing_key_is_made_once() {
    let secrets = Secrets::default();
    let served = Arc::clone(&secrets);
    let (api, _) = fake::server(move |call| answer(&served, call));
    let one = sealing_key(&api, "system", None).await.expect("made");
    let two = sealing_key(&api, "system", None).await.expect("found");
    assert_eq!(one.to_hex(), two.to_hex());
}

#[tokio::test]
async fn a_secret_without_a_key_is_said_and_not_replaced() {
    let secrets = Secrets::default();
    secrets.lock().expect("no panic before").insert(KEY.to_owned(), secret(KEY, b"short"));
    let served = Arc::clone(&secrets);
    let (api, _) = fake::server(move |call| answer(&served, call));
    let error = sealing_key(&api, "system", None).await.expect_err("no key");
    assert!(matches!(error, SealingError::Form(_)), "{error}");
}
