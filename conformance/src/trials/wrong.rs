//! Objects that are wrong, one of each kind that users write: the status of each says so soon, names a reason, and what
//! is right beside them goes on, in the same object and in others.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::experimental;
use super::scene::{Scene, route};
use crate::clock::Stopwatch;
use crate::say;
use crate::step::wait_for;

/// How long a status may take on a machine that does much else; it is said how long it took.
const SOON: Duration = Duration::from_secs(10);

/// Ports of every protocol, and a TLS listener whose Secret is not there.
const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: mesh
  allowedListeners: {namespaces: {from: Same}}
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: absent, port: 443, protocol: HTTPS, hostname: absent.test, tls: {certificateRefs: [{name: absent}]}}
  - {name: tls, port: 8443, protocol: TLS, tls: {mode: Passthrough}}
  - {name: tcp, port: 9000, protocol: TCP}
  - {name: udp, port: 9001, protocol: UDP}
";

const STANDARD: &str = "gateway.networking.k8s.io/v1";
const EXPERIMENTAL: &str = "gateway.networking.x-k8s.io/v1alpha1";

/// A wrong object, and where its status must say what.
struct Wrong {
    kind: &'static str,
    version: &'static str,
    spec: &'static str,
    /// Conditions of the status, as a JSON pointer.
    conditions: &'static str,
    condition: &'static str,
    reason: &'static str,
}

impl Wrong {
    /// As kubectl names it.
    fn object(&self) -> String {
        format!("{}/wrong", self.kind.to_lowercase())
    }

    fn manifest(&self) -> String {
        let Self { kind, version, spec, .. } = self;
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: wrong}}\nspec:{spec}")
    }
}

const WRONG: &[Wrong] = &[
    Wrong {
        kind: "HTTPRoute",
        version: STANDARD,
        spec: "
  parentRefs: [{name: edge, sectionName: http}]
  rules:
  - matches: [{path: {value: /wrong}}]
    backendRefs: [{name: nobody, port: 80}]
  - matches: [{path: {value: /right}}]
    filters: [{type: RequestRedirect, requestRedirect: {statusCode: 307}}]
",
        conditions: "/status/parents/0/conditions",
        condition: "ResolvedRefs",
        reason: "BackendNotFound",
    },
    Wrong {
        kind: "GRPCRoute",
        version: STANDARD,
        spec: "
  parentRefs: [{name: edge, sectionName: http}]
  hostnames: [grpc.test]
  rules: [{backendRefs: [{name: nobody, port: 80, namespace: default}]}]
",
        conditions: "/status/parents/0/conditions",
        condition: "ResolvedRefs",
        reason: "RefNotPermitted",
    },
    Wrong {
        kind: "TLSRoute",
        version: STANDARD,
        spec: "
  parentRefs: [{name: edge, sectionName: http}]
  hostnames: [tls.test]
  rules: [{backendRefs: [{name: nobody, port: 443}]}]
",
        conditions: "/status/parents/0/conditions",
        condition: "Accepted",
        reason: "NotAllowedByListeners",
    },
    Wrong {
        kind: "TCPRoute",
        version: STANDARD,
        spec: "
  parentRefs: [{name: edge, sectionName: tcp}]
  rules: [{backendRefs: [{name: edge, port: 80, kind: Gateway, group: gateway.networking.k8s.io}]}]
",
        conditions: "/status/parents/0/conditions",
        condition: "ResolvedRefs",
        reason: "InvalidKind",
    },
    Wrong {
        kind: "UDPRoute",
        version: STANDARD,
        spec: "
  parentRefs: [{name: edge, sectionName: nowhere}]
  rules: [{backendRefs: [{name: nobody, port: 53}]}]
",
        conditions: "/status/parents/0/conditions",
        condition: "Accepted",
        reason: "NoMatchingParent",
    },
    Wrong {
        kind: "Gateway",
        version: STANDARD,
        spec: "
  gatewayClassName: mesh
  infrastructure: {parametersRef: {group: mesh.io, kind: Nothing, name: nothing}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
",
        conditions: "/status/conditions",
        condition: "Accepted",
        reason: "InvalidParameters",
    },
    Wrong {
        kind: "ListenerSet",
        version: STANDARD,
        spec: "
  parentRef: {name: edge}
  listeners:
  - {name: clash, port: 9000, protocol: TCP}
  - {name: secret, port: 444, protocol: HTTPS, tls: {certificateRefs: [{name: nobody}]}}
",
        conditions: "/status/listeners/0/conditions",
        condition: "Conflicted",
        reason: "",
    },
    Wrong {
        kind: "BackendTLSPolicy",
        version: STANDARD,
        spec: "
  targetRefs: [{group: \"\", kind: Service, name: other}]
  validation: {hostname: web.test, caCertificateRefs: [{group: \"\", kind: ConfigMap, name: nobody}]}
",
        conditions: "/status/ancestors/0/conditions",
        condition: "ResolvedRefs",
        reason: "InvalidCACertificateRef",
    },
];

/// The same of kinds that only the experimental definitions have.
const WRONG_EXPERIMENTS: &[Wrong] = &[
    Wrong {
        kind: "XBackendTrafficPolicy",
        version: EXPERIMENTAL,
        spec: "
  targetRefs: [{group: \"\", kind: Service, name: nobody}]
  retryConstraint: {budget: {percent: 20, interval: 10s}}
",
        conditions: "/status/ancestors/0/conditions",
        condition: "Accepted",
        reason: "TargetNotFound",
    },
    Wrong {
        kind: "XTelemetryPolicy",
        version: EXPERIMENTAL,
        spec: "
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  tracing: {mode: Enabled, provider: {backendRef: {name: nobody, port: 4317}}}
",
        conditions: "/status/ancestors/0/conditions",
        condition: "ResolvedRefs",
        reason: "BackendNotFound",
    },
];

/// One after the other, each beside what is right.
pub(super) fn of_every_kind(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.backend(1)?;
    scene.apply(&[&route("beside", "http", "/beside", 302), BEHIND, GATEWAY].concat())?;
    scene.answers(80, "/beside", 302)?;
    scene.answers(80, "/status/418", 418)?;
    let mut longest = Duration::ZERO;
    let mut told = |what: &str, took: Duration| {
        longest = longest.max(took);
        say(&format!("{what} was told of {took:.0?} after it was written"));
    };
    let since = Stopwatch::start();
    wait_for("a listener without its Secret is told", SOON, || {
        says(
            scene,
            "gateway/edge",
            "/status/listeners/1/conditions",
            ("ResolvedRefs", "InvalidCertificateRef"),
        )
    })?;
    told("a listener", since.elapsed());
    let experiments = if experimental::are_there(scene.place)? { WRONG_EXPERIMENTS } else { &[] };
    for wrong in WRONG.iter().chain(experiments) {
        let object = wrong.object();
        scene.apply(&wrong.manifest())?;
        let since = Stopwatch::start();
        wait_for(&format!("{object} is told"), SOON, || {
            says(scene, &object, wrong.conditions, (wrong.condition, wrong.reason))
        })?;
        told(&object, since.elapsed());
        beside(scene).with_context(|| format!("beside {object}"))?;
    }
    scene.answers(80, "/right", 307)?;
    scene.answers(80, "/wrong", 500)?;
    // What is mended is told of as well.
    scene.kubectl(&["delete", "httproute/wrong", "gateway/wrong", "backendtlspolicy/wrong"])?;
    beside(scene)?;
    say(&format!("objects of every kind were told of within {longest:.0?}"));
    Ok(())
}

/// A route to pods, which no wrong object may cut off, and another service of them.
const BEHIND: &str = "---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 3000}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: behind}
spec:
  parentRefs: [{name: edge, sectionName: http}]
  rules:
  - matches: [{path: {value: /status}}]
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /other}}]
    backendRefs: [{name: other, port: 80}]
---";

fn beside(scene: &Scene<'_>) -> anyhow::Result<()> {
    let address = scene.address()?;
    for (path, status) in [("/first", 301), ("/beside", 302), ("/status/418", 418)] {
        scene.answers_now(&format!("http://{address}{path}"), status, &[])?;
    }
    Ok(())
}

/// Whether an object's status has a condition that tells of what is wrong, for its present generation.
fn says(
    scene: &Scene<'_>,
    object: &str,
    conditions: &str,
    (kind, reason): (&str, &str),
) -> anyhow::Result<()> {
    let found = scene.get(object)?;
    let conditions = found.pointer(conditions).and_then(Value::as_array).context("no conditions")?;
    let condition =
        conditions.iter().find(|c| c["type"] == kind).with_context(|| format!("{conditions:?}"))?;
    // Conflicted tells by being true.
    let status = if kind == "Conflicted" { "True" } else { "False" };
    ensure!(condition["status"] == status, "{condition}");
    ensure!(reason.is_empty() || condition["reason"] == reason, "{condition}");
    ensure!(condition["observedGeneration"] == found["metadata"]["generation"], "{condition}");
    ensure!(condition["message"].as_str().is_some_and(|message| !message.is_empty()), "{condition}");
    Ok(())
}
