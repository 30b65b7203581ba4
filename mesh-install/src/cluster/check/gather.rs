//! Reads from a cluster what the checks judge.

use std::time::SystemTime;

use mesh_objects::{ObjectKind, Timestamp, group};
use serde_json::{Value as Json, json};

use super::{Found, Subject};
use crate::access::plural;
use crate::cluster::api::{Api, CallError};
use crate::cluster::apply::path;
use crate::definitions::definitions;
use crate::render::{GATEWAY_API, NAME};
use crate::{Values, render};

pub(super) async fn gather(api: &Api, subject: &Subject, now: SystemTime) -> Result<Found, CallError> {
    let version = api.get("/version").await?;
    let date = version.date.as_deref().and_then(|date| httpdate::parse_http_date(date).ok());
    let mut found = Found {
        version: version.body,
        ahead: date.map(|date| seconds_between(now, date)),
        denied: denied(api, subject).await?,
        ..Found::default()
    };
    for kind in ObjectKind::ALL.iter().filter(|kind| kind.group() == group::GATEWAY) {
        found.upstream.extend(definition(api, &format!("{}.{}", plural(*kind), kind.group())).await?);
    }
    for ours in definitions() {
        found.own.extend(definition(api, ours["metadata"]["name"].as_str().unwrap_or_default()).await?);
    }
    let namespace = &subject.namespace;
    let label = format!("labelSelector=app.kubernetes.io%2Fname%3D{NAME}");
    found.namespace = api.find(&format!("/api/v1/namespaces/{namespace}")).await?;
    if !subject.class.is_empty() {
        found.class = api.find(&format!("/apis/{GATEWAY_API}/gatewayclasses/{}", subject.class)).await?;
    }
    found.controllers = list(api, &format!("/apis/apps/v1/deployments?{label}")).await?;
    found.pods = api.find(&format!("/api/v1/namespaces/{namespace}/pods?{label}")).await?.unwrap_or_default();
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{NAME}");
    found.lease = api.find(&lease).await?;
    let renewed = found.lease.as_ref().and_then(|lease| lease.pointer("/spec/renewTime")?.as_str());
    let renewed = renewed.and_then(|text| text.parse::<Timestamp>().ok());
    found.renewed = renewed.map(|renewed| {
        let here = Timestamp::from_wall(date.unwrap_or(now));
        (here.unix_micros() - renewed.unix_micros()) / 1_000_000
    });
    // Only whether it is there: what it holds is nobody's business.
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets?fieldSelector=metadata.name%3Dmesh-ca");
    found.authority = api.has_any(&secrets).await?;
    found.gateways = list(api, &format!("/apis/{GATEWAY_API}/gateways")).await?;
    Ok(found)
}

fn seconds_between(ours: SystemTime, theirs: SystemTime) -> i64 {
    let seconds = |time| Timestamp::from_wall(time).unix_micros() / 1_000_000;
    seconds(theirs) - seconds(ours)
}

async fn definition(api: &Api, name: &str) -> Result<Option<Json>, CallError> {
    api.find(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")).await
}

async fn list(api: &Api, path: &str) -> Result<Vec<Json>, CallError> {
    let list = api.find(path).await?.unwrap_or_default();
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

/// The kinds that an installation creates and this account may not.
async fn denied(api: &Api, subject: &Subject) -> Result<Vec<String>, CallError> {
    let rendered = render(&Values::default(), &subject.namespace);
    let definition = definitions().into_iter().next();
    let all = rendered.objects.iter().chain(&rendered.class).chain([&rendered.namespace]).chain(&definition);
    let mut denied = Vec::new();
    for object in all {
        // …/[namespaces/NAMESPACE/]RESOURCE/NAME
        let place = path(object);
        let resource = place.rsplit('/').nth(1).unwrap_or_default();
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let attributes =
            json!({"group": group, "resource": resource, "namespace": namespace, "verb": "create"});
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        });
        let answer = api.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await?;
        if answer.body["status"]["allowed"] != true {
            denied.push(resource.to_owned());
        }
    }
    Ok(denied)
}
