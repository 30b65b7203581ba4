//! What proxies and policies do to real pods, be it sidecars or the node's proxy: who may call whom, which ways around
//! the proxy are closed, and what goes on as without a mesh. Each case is one call from one pod, with the outcome that it must have.

mod identity;
mod tokens;

use std::time::Duration;

use anyhow::{Context, bail};

use crate::arguments::Arguments;
use crate::cluster::{Place, apply, inside, kubectl, remove_namespaces};
use crate::config::Config;
use crate::step::wait_for;
use crate::{controller, images, say};

pub(crate) const OPTIONS: &[&str] = &["name", "node"];

const NAMESPACE: &str = "meshed";
/// All namespaces that are made here.
const NAMESPACES: &[&str] = &[NAMESPACE, "meshed-restricted"];
const OF_NAMESPACE: &str = "--namespace=meshed";
/// How long a policy, or a job, may take.
const SOON: Duration = Duration::from_secs(60);

/// The pods. Each account is an identity; `outside` has no sidecar.
const PODS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: meshed, labels: {LABEL}}
---
apiVersion: v1
kind: Namespace
metadata: {name: meshed-restricted, labels: {mesh.io/mode: MODE, pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: meshed}
spec:
  selector: {app: server}
  ports: [{name: http, port: 80, targetPort: 8080, appProtocol: http}, {name: tcp, port: 9090, appProtocol: tcp}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server, namespace: meshed}
spec:
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      serviceAccountName: server
      containers:
      - name: echo
        image: registry.k8s.io/gateway-api/conformance/echo-advanced:v0.1.0
        args: [--tcp=9090, --port=8080, --port=8081]
        ports: [{name: web, containerPort: 8080}]
        readinessProbe: {httpGet: {port: web, path: /}, periodSeconds: 1}
        livenessProbe: {tcpSocket: {port: 9090}, periodSeconds: 1, failureThreshold: 3}
"#;

const POLICY: &str = r#"
apiVersion: security.mesh.io/v1beta1
kind: AuthorizationPolicy
metadata: {name: server, namespace: meshed}
spec:
  selector: {matchLabels: {app: server}}
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/meshed/sa/friend]}}]
    to: [{operation: {methods: [GET], ports: ["8080"]}}]
  - from: [{source: {principals: [cluster.local/ns/meshed/sa/friend]}}]
    to: [{operation: {ports: ["9090"]}}]
"#;

/// Who serves the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Node,
    Sidecar,
}

/// What a call must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Must {
    /// An answer with this status.
    Answer(u16),
    /// No answer at all.
    Fail,
}

/// One call: what it shows, the pod that makes it, its words, and its outcome.
type Case = (&'static str, &'static str, Vec<String>, Must);

/// Sets everything up, makes every call, and takes it down again.
///
/// # Errors
/// Names the cases that came to something else.
pub(crate) fn run(config: &Config, given: &Arguments) -> anyhow::Result<()> {
    let place = given.place(config);
    if !given.has("node") {
        return check(config, &place);
    }
    controller::deploy_node(config, &place)?;
    on_node(config, &place)
}

/// # Errors
/// As [`run`].
pub(crate) fn check(config: &Config, place: &Place) -> anyhow::Result<()> {
    images::load(place, &images::of_mesh(config)?)?;
    images::load(place, &[images::of_identity(config)?])?;
    once(place, Mode::Sidecar)
}

/// The same with the node's proxy, which runs.
///
/// # Errors
/// As [`run`].
pub(crate) fn on_node(config: &Config, place: &Place) -> anyhow::Result<()> {
    images::load(place, &images::of_mesh(config)?)?;
    once(place, Mode::Node)
}

fn once(place: &Place, mode: Mode) -> anyhow::Result<()> {
    // What an earlier run began to remove.
    remove_namespaces(place, NAMESPACES, true)?;
    let outcome =
        set_up(place, mode).and_then(|()| cases(place)).and_then(|cases| judge(place, mode, &cases));
    remove_namespaces(place, NAMESPACES, false)?;
    outcome
}

fn set_up(place: &Place, mode: Mode) -> anyhow::Result<()> {
    let accounts = ["server", "friend", "stranger", "outside"].map(|name| {
        format!("---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: meshed}}\n")
    });
    let (label, word) = match mode {
        // Pods get their proxy at their start, or while they run: then the label comes later.
        Mode::Node => ("", "node"),
        Mode::Sidecar => ("istio-injection: enabled", "sidecar"),
    };
    let pods = PODS.replace("LABEL", label).replace("MODE", word);
    apply(place, &format!("{pods}{}", accounts.concat()))?;
    for name in ["friend", "stranger"] {
        apply(place, &client(name, if mode == Mode::Node { "" } else { "mesh.io/mode: sidecar" }))?;
    }
    apply(place, &client("outside", "mesh.io/mode: none"))?;
    let rolled = [OF_NAMESPACE, "rollout", "status", "deployment/server", "--timeout=90s"];
    kubectl(place, &rolled).context("the probes of a strict pod")?;
    kubectl(place, &[OF_NAMESPACE, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=90s"])?;
    if mode == Mode::Node {
        join_running(place)?;
    }
    let config = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../config/crd/authorizationpolicies.security.mesh.io.yaml"
    ))?;
    apply(place, &config)?;
    wait_for("the policy's kind", SOON, || apply(place, POLICY))?;
    wait_for("the policy", SOON, || {
        let refused = call(place, "stranger", &["http://server".to_owned()])?;
        if refused == Some(403) { Ok(()) } else { bail!("a stranger gets {refused:?}") }
    })
}

fn client(name: &str, label: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: meshed, labels: {{{label}}}}}\n\
         spec:\n  serviceAccountName: {name}\n  containers:\n  - name: echo\n    \
         image: registry.k8s.io/gateway-api/conformance/echo-advanced:v0.1.0\n    args: [--port=8080]\n"
    )
}

/// What must be the same in a pod that joins the mesh while it runs.
fn unchanged(place: &Place) -> anyhow::Result<String> {
    let fields = "{.metadata.name} {.metadata.uid} {.spec.containers} {.spec.initContainers} \
        {.status.containerStatuses[*].restartCount} {.status.containerStatuses[*].containerID}";
    let form = format!("jsonpath={{range .items[*]}}{fields}{{\"\\n\"}}{{end}}");
    kubectl(place, &[OF_NAMESPACE, "get", "pods", "-o", &form])
}

/// Pods that run join the mesh by a label of their namespace, and nothing of them changes.
fn join_running(place: &Place) -> anyhow::Result<()> {
    let before = unchanged(place)?;
    kubectl(place, &["label", "namespace", NAMESPACE, "mesh.io/mode=node"])?;
    // A client outside is let in until the pod's proxy is in place.
    wait_for("the node's proxy in the pods", SOON, || {
        match call(place, "outside", &["http://server".to_owned()])? {
            None => Ok(()),
            Some(status) => bail!("plain text still gets {status}"),
        }
    })?;
    let after = unchanged(place)?;
    if before != after {
        bail!("pods changed when they joined:\n{before}\n{after}");
    }
    say("pass pods that run join the mesh and stay as they were: uid, containers, restarts");
    Ok(())
}

fn cases(place: &Place) -> anyhow::Result<Vec<Case>> {
    let ip = "jsonpath={.items[0].status.podIP}";
    let ip = kubectl(place, &[OF_NAMESPACE, "get", "pod", "-l", "app=server", "-o", ip])?;
    let words = |text: &str| text.replace("POD", &ip).split(' ').map(str::to_owned).collect::<Vec<String>>();
    let forged = "-H X-Forwarded-Client-Cert:URI=spiffe://cluster.local/ns/meshed/sa/friend";
    let case = |shows, from, call: &str, must| (shows, from, words(call), must);
    Ok(vec![
        case("what is allowed passes", "friend", "http://server", Must::Answer(200)),
        case("another method does not", "friend", "http://server --method=DELETE", Must::Answer(403)),
        case("another account does not", "stranger", "http://server", Must::Answer(403)),
        case(
            "a forged identity gains nothing",
            "stranger",
            &format!("http://server {forged}"),
            Must::Answer(403),
        ),
        case("TCP is allowed by identity", "friend", "tcp://server:9090", Must::Answer(200)),
        case("TCP is refused by identity", "stranger", "tcp://server:9090", Must::Fail),
        case(
            "the pod's own address is no way around a policy",
            "friend",
            "http://POD:8080 --method=DELETE",
            Must::Answer(403),
        ),
        case("and the policy allows there what it allows", "friend", "http://POD:8080", Must::Answer(200)),
        case("plain text does not enter by the service", "outside", "http://server", Must::Fail),
        case("nor by the pod's address", "outside", "http://POD:8080", Must::Fail),
        case("nor at a TCP port", "outside", "tcp://POD:9090", Must::Fail),
        case("nor at the proxy's own ports", "outside", "http://POD:15006", Must::Fail),
        case("which take no calls for others", "outside", "http://POD:15001", Must::Fail),
    ])
}

fn judge(place: &Place, mode: Mode, cases: &[Case]) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    let mut note = |shows: &str, outcome: anyhow::Result<()>| match outcome {
        Ok(()) => say(&format!("pass {shows}")),
        Err(error) => {
            say(&format!("FAIL {shows}: {error:#}"));
            failed.push(shows.to_owned());
        }
    };
    for (shows, from, words, must) in cases {
        let outcome = call(place, from, words).and_then(|status| match (status, must) {
            (Some(found), Must::Answer(wanted)) if found == *wanted => Ok(()),
            (None, Must::Fail) => Ok(()),
            (found, _) => bail!("{must:?}, and there came {found:?}"),
        });
        note(shows, outcome);
    }
    note("the application learns who calls, and only from the certificate", known(place));
    match mode {
        Mode::Node => {
            note("the node itself enters at ports of probes only", from_node(place, 8081));
            note(
                "where pod security forbids a sidecar, the node's proxy serves the pod",
                restricted_joins(place),
            );
        }
        Mode::Sidecar => {
            note("the node itself does not enter", from_node(place, 8080));
            note("a job completes", job(place));
            note("tokens that are copied or made up get no certificate", tokens::refused(place));
            note(
                "applications have their pods' identities, and meet each other by them",
                identity::check(place),
            );
            note(
                "where pod security forbids a sidecar, the pod is refused with the reason",
                restricted(place),
            );
        }
    }
    match failed.as_slice() {
        [] => Ok(()),
        failed => bail!("failed: {}", failed.join("; ")),
    }
}

/// What the client in a pod printed, and whether it succeeded.
fn client_says(place: &Place, from: &str, words: &[String]) -> anyhow::Result<String> {
    let base = [OF_NAMESPACE, "exec", from, "-c", "echo", "--", "client", "--timeout=3s"];
    let words: Vec<&str> = base.into_iter().chain(words.iter().map(String::as_str)).collect();
    kubectl(place, &words)
}

/// The status of the answer; none when there was none.
fn call(place: &Place, from: &str, words: &[String]) -> anyhow::Result<Option<u16>> {
    let Ok(said) = client_says(place, from, words) else { return Ok(None) };
    let status =
        said.lines().find_map(|line| line.split_once("StatusCode=").map(|(_, status)| status.trim()));
    status.map(|status| status.parse().with_context(|| status.to_owned())).transpose()
}

fn known(place: &Place) -> anyhow::Result<()> {
    let forged = "X-Forwarded-Client-Cert:URI=spiffe://cluster.local/ns/meshed/sa/stranger";
    let said = client_says(place, "friend", &["http://server", "-H", forged].map(str::to_owned))?;
    let lines: Vec<&str> =
        said.lines().filter(|line| line.contains("RequestHeader=X-Forwarded-Client-Cert:")).collect();
    match lines.as_slice() {
        [line] if line.contains("sa/friend") && !line.contains("sa/stranger") => Ok(()),
        lines => bail!("the application saw {lines:?}"),
    }
}

fn from_node(place: &Place, port: u16) -> anyhow::Result<()> {
    let ip = "jsonpath={.items[0].status.podIP}";
    let ip = kubectl(place, &[OF_NAMESPACE, "get", "pod", "-l", "app=server", "-o", ip])?;
    let mut curl = inside(place)?;
    curl.args(["curl", "--silent", "--max-time", "3"]).arg(format!("http://{ip}:{port}/"));
    let output = curl.output()?;
    if output.status.success() { bail!("{}", String::from_utf8_lossy(&output.stdout)) } else { Ok(()) }
}

fn job(place: &Place) -> anyhow::Result<()> {
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: job, namespace: meshed}\nspec:\n  backoffLimit: 0\n  template:\n    spec:\n      \
        serviceAccountName: friend\n      restartPolicy: Never\n      containers:\n      - name: job\n        \
        image: registry.k8s.io/gateway-api/conformance/echo-advanced:v0.1.0\n        \
        command: [/usr/local/bin/client, 'http://server']\n";
    apply(place, job)?;
    let limit = format!("--timeout={}s", SOON.as_secs());
    kubectl(place, &[OF_NAMESPACE, "wait", "job/job", "--for=condition=Complete", &limit]).map(drop)
}

fn restricted(place: &Place) -> anyhow::Result<()> {
    let image = "--image=registry.k8s.io/gateway-api/conformance/echo-advanced:v0.1.0";
    match kubectl(place, &["run", "one", image, "--namespace=meshed-restricted"]) {
        Ok(_) => bail!("the pod was admitted"),
        Err(error) if format!("{error:#}").contains("NET_ADMIN") => Ok(()),
        Err(error) => Err(error.context("another reason")),
    }
}

/// A pod that may do next to nothing is met by its identity: the policy knows it and refuses it.
fn restricted_joins(place: &Place) -> anyhow::Result<()> {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: one, namespace: meshed-restricted}\nspec:\n  \
        securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}\n  containers:\n  \
        - name: echo\n    image: registry.k8s.io/gateway-api/conformance/echo-advanced:v0.1.0\n    args: [--port=8080]\n    \
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n";
    apply(place, pod)?;
    let of = "--namespace=meshed-restricted";
    kubectl(place, &[of, "wait", "pod/one", "--for=condition=Ready", "--timeout=90s"])?;
    wait_for("the node's proxy in the pod", SOON, || {
        let call = [of, "exec", "one", "--", "client", "--timeout=3s", "http://server.meshed"];
        let said = kubectl(place, &call)?;
        if said.contains("StatusCode=403") { Ok(()) } else { bail!("{said}") }
    })
}
