//! Which kinds are found, against a server in the test.

use serde_json::json;

use super::super::client::fake::{self, Answer};
use super::*;

/// An API server that serves these kinds, by the path of group and version.
fn serving(groups: &'static [(&'static str, &'static [(&'static str, &'static str)])]) -> Api {
    fake::server(move |call| -> Answer {
        if call.path == "/apis" {
            return listing(groups.iter().map(|(path, _)| *path));
        }
        let found = groups.iter().find(|(path, _)| *path == call.path);
        let Some((_, kinds)) = found else { return fake::status(404) };
        let resource = |(kind, name): &(&str, &str)| json!({"kind": kind, "name": name});
        let mut resources: Vec<Value> = kinds.iter().map(resource).collect();
        resources.extend(kinds.iter().map(|(kind, name)| resource(&(kind, &format!("{name}/status")))));
        fake::ok(json!({"resources": resources}))
    })
    .0
}

/// The groups of these paths, as a server lists them.
fn listing<'p>(paths: impl Iterator<Item = &'p str>) -> Answer {
    let names = paths.filter_map(|path| path.strip_prefix("/apis/"));
    let groups: Vec<Value> = names.map(|name| json!({"versions": [{"groupVersion": name}]})).collect();
    fake::ok(json!({"groups": groups}))
}

const CORE: (&str, &[(&str, &str)]) = ("/api/v1", &[("Service", "services"), ("Secret", "secrets")]);

fn shown(served: &Served) -> Vec<String> {
    served.iter().map(Resource::path).collect()
}

#[tokio::test]
async fn the_most_stable_served_version_of_each_kind_is_used_and_others_are_missing() {
    let api = serving(&[
        CORE,
        ("/apis/gateway.networking.k8s.io/v1", &[("HTTPRoute", "httproutes")]),
        ("/apis/gateway.networking.k8s.io/v1beta1", &[("HTTPRoute", "httproutes"), ("Gateway", "gateways")]),
        ("/apis/gateway.networking.k8s.io/v1alpha2", &[("TLSRoute", "tlsroutes")]),
    ]);
    let served = discover(&api, &Served::default()).await.expect("it answers");
    let expected = [
        "/apis/gateway.networking.k8s.io/v1beta1/gateways",
        "/apis/gateway.networking.k8s.io/v1/httproutes",
        "/api/v1/secrets",
        "/api/v1/services",
        "/apis/gateway.networking.k8s.io/v1alpha2/tlsroutes",
    ];
    assert_eq!(shown(&served), expected);
}

#[tokio::test]
async fn a_server_without_our_definitions_is_served_by_core_objects_alone() {
    let served = discover(&serving(&[CORE]), &Served::default()).await.expect("it answers");
    assert_eq!(shown(&served), ["/api/v1/secrets", "/api/v1/services"]);
}

#[tokio::test]
async fn a_kind_is_lost_only_when_its_definition_is_gone() {
    let before: Served =
        [Resource { kind: ObjectKind::HttpRoute, version: "v1", plural: "httproutes".to_owned() }]
            .into_iter()
            .collect();
    let definition =
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/httproutes.gateway.networking.k8s.io";
    for (there, expected) in [(true, false), (false, true)] {
        let (api, _) = fake::server(move |call| match &*call.path {
            "/apis" => listing(["/apis/gateway.networking.k8s.io/v1"].into_iter()),
            "/api/v1" => fake::ok(json!({"resources": []})),
            path if path == definition && there => {
                fake::ok(json!({"spec": {"versions": [{"name": "v1", "served": true}]}}))
            }
            _ => fake::status(404),
        });
        let outcome = discover(&api, &before).await;
        assert_eq!(outcome.is_ok(), expected, "definition there: {there}");
    }
}

#[tokio::test]
async fn nothing_is_known_when_one_question_has_no_answer() {
    let (api, _) = fake::server(|call| match &*call.path {
        "/apis" => listing(["/apis/gateway.networking.k8s.io/v1beta1"].into_iter()),
        path if path.contains("v1beta1") => fake::status(503),
        _ => fake::ok(json!({"resources": []})),
    });
    let error = discover(&api, &Served::default()).await.expect_err("no answer");
    assert_eq!(error.fault(), Fault::Unavailable);
}
