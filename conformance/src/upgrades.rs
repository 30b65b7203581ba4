//! What is lost while the node's proxy is replaced again and again: new connections, and streams that stay, between two
//! pods that it serves. How they are made is decided by the load and the streams, which run in the pods.

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::de::DeserializeOwned;

use crate::arguments::Arguments;
use crate::clock::{Stopwatch, pause};
use crate::cluster::{Place, apply, kubectl, kubectl_call};
use crate::config::Config;
use crate::load::{Load, Mode, Tally};
use crate::step::wait_for;
use crate::streams::{Kind, Told};
use crate::{controller, images, say};

pub(crate) const OPTIONS: &[&str] = &["name", "upgrades"];

const NAMESPACE: &str = "--namespace=upgrades";
const OF_NODES: &str = "--namespace=service-mesh-system-node";
const OF_CONTROLLER: &str = "--namespace=service-mesh-system";
/// Where our own program is in its image.
const PROGRAM: &str = "/usr/local/bin/conformance";
/// Upgrades, unless said.
const USUAL: usize = 10;
/// How long a step may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two upgrades.
const BETWEEN: Duration = Duration::from_secs(1);

const OBJECTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: upgrades, labels: {mesh.io/mode: node}}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: upgrades}
spec:
  selector: {app: server}
  ports:
  - {name: http, port: 8080, appProtocol: http}
  - {name: websocket, port: 8081, appProtocol: kubernetes.io/ws}
  - {name: grpc, port: 9090, appProtocol: grpc}
  - {name: tcp, port: 9091, appProtocol: tcp}
"#;

/// In a running cluster with our controller.
///
/// # Errors
/// When anything was lost.
pub(crate) fn run(config: &Config, given: &Arguments) -> anyhow::Result<()> {
    let place = given.place(config);
    let upgrades = given.get("upgrades").map_or(Ok(USUAL), |text| text.parse().context("--upgrades"))?;
    controller::deploy_node(config, &place)?;
    check(&place, upgrades)
}

/// As [`run`], with so many upgrades of the node's proxy, which runs.
///
/// # Errors
/// When anything was lost.
pub(crate) fn check(place: &Place, upgrades: usize) -> anyhow::Result<()> {
    images::load(place, &[images::ourselves(place)?])?;
    let remove = ["delete", "namespace", "upgrades", "--ignore-not-found", "--timeout=120s"];
    kubectl(place, &remove)?;
    let outcome = prepare(place).and_then(|to| measure(place, to, upgrades));
    kubectl(place, &["delete", "namespace", "upgrades", "--ignore-not-found", "--wait=false"])?;
    outcome
}

fn pod(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: upgrades, labels: {{app: {name}}}}}\n\
         spec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  - name: streams\n    image: {}\n    \
         imagePullPolicy: Never\n    args: [streams, serve]\n    \
         readinessProbe: {{httpGet: {{port: 8080, path: /}}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 9}}\n",
        images::OURSELVES
    )
}

/// Two pods that the node's proxy serves, and no earlier proxy that still runs; the server's address.
fn prepare(place: &Place) -> anyhow::Result<IpAddr> {
    apply(place, &format!("{OBJECTS}{}{}", pod("server"), pod("client")))?;
    kubectl(place, &[NAMESPACE, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=90s"])?;
    wait_for("both pods are served", LIMIT, || {
        let entry = "-o=jsonpath={.data.pods} {.metadata.ownerReferences[*].kind}";
        let said = kubectl(place, &[OF_CONTROLLER, "get", "configmap", "mesh-node.node", entry])?;
        ensure!(said.contains("upgrades/server") && said.contains("upgrades/client"), "{said}");
        ensure!(said.ends_with("Node"), "it belongs to nothing: {said}");
        Ok(())
    })?;
    wait_for("the end of earlier proxies", LIMIT, || proxies_are(place, 1))?;
    let path = "-o=jsonpath={.spec.clusterIP}";
    kubectl(place, &[NAMESPACE, "get", "service/server", path])?.parse().context("the server's address")
}

/// So many proxies of the node run; all but one are ending, and that one is ready.
fn proxies_are(place: &Place, wanted: usize) -> anyhow::Result<()> {
    let fields =
        r#"{.metadata.name},{.metadata.deletionTimestamp},{.status.conditions[?(@.type=="Ready")].status}"#;
    let lines = format!(r#"-o=jsonpath={{range .items[*]}}{fields}{{"\n"}}{{end}}"#);
    let said = kubectl(place, &[OF_NODES, "get", "pods", &lines])?;
    let lines = || said.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let stay: Vec<_> = lines().filter(|fields| fields.get(1) == Some(&"")).collect();
    let is_ready = matches!(stay.as_slice(), [one] if one.get(2) == Some(&"True"));
    ensure!(
        lines().count() == wanted && is_ready,
        "not {wanted} proxies of which one stays and is ready: {said}"
    );
    Ok(())
}

/// A call in the client's pod that runs until it is told to end, and then prints what became of it.
struct Attended {
    name: String,
    child: Child,
}

impl Attended {
    fn start(place: &Place, name: &str, words: &[String]) -> anyhow::Result<Self> {
        let mut call = kubectl_call(place, &[NAMESPACE, "exec", "--stdin", "client", "--", PROGRAM])?;
        call.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Self { name: name.to_owned(), child: call.spawn().context("kubectl exec")? })
    }

    fn end<T: DeserializeOwned>(mut self) -> anyhow::Result<T> {
        drop(self.child.stdin.take());
        let output = self.child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text).with_context(|| format!("{}: {}: {text}", self.name, output.status))
    }
}

/// New connections: requests of HTTP/1.1 and lines over TCP, each on a connection of its own.
fn loads(place: &Place, to: IpAddr) -> anyhow::Result<Vec<Attended>> {
    let load = |mode, port, rate| Load {
        to: SocketAddr::new(to, port),
        mode,
        host: "server".to_owned(),
        rate,
        // It ends before that.
        count: rate * 3600,
        attended: true,
    };
    let all = [load(Mode::Http1Close, 8080, 40), load(Mode::Tcp, 9091, 10)];
    all.iter().map(|load| Attended::start(place, load.mode.name(), &load.arguments())).collect()
}

/// One stream of each kind.
fn streams(place: &Place, to: IpAddr) -> anyhow::Result<Vec<Attended>> {
    let one = |kind: Kind| {
        let (to, kind) = (SocketAddr::new(to, kind.port()), kind.name());
        let words =
            ["streams".to_owned(), "follow".to_owned(), format!("--to={to}"), format!("--kind={kind}")];
        Attended::start(place, kind, &words)
    };
    Kind::ALL.into_iter().map(one).collect()
}

fn measure(place: &Place, to: IpAddr, upgrades: usize) -> anyhow::Result<()> {
    let loads = loads(place, to)?;
    let mut open = streams(place, to)?;
    let mut outcome = Ok(());
    for number in 1..=upgrades {
        pause(BETWEEN);
        outcome = outcome.and_then(|()| upgrade(place, number));
        open.extend(streams(place, to)?);
    }
    pause(BETWEEN);
    let streams = open.into_iter().map(Attended::end::<Told>).collect::<anyhow::Result<Vec<_>>>();
    let loads = loads.into_iter().map(Attended::end::<Tally>).collect::<anyhow::Result<Vec<_>>>();
    outcome?;
    judge(&loads?, &streams?, upgrades)?;
    wait_for("the end of proxies without streams", LIMIT, || proxies_are(place, 1))
}

/// Replaces the proxy. Those of before live on, because each has streams.
fn upgrade(place: &Place, number: usize) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    kubectl(place, &[OF_NODES, "rollout", "restart", "daemonset/mesh-node"])?;
    // The status of a DaemonSet is that of the oldest pod on each node, so it says nothing as long as that lives on.
    wait_for("the earlier proxy is told to end", LIMIT, || proxies_are(place, number + 1))?;
    say(&format!("upgrade {number} took {:.1?}", watch.elapsed()));
    Ok(())
}

fn judge(loads: &[Tally], streams: &[Told], upgrades: usize) -> anyhow::Result<()> {
    for (at, what) in loads.iter().flat_map(|tally| &tally.told) {
        say(&format!("lost at {at:.3} s: {what}"));
    }
    let lost: u64 = loads.iter().map(Tally::lost).sum();
    let answered: u64 = loads.iter().map(|tally| tally.answered).sum();
    let longest = loads.iter().map(|tally| tally.took[2]).fold(0.0, f64::max);
    say(&format!(
        "{upgrades} upgrades: {lost} of {} new connections lost, longest {longest:.0} ms",
        lost + answered
    ));
    let broken: Vec<&str> = streams.iter().filter_map(|told| told.problem.as_deref()).collect();
    broken.iter().for_each(|problem| say(&format!("broken: {problem}")));
    let numbers: u64 = streams.iter().map(|told| told.numbers).sum();
    let longest = streams.iter().map(|told| told.longest).max().unwrap_or_default();
    say(&format!(
        "{} streams counted {numbers} without a gap, {} broken, longest {longest} ms",
        streams.len(),
        broken.len()
    ));
    ensure!(answered > 0 && numbers > 0, "nothing was sent");
    if lost > 0 || !broken.is_empty() {
        bail!("{lost} new connections were lost, and {} streams", broken.len());
    }
    Ok(())
}
