//! What has to hold before an installation, and goes on having to.

use mesh_objects::{ObjectKind, group};
use serde_json::Value as Json;

use super::{Found, Subject, Verdict, failed, is_in, passed, text, warned};
use crate::access::plural;
use crate::definitions::definitions;

/// The oldest Kubernetes whose API is enough: its definitions know the rules of the Gateway API.
const OLDEST: (u32, u32) = (1, 28);
/// The version of the Gateway API that the controller is made for.
const GATEWAY_API: (u32, u32) = (1, 7);
/// Certificates are valid from five minutes ago, so that a clock may be behind by less than that.
const SKEW: i64 = 240;

const VERSION: &str = "gateway.networking.k8s.io/bundle-version";
const CHANNEL: &str = "gateway.networking.k8s.io/channel";

pub(super) fn judge(found: &Found, subject: &Subject) -> Vec<Verdict> {
    vec![
        server(found),
        permissions(found),
        clock(found),
        gateway_api(found),
        definitions_of_ours(found),
        namespace(found, subject),
        class(found, subject),
        neighbours(found, subject),
    ]
}

fn server(found: &Found) -> Verdict {
    let number = |path: &str| text(&found.version, path).trim_end_matches('+').parse::<u32>();
    let version = text(&found.version, "/gitVersion");
    match (number("/major"), number("/minor")) {
        (Ok(major), Ok(minor)) if (major, minor) >= OLDEST => {
            passed("server", format!("Kubernetes {version}"))
        }
        _ => {
            let (major, minor) = OLDEST;
            let message = format!("Kubernetes {version} is older than {major}.{minor}");
            failed("server", message, "upgrade the cluster")
        }
    }
}

fn permissions(found: &Found) -> Verdict {
    match found.denied.as_slice() {
        [] => passed("permissions", "this account may create everything that an installation needs"),
        denied => failed(
            "permissions",
            format!("this account may not create {}", denied.join(", ")),
            "install with an account that may, such as one with the ClusterRole cluster-admin",
        ),
    }
}

fn clock(found: &Found) -> Verdict {
    match found.ahead {
        None => warned("clock", "the API server does not say the time", "compare the clocks by hand"),
        Some(ahead) if ahead.abs() <= SKEW => passed("clock", "the API server's clock is ours"),
        Some(ahead) => {
            let word = if ahead > 0 { "ahead of" } else { "behind" };
            let message =
                format!("the API server's clock is {} seconds {word} this machine's", ahead.unsigned_abs());
            failed("clock", message, "certificates would not be valid yet or any more: set the clocks")
        }
    }
}

/// The kinds of the Gateway API that are read and not served.
fn unserved(upstream: &[Json]) -> Vec<&'static str> {
    let serves = |kind: ObjectKind| {
        let name = format!("{}.{}", plural(kind), kind.group());
        let definition = upstream.iter().find(|definition| definition["metadata"]["name"] == *name);
        let versions = definition.and_then(|definition| definition["spec"]["versions"].as_array());
        versions
            .into_iter()
            .flatten()
            .any(|version| version["served"] == true && kind.versions().contains(&text(version, "/name")))
    };
    let all = ObjectKind::ALL.iter().copied().filter(|kind| kind.group() == group::GATEWAY);
    all.filter(|kind| !serves(*kind)).map(ObjectKind::as_str).collect()
}

fn gateway_api(found: &Found) -> Verdict {
    let install = format!(
        "kubectl apply --server-side -f https://github.com/kubernetes-sigs/gateway-api/releases/download/\
         v{}.{}.0/standard-install.yaml",
        GATEWAY_API.0, GATEWAY_API.1
    );
    let annotation = |definition: &Json, name: &str| {
        definition["metadata"]["annotations"][name].as_str().unwrap_or("unknown").to_owned()
    };
    let mut versions: Vec<_> = found
        .upstream
        .iter()
        .map(|d| format!("{} {}", annotation(d, VERSION), annotation(d, CHANNEL)))
        .collect();
    versions.sort_unstable();
    versions.dedup();
    let message = match versions.as_slice() {
        [] => {
            let message = "the cluster has no Gateway API, so nothing can be configured with it";
            return warned("gateway-api", message, install);
        }
        [one] => format!("Gateway API {one}"),
        several => {
            let message = format!("definitions of several releases: {}", several.join(", "));
            return warned("gateway-api", message, format!("install one release whole: {install}"));
        }
    };
    let missing = unserved(&found.upstream);
    if !missing.is_empty() {
        let message = format!("{message}; it has no {}", missing.join(", "));
        return warned(
            "gateway-api",
            message,
            format!("objects of these kinds need a newer release: {install}"),
        );
    }
    if parse(&versions[0]).is_none_or(|version| version < GATEWAY_API) {
        let hint = format!("fields that it lacks cannot be used: {install}");
        return warned("gateway-api", format!("{message} is older than the mesh knows it"), hint);
    }
    passed("gateway-api", message)
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn definitions_of_ours(found: &Found) -> Verdict {
    let named = |name: &Json| found.own.iter().find(|definition| definition["metadata"]["name"] == *name);
    for ours in definitions() {
        let name = &ours["metadata"]["name"];
        let Some(theirs) = named(name) else { continue };
        if let Some(place) = lacks(&ours["spec"]["versions"], &theirs["spec"]["versions"], "versions") {
            let message =
                format!("{} is of another release: it lacks {place}", name.as_str().unwrap_or_default());
            return warned("definitions", message, "meshctl install brings it up to date");
        }
    }
    match found.own.len() {
        0 => passed("definitions", "none of ours is there yet; meshctl install brings them"),
        some => passed("definitions", format!("{some} of ours, of this release")),
    }
}

/// The first key of ours that is not in theirs. A server adds defaults and takes nothing away.
fn lacks(ours: &Json, theirs: &Json, place: &str) -> Option<String> {
    match (ours, theirs) {
        (Json::Object(ours), theirs) => ours.iter().find_map(|(key, value)| {
            let place = format!("{place}.{key}");
            // What is written empty may come back as nothing.
            match theirs.get(key) {
                None if *value == serde_json::json!({}) || *value == serde_json::json!([]) => None,
                None => Some(place),
                Some(theirs) => lacks(value, theirs, &place),
            }
        }),
        (Json::Array(ours), Json::Array(theirs)) => ours.iter().enumerate().find_map(|(at, value)| {
            let place = format!("{place}[{at}]");
            theirs.get(at).map_or(Some(place.clone()), |theirs| lacks(value, theirs, &place))
        }),
        _ => (ours != theirs).then(|| place.to_owned()),
    }
}

fn namespace(found: &Found, subject: &Subject) -> Verdict {
    let name = &subject.namespace;
    match &found.namespace {
        None => passed("namespace", format!("{name} is free")),
        Some(namespace) if text(namespace, "/status/phase") == "Terminating" => failed(
            "namespace",
            format!("{name} is being deleted"),
            "wait for its end, or look for what keeps it: kubectl get namespace -o yaml",
        ),
        Some(_) => passed("namespace", format!("{name} exists")),
    }
}

fn class(found: &Found, subject: &Subject) -> Verdict {
    let Some(class) = &found.class else { return passed("class", format!("{} is free", subject.class)) };
    let controller = text(class, "/spec/controllerName");
    if controller == subject.controller {
        return passed("class", format!("{} is ours", subject.class));
    }
    let message = format!("the GatewayClass {} belongs to {controller}", subject.class);
    failed("class", message, "choose another name: --set gatewayClass.name=NAME")
}

fn neighbours(found: &Found, subject: &Subject) -> Verdict {
    let elsewhere = found.controllers.iter().filter(|controller| !is_in(controller, &subject.namespace));
    let argument = format!("--controller-name={}", subject.controller);
    let same = |controller: &&Json| controller.to_string().contains(&argument);
    let places: Vec<&str> = elsewhere.filter(same).map(|found| text(found, "/metadata/namespace")).collect();
    match places.as_slice() {
        [] => passed("neighbours", "no other controller serves our classes"),
        places => failed(
            "neighbours",
            format!("a controller in {} serves {}, too", places.join(", "), subject.controller),
            "two would write the same statuses: uninstall one, or give it a controllerName of its own",
        ),
    }
}
