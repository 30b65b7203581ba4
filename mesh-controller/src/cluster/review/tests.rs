//! Whom a token proves, against a server in the test.

use mesh_ca::key::PrivateKey;
use mesh_rt::SystemClock;

use super::super::client::fake;
use super::*;

fn answer(name: &str, audiences: &[&str]) -> Value {
    json!({"status": {"authenticated": true, "audiences": audiences, "user": {"username": name,
        "extra": {"authentication.kubernetes.io/pod-name": ["p-1"]}}}})
}

#[test]
fn a_review_proves_a_service_account_or_nothing() {
    let domain = TrustDomain::default();
    let table = [
        (
            answer("system:serviceaccount:shop:cart", &["mesh-ca"]),
            Some("spiffe://cluster.local/ns/shop/sa/cart"),
        ),
        (answer("system:serviceaccount:shop:cart", &["other"]), None),
        (answer("system:serviceaccount:shop:cart", &[]), None),
        (answer("system:node:n1", &["mesh-ca"]), None),
        (answer("system:serviceaccount:shop", &["mesh-ca"]), None),
        (json!({"status": {"authenticated": false, "error": "expired"}}), None),
        (json!({}), None),
    ];
    for (answer, expected) in table {
        let found = verdict(&answer, &domain).ok().map(|id| id.to_string());
        assert_eq!(found.as_deref(), expected, "{answer}");
    }
}

async fn ask(reviewer: &TokenReviewer, token: Option<&str>) -> Result<SpiffeId, AttestError> {
    let key = PrivateKey::generate();
    reviewer.attest(Evidence { token, peer: None, key: key.public() }).await
}

#[tokio::test]
async fn judgements_are_remembered_and_a_silent_server_means_no_certificate() {
    let (api, calls) = fake::server(|call| match call.body.pointer("/spec/token").and_then(Value::as_str) {
        Some("good") => fake::ok(answer("system:serviceaccount:shop:cart", &["mesh-ca"])),
        Some("bad") => fake::ok(json!({"status": {"authenticated": false}})),
        _ => fake::status(503),
    });
    let reviewer = TokenReviewer::new(api, TrustDomain::default(), SystemClock::shared());
    assert!(matches!(ask(&reviewer, None).await, Err(AttestError::NoEvidence)));
    for _ in 0..2 {
        assert!(ask(&reviewer, Some("good")).await.is_ok());
        assert!(matches!(ask(&reviewer, Some("bad")).await, Err(AttestError::Refused(_))));
        assert!(matches!(ask(&reviewer, Some("late")).await, Err(AttestError::Unavailable(_))));
    }
    let calls = calls.lock().expect("no panic before").clone();
    assert_eq!(calls.len(), 4, "each judgement once, each silence anew");
    assert_eq!(calls[0].body["spec"]["audiences"], json!([AUDIENCE]));
}

#[tokio::test]
async fn a_flood_of_tokens_is_cut_off() {
    let (api, calls) = fake::server(|_| fake::ok(json!({"status": {"authenticated": false}})));
    let clock = mesh_rt::ManualClock::at(std::time::UNIX_EPOCH);
    let reviewer = TokenReviewer::new(api, TrustDomain::default(), clock);
    let mut turned_away = 0;
    for number in 0..150 {
        let outcome = ask(&reviewer, Some(&format!("token {number}"))).await;
        turned_away += usize::from(matches!(outcome, Err(AttestError::Unavailable(_))));
    }
    assert_eq!((turned_away, calls.lock().expect("no panic before").len()), (50, 100));
}
