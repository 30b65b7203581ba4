//! Broken clusters, one diagnostic each.

use mesh_objects::{ObjectKind, group};
use serde_json::{Value as Json, json};

use super::{Found, Outcome, Stage, Subject, judge};
use crate::access::plural;
use crate::definitions::definitions;
use crate::{Values, render};

fn subject() -> Subject {
    Subject {
        namespace: "mesh".to_owned(),
        class: "mesh".to_owned(),
        controller: "mesh.io/gateway-controller".to_owned(),
    }
}

fn upstream(version: &str, channel: &str) -> Vec<Json> {
    let kinds = ObjectKind::ALL.iter().filter(|kind| kind.group() == group::GATEWAY);
    let definition = |kind: &ObjectKind| {
        let annotations = json!({
            "gateway.networking.k8s.io/bundle-version": version,
            "gateway.networking.k8s.io/channel": channel,
        });
        json!({
            "metadata": {"name": format!("{}.{}", plural(*kind), kind.group()), "annotations": annotations},
            "spec": {"versions": [{"name": kind.versions()[0], "served": true}]},
        })
    };
    kinds.map(definition).collect()
}

/// A cluster in which everything is as it should be.
fn healthy() -> Found {
    let rendered = render(&Values::default(), "mesh");
    let mut controller = rendered.objects.into_iter().find(|object| object["kind"] == "Deployment").unwrap();
    controller["status"] = json!({"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1});
    let condition = |kind: &str| json!({"conditions": [{"type": kind, "status": "True"}]});
    let mut class = rendered.class.unwrap();
    class["status"] = condition("Accepted");
    let gateway = json!({
        "metadata": {"namespace": "shop", "name": "front"},
        "spec": {"gatewayClassName": "mesh"},
        "status": condition("Programmed"),
    });
    Found {
        version: json!({"major": "1", "minor": "36", "gitVersion": "v1.36.3"}),
        ahead: Some(1),
        denied: Vec::new(),
        upstream: upstream("v1.7.0", "standard"),
        own: definitions(),
        namespace: Some(json!({"status": {"phase": "Active"}})),
        class: Some(class),
        controllers: vec![controller],
        pods: json!({}),
        lease: Some(json!({"spec": {"holderIdentity": "a"}})),
        renewed: Some(2),
        authority: true,
        gateways: vec![gateway],
    }
}

type Break = fn(&mut Found);

#[test]
fn a_healthy_cluster_passes_every_check_and_an_empty_one_can_be_installed_into() {
    for verdict in judge(&healthy(), &subject(), Stage::Either) {
        assert_eq!(verdict.outcome, Outcome::Passed, "{verdict:?}");
    }
    let empty = Found {
        version: json!({"major": "1", "minor": "28+", "gitVersion": "v1.28.0"}),
        ahead: Some(0),
        upstream: upstream("v1.8.1", "experimental"),
        ..Found::default()
    };
    let verdicts = judge(&empty, &subject(), Stage::Either);
    assert_eq!(verdicts.len(), 8, "{verdicts:?}");
    assert!(verdicts.iter().all(|verdict| verdict.outcome == Outcome::Passed), "{verdicts:?}");
}

#[test]
fn each_break_is_found_by_its_own_check_and_by_no_other() {
    use Outcome::{Failed, Warned};
    let table: [(&str, Outcome, &str, Break); 22] = [
        ("server", Failed, "older than 1.28", |f| f.version["minor"] = json!("27")),
        ("permissions", Failed, "clusterroles", |f| f.denied = vec!["clusterroles".to_owned()]),
        ("clock", Warned, "does not say", |f| f.ahead = None),
        ("clock", Failed, "600 seconds ahead", |f| f.ahead = Some(600)),
        ("clock", Failed, "600 seconds behind", |f| f.ahead = Some(-600)),
        ("gateway-api", Warned, "no Gateway API", |f| f.upstream.clear()),
        ("gateway-api", Warned, "v1.4.0 standard is older", |f| f.upstream = upstream("v1.4.0", "standard")),
        ("gateway-api", Warned, "several releases", |f| {
            f.upstream[0] = upstream("v1.6.0", "experimental")[0].clone();
        }),
        ("gateway-api", Warned, "it has no UDPRoute", |f| {
            f.upstream.retain(|d| d["metadata"]["name"] != "udproutes.gateway.networking.k8s.io");
        }),
        ("definitions", Warned, "it lacks versions[0].schema", |f| {
            let schema = &mut f.own[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            schema["properties"].as_object_mut().unwrap().remove("spec");
        }),
        ("namespace", Failed, "being deleted", |f| {
            f.namespace = Some(json!({"status": {"phase": "Terminating"}}));
        }),
        ("neighbours", Failed, "a controller in other", |f| {
            let mut other = f.controllers[0].clone();
            other["metadata"]["namespace"] = json!("other");
            f.controllers.push(other);
        }),
        ("controller", Failed, "0 of 1 replicas", |f| f.controllers[0]["status"] = json!({})),
        ("controller", Failed, "ErrImagePull", |f| {
            f.controllers[0]["status"] = json!({});
            let waiting = json!({"waiting": {"reason": "ErrImagePull"}});
            f.pods = json!({"items": [{"status": {"containerStatuses": [{"state": waiting}]}}]});
        }),
        ("leader", Failed, "no controller leads", |f| (f.lease, f.renewed) = (None, None)),
        ("leader", Failed, "for 60 seconds", |f| f.renewed = Some(60)),
        ("authority", Failed, "no Secret", |f| f.authority = false),
        ("kinds", Warned, "no authorizationpolicies", |f| drop(f.own.remove(0))),
        ("accepted", Warned, "no GatewayClass", |f| f.class = None),
        ("accepted", Failed, "nobody has said", |f| drop(f.class.as_mut().unwrap()["status"].take())),
        ("accepted", Failed, "is not accepted: why", |f| {
            let refused = json!({"type": "Accepted", "status": "False", "message": "why"});
            f.class.as_mut().unwrap()["status"]["conditions"][0] = refused;
        }),
        ("gateways", Failed, "shop/front: no address", |f| {
            let waiting = json!({"type": "Programmed", "status": "False", "message": "no address"});
            f.gateways[0]["status"]["conditions"][0] = waiting;
        }),
    ];
    for (check, outcome, message, broken) in table {
        let mut found = healthy();
        broken(&mut found);
        let verdicts = judge(&found, &subject(), Stage::After);
        let others: Vec<_> = verdicts.iter().filter(|v| v.outcome != Outcome::Passed).collect();
        let [verdict] = others.as_slice() else { panic!("{check}: {others:?}") };
        assert_eq!((verdict.check, verdict.outcome), (check, outcome), "{verdict:?}");
        assert!(verdict.message.contains(message) && verdict.hint.is_some(), "{verdict:?}");
    }
}

#[test]
fn a_class_of_somebody_else_and_an_absent_mesh_are_told() {
    let mut found = healthy();
    found.class.as_mut().unwrap()["spec"]["controllerName"] = json!("example.org/other");
    let verdicts = judge(&found, &subject(), Stage::Before);
    let class = verdicts.iter().find(|verdict| verdict.check == "class").unwrap();
    assert_eq!((class.outcome, class.message.contains("example.org/other")), (Outcome::Failed, true));
    found.controllers.clear();
    let of = |stage| judge(&found, &subject(), stage).into_iter().find(|v| v.check == "controller");
    assert_eq!(of(Stage::Either), None);
    assert_eq!(of(Stage::After).map(|verdict| verdict.outcome), Some(Outcome::Failed));
}
