//! What the API server's pod says about where its token may come from.

use serde_json::json;

use super::*;
use crate::cluster::client::fake;

fn token() -> Pod {
    Pod { namespace: "shop".to_owned(), name: "p-1".to_owned(), uid: "u-1".to_owned() }
}

fn pod(uid: &str, host: bool, addresses: &[&str]) -> fake::Answer {
    let listed: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    let spec = json!({"hostNetwork": host});
    fake::ok(json!({"metadata": {"uid": uid}, "spec": spec, "status": {"podIPs": listed}}))
}

#[tokio::test]
async fn the_pod_decides_from_where_its_token_may_come() {
    let addresses = vec!["10.0.0.7".parse().expect("an address")];
    let there = Place::Pod { name: "shop/p-1".to_owned(), addresses };
    let table = [
        (pod("u-1", false, &["10.0.0.7"]), Ok(there)),
        (pod("u-1", true, &["172.31.0.1"]), Ok(Place::Anywhere)),
        (pod("u-2", false, &["10.0.0.7"]), Err("an earlier pod")),
        (fake::status(404), Err("is gone")),
    ];
    for (answer, expected) in table {
        let (api, calls) = fake::server(move |_| answer.clone());
        match (token().place(&api).await.expect("the server knows"), expected) {
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
            (found, expected) => assert_eq!(found.ok(), expected.ok()),
        }
        assert_eq!(calls.lock().expect("no panic before")[0].path, "/api/v1/namespaces/shop/pods/p-1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_has_no_address_yet_is_waited_for_and_not_for_ever() {
    let mut left = 3;
    let (api, _) = fake::server(move |_| {
        left -= 1;
        pod("u-1", false, if left > 0 { &[] } else { &["10.0.0.7"] })
    });
    assert!(matches!(token().place(&api).await, Ok(Ok(Place::Pod { .. }))));
    let (api, calls) = fake::server(|_| pod("u-1", false, &[]));
    assert_eq!(token().place(&api).await, Err("pod shop/p-1 has no address yet".to_owned()));
    assert_eq!(calls.lock().expect("no panic before").len(), LOOKS + 1);
}
