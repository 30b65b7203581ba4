//! What has to hold when the mesh is installed.

use serde_json::Value as Json;

use super::{Found, Subject, Verdict, condition, failed, is_in, passed, text, warned};
use crate::cluster::apply::{Rollout, rollout, troubles};
use crate::definitions::definitions;

/// A lease that was not renewed for so many seconds has no holder.
const STALE: i64 = 15;

pub(super) fn judge(found: &Found, subject: &Subject) -> Vec<Verdict> {
    vec![
        controller(found, subject),
        leader(found),
        authority(found),
        kinds(found),
        accepted(found, subject),
        gateways(found, subject),
    ]
}

fn controller(found: &Found, subject: &Subject) -> Verdict {
    let namespace = &subject.namespace;
    let Some(controller) = found.controllers.iter().find(|controller| is_in(controller, namespace)) else {
        let message = format!("there is no controller in {namespace}");
        return failed("controller", message, "meshctl install, or name its namespace: --namespace NAME");
    };
    match rollout(controller) {
        Rollout::Done => passed("controller", "every replica is available"),
        Rollout::Waiting(why) => {
            let trouble = troubles(&found.pods).map(|trouble| format!("; {trouble}")).unwrap_or_default();
            let hint = format!("kubectl --namespace {namespace} logs deployment/service-mesh-controller");
            failed("controller", format!("{why}{trouble}"), hint)
        }
    }
}

fn leader(found: &Found) -> Verdict {
    let hint = "no status is written meanwhile: see the controllers' logs";
    let holder = found.lease.as_ref().map(|lease| text(lease, "/spec/holderIdentity")).unwrap_or_default();
    match found.renewed {
        Some(ago) if ago <= STALE && !holder.is_empty() => passed("leader", holder),
        Some(ago) if !holder.is_empty() => {
            failed("leader", format!("{holder} has not renewed its lease for {ago} seconds"), hint)
        }
        _ => failed("leader", "no controller leads", hint),
    }
}

fn authority(found: &Found) -> Verdict {
    match found.authority {
        true => passed("authority", "its state is kept in the Secret mesh-ca"),
        false => failed(
            "authority",
            "there is no Secret mesh-ca, so nobody gets a certificate",
            "the controller makes it when it starts: see its log",
        ),
    }
}

fn kinds(found: &Found) -> Verdict {
    let names = |all: &[Json]| -> Vec<String> {
        all.iter().map(|definition| text(definition, "/metadata/name").to_owned()).collect()
    };
    let there = names(&found.own);
    let missing: Vec<String> =
        names(&definitions()).into_iter().filter(|name| !there.contains(name)).collect();
    match missing.as_slice() {
        [] => passed("kinds", "all of our kinds are there"),
        missing => warned(
            "kinds",
            format!("the cluster has no {}", missing.join(", ")),
            "objects of these kinds cannot be made: meshctl install without --skip-crds brings them",
        ),
    }
}

fn accepted(found: &Found, subject: &Subject) -> Verdict {
    let name = &subject.class;
    let Some(class) = &found.class else {
        return warned(
            "accepted",
            format!("there is no GatewayClass {name}, so no gateway is ours"),
            "meshctl install makes it where the cluster has the Gateway API",
        );
    };
    match condition(class, "Accepted") {
        Some(accepted) if accepted["status"] == "True" => {
            passed("accepted", format!("the controller has accepted the class {name}"))
        }
        Some(refused) => failed(
            "accepted",
            format!("the class {name} is not accepted: {}", text(refused, "/message")),
            "correct what the message says",
        ),
        None => failed(
            "accepted",
            format!("nobody has said anything about the class {name}"),
            "the controller does within a second: see its log",
        ),
    }
}

fn gateways(found: &Found, subject: &Subject) -> Verdict {
    let ours = found.gateways.iter().filter(|gateway| gateway["spec"]["gatewayClassName"] == *subject.class);
    let (mut all, mut waiting) = (0, Vec::new());
    for gateway in ours {
        all += 1;
        let programmed = condition(gateway, "Programmed");
        if programmed.is_some_and(|programmed| programmed["status"] == "True") {
            continue;
        }
        let why = programmed.map(|programmed| text(programmed, "/message")).filter(|why| !why.is_empty());
        let (namespace, name) = (text(gateway, "/metadata/namespace"), text(gateway, "/metadata/name"));
        waiting.push(format!("{namespace}/{name}: {}", why.unwrap_or("nothing was said about it yet")));
    }
    match waiting.as_slice() {
        [] => passed("gateways", format!("all {all} are programmed")),
        waiting => failed(
            "gateways",
            format!("{} of {all} are not programmed: {}", waiting.len(), waiting.join("; ")),
            "kubectl describe gateway says more about each",
        ),
    }
}
