//! Whom a token proves, against a server in the test.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_ca::key::PrivateKey;
use mesh_model::{
    Delta, Kind, Mesh, ObjectName, OnNode, Origin, Plaintext, Resource, ResourceKey, SourceRef,
};
use mesh_rt::SystemClock;

use super::super::client::fake;
use super::*;

fn answer(name: &str, audiences: &[&str]) -> Value {
    json!({"status": {"authenticated": true, "audiences": audiences, "user": {"username": name,
        "extra": {"authentication.kubernetes.io/pod-name": ["p-1"], "authentication.kubernetes.io/pod-uid": ["u-1"],
            "authentication.kubernetes.io/node-name": ["n1"]}}}})
}

/// The pod of every token here.
fn pod() -> Value {
    json!({"metadata": {"uid": "u-1"}, "status": {"podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}]}})
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
        let found = verdict(&answer, &domain).map(|(proven, _)| proven).ok();
        assert_eq!(found.as_ref().map(|proven| proven.id.to_string()).as_deref(), expected, "{answer}");
        assert!(found.is_none_or(|proven| proven.node == "n1"));
    }
}

fn id(account: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/{account}").parse().expect("an identity")
}

/// A mesh with one pod of account `shop/sa/cart` that the proxy of node `n1` serves, and one with a sidecar.
fn nodes() -> Nodes {
    let workload = |account: &str, node: Option<&str>| {
        let name = ObjectName::new("shop", account);
        let on_node = |node| OnNode {
            node: Arc::from(node),
            confirmed: false,
            probes: BTreeSet::new(),
            keeps_names: false,
        };
        Resource::Workload(Arc::new(Workload {
            key: ResourceKey::local(Kind::Workload, name.clone()),
            source: SourceRef::new("Pod", name.clone(), Origin::Builtin),
            name,
            labels: BTreeMap::new(),
            identity: id(&format!("shop/sa/{account}")),
            addresses: Vec::new(),
            plaintext: Plaintext::default(),
            on_node: node.map(on_node),
            outside: mesh_model::Outside::Allowed,
        }))
    };
    let set = vec![workload("cart", Some("n1")), workload("other", None)];
    let mesh = Mesh::default().apply(&Delta { set, removed: Vec::new() });
    let (_, view) = watch::channel(View { mesh, ..View::default() });
    Nodes { proxy: id("system/sa/mesh-node"), view }
}

#[test]
fn the_proxy_of_a_node_gets_certificates_of_the_pods_it_serves_and_of_no_others() {
    let nodes = nodes();
    let table = [
        ("system/sa/mesh-node", "n1", Some("shop/sa/cart"), Ok("shop/sa/cart")),
        ("system/sa/mesh-node", "n1", None, Ok("system/sa/mesh-node")),
        ("system/sa/mesh-node", "", Some("system/sa/mesh-node"), Ok("system/sa/mesh-node")),
        ("system/sa/mesh-node", "n2", Some("shop/sa/cart"), Err("no pod that the proxy of node n2 serves")),
        ("system/sa/mesh-node", "n1", Some("shop/sa/other"), Err("no pod that the proxy of node n1 serves")),
        ("system/sa/mesh-node", "n1", Some("shop/sa/nobody"), Err("no pod that the proxy of node n1 serves")),
        ("system/sa/mesh-node", "", Some("shop/sa/cart"), Err("does not say on which node")),
        ("shop/sa/mesh-node", "n1", Some("shop/sa/cart"), Err("only the proxies of nodes ask for others")),
        ("shop/sa/other", "n1", Some("shop/sa/cart"), Err("only the proxies of nodes ask for others")),
        ("shop/sa/cart", "n1", Some("system/sa/mesh-node"), Err("only the proxies of nodes ask for others")),
    ];
    for (who, node, asked, expected) in table {
        let proven = Proven { id: id(who), node: node.to_owned(), place: Place::Anywhere };
        match (nodes.grant(proven, asked.map(id).as_ref()), expected) {
            (Ok(given), Ok(expected)) => assert_eq!(given, id(expected)),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
            (given, _) => panic!("{who} on {node} asks for {asked:?} and gets {given:?}"),
        }
    }
}

async fn ask(reviewer: &TokenReviewer, token: Option<&str>) -> Result<SpiffeId, AttestError> {
    ask_from(reviewer, token, Some("10.0.0.7")).await
}

async fn ask_from(
    reviewer: &TokenReviewer,
    token: Option<&str>,
    from: Option<&str>,
) -> Result<SpiffeId, AttestError> {
    let key = PrivateKey::generate();
    let from = from.map(|from| from.parse().expect("an address"));
    reviewer.attest(Evidence { token, peer: None, from, key: key.public(), asked: None }).await
}

#[tokio::test]
async fn a_token_counts_only_where_its_pod_is() {
    let answers = |call: &fake::Call| match call.method.as_str() {
        "POST" => fake::ok(answer("system:serviceaccount:shop:cart", &["mesh-ca"])),
        _ => fake::ok(pod()),
    };
    let reviewer = |anywhere| {
        let api = fake::server(answers).0;
        TokenReviewer::new(api, TrustDomain::default(), SystemClock::shared(), nodes()).anywhere(anywhere)
    };
    let strict = reviewer(false);
    for from in ["10.0.0.7", "fd00::7"] {
        assert!(ask_from(&strict, Some("t"), Some(from)).await.is_ok(), "{from}");
    }
    for from in [Some("10.0.0.8"), None] {
        let refused = ask_from(&strict, Some("t"), from).await;
        assert!(
            matches!(&refused, Err(AttestError::Refused(why)) if why.contains("pod shop/p-1")),
            "{refused:?}"
        );
        assert!(ask_from(&reviewer(true), Some("t"), from).await.is_ok());
    }
    // What a node's proxy says of its pods counts from there, too.
    let said = strict.node_of("t", Some("10.0.0.8".parse().expect("an address"))).await;
    assert!(matches!(&said, Err(AttestError::Refused(why)) if why.contains("no address of it")), "{said:?}");
}

#[tokio::test]
async fn a_token_without_a_pod_proves_nothing() {
    let (api, _) = fake::server(|_| {
        let mut answer = answer("system:serviceaccount:shop:cart", &["mesh-ca"]);
        answer["status"]["user"]["extra"] = json!({});
        fake::ok(answer)
    });
    let reviewer = TokenReviewer::new(api, TrustDomain::default(), SystemClock::shared(), nodes());
    let refused = ask(&reviewer, Some("t")).await;
    assert!(
        matches!(&refused, Err(AttestError::Refused(why)) if why.contains("not that of a pod")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn judgements_are_remembered_and_a_silent_server_means_no_certificate() {
    let (api, calls) = fake::server(|call| match call.body.pointer("/spec/token").and_then(Value::as_str) {
        None => fake::ok(pod()),
        Some("good") => fake::ok(answer("system:serviceaccount:shop:cart", &["mesh-ca"])),
        Some("bad") => fake::ok(json!({"status": {"authenticated": false}})),
        _ => fake::status(503),
    });
    let reviewer = TokenReviewer::new(api, TrustDomain::default(), SystemClock::shared(), nodes());
    assert!(matches!(ask(&reviewer, None).await, Err(AttestError::NoEvidence)));
    for _ in 0..2 {
        assert!(ask(&reviewer, Some("good")).await.is_ok());
        assert!(matches!(ask(&reviewer, Some("bad")).await, Err(AttestError::Refused(_))));
        assert!(matches!(ask(&reviewer, Some("late")).await, Err(AttestError::Unavailable(_))));
    }
    let calls = calls.lock().expect("no panic before").clone();
    assert_eq!(calls.len(), 5, "each judgement once, with the pod of the good one; each silence anew");
    assert_eq!(calls[0].body["spec"]["audiences"], json!([AUDIENCE]));
}

#[tokio::test]
async fn a_flood_of_tokens_is_cut_off() {
    let (api, calls) = fake::server(|_| fake::ok(json!({"status": {"authenticated": false}})));
    let clock = mesh_rt::ManualClock::at(std::time::UNIX_EPOCH);
    let reviewer = TokenReviewer::new(api, TrustDomain::default(), clock, nodes());
    let mut turned_away = 0;
    for number in 0..150 {
        let outcome = ask(&reviewer, Some(&format!("token {number}"))).await;
        turned_away += usize::from(matches!(outcome, Err(AttestError::Unavailable(_))));
    }
    assert_eq!((turned_away, calls.lock().expect("no panic before").len()), (50, 100));
}
