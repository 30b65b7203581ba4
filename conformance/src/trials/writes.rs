//! The controller is killed at every one of its writes, before the API server has it and before the answer is back; a
//! new one brings everything to the same end. The controller runs beside the cluster here, behind a server that holds
//! the write.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::scene::{LIMIT, Scene};
use crate::clock::{Stopwatch, pause};
use crate::cluster::{apply, inside, kubectl, kubectl_call};
use crate::cut::Side;
use crate::say;
use crate::step::{Running, wait_for};

/// Where the API server is reached without credentials, and where the controller reaches it.
const PLAIN: &str = "127.0.0.1:18001";
const HELD: &str = "127.0.0.1:18002";
/// How long nothing may change before it counts as the end.
const STILL: Duration = Duration::from_millis(1500);
/// More writes than there are.
const MOST: usize = 60;

/// What the controller has to write for. Its pods are forbidden: they are not what is looked at.
const OBJECTS: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: NAME}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: none, namespace: NAME}
spec: {hard: {pods: '0'}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAME}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: NAME}
spec:
  gatewayClassName: mesh
  allowedListeners: {namespaces: {from: Same}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more, namespace: NAME}
spec:
  parentRef: {name: edge}
  listeners: [{name: http, port: 8080, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: good, namespace: NAME}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: bad, namespace: NAME}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: nobody, port: 80}]}]
";

/// Kills the controller at every write.
pub(super) fn every(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.with_controllers(0, || all(scene))
}

fn all(scene: &Scene<'_>) -> anyhow::Result<()> {
    let plain = PLAIN.rsplit_once(':').map(|(_, port)| format!("--port={port}")).context("a port")?;
    let mut proxy = kubectl_call(scene.place, &["proxy", &plain, "--disable-filter=true"])?;
    let _proxy = Running(proxy.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let config = scene.place.folder.join("plain.json");
    std::fs::write(&config, kubeconfig(HELD).to_string())?;
    let wanted = undisturbed(scene)?;
    let mut killed = 0;
    for side in Side::ALL {
        for after in 0..MOST {
            let Some(what) = at(scene, (after, side), &wanted)? else { break };
            killed += 1;
            say(&format!("killed {} write {}: {what}", side.word(), after + 1));
        }
    }
    ensure!(killed > 10, "the controller was killed at {killed} writes only");
    Ok(())
}

/// What it comes to when nobody is killed.
fn undisturbed(scene: &Scene<'_>) -> anyhow::Result<BTreeMap<String, Value>> {
    let name = "writes-undisturbed";
    apply(scene.place, &OBJECTS.replace("NAME", name))?;
    let (_held, _) = hold(scene, (usize::MAX, Side::Before))?;
    let _controller = controller(scene)?;
    let found = still(scene, name)?;
    gone(scene, name)?;
    ensure!(found.contains_key("Deployment/edge-mesh"), "{:?}", found.keys());
    Ok(found)
}

/// Kills at one write and begins anew. Says at which; nothing when there are no more.
fn at(
    scene: &Scene<'_>,
    (after, side): (usize, Side),
    wanted: &BTreeMap<String, Value>,
) -> anyhow::Result<Option<String>> {
    let name = format!("writes-{}-{after}", side.word());
    apply(scene.place, &OBJECTS.replace("NAME", &name))?;
    let (held, lines) = hold(scene, (after, side))?;
    let first = controller(scene)?;
    let said = std::thread::spawn(move || lines.lines().next().transpose());
    let start = Stopwatch::start();
    while !said.is_finished() && start.elapsed() < LIMIT {
        if start.elapsed() > STILL && objects(scene, &name)? == *wanted {
            break;
        }
        pause(Duration::from_millis(20));
    }
    let reached = said.is_finished();
    drop(first);
    drop(held);
    let what = said.join().map_err(|_| anyhow::anyhow!("the reader of lines panicked"))??;
    if reached {
        let (_held, _) = hold(scene, (usize::MAX, Side::Before))?;
        let _second = controller(scene)?;
        wait_for(&format!("the end after a kill {} write {}", side.word(), after + 1), LIMIT, || {
            same(&objects(scene, &name)?, wanted)
        })?;
    }
    gone(scene, &name)?;
    Ok(what.filter(|_| reached))
}

/// A server that holds a write, and what it says after that it listens.
fn hold(
    scene: &Scene<'_>,
    (after, side): (usize, Side),
) -> anyhow::Result<(Running, BufReader<ChildStdout>)> {
    let mut call = inside(scene.place)?;
    call.arg(std::env::current_exe()?).args(["cut", "--listen", HELD, "--to", PLAIN, "--side", side.word()]);
    call.args(["--after", &after.to_string()]);
    let mut child = call.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("the output is piped")?);
    let running = Running(child);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    ensure!(line.trim() == "listening", "the server that holds writes says {line:?}");
    Ok((running, lines))
}

/// The program that the tests have built, beside this one.
fn controller(scene: &Scene<'_>) -> anyhow::Result<Running> {
    let mut call = inside(scene.place)?;
    call.arg(std::env::current_exe()?.with_file_name("service-mesh-controller"));
    call.args(["--source=kubernetes", "--leader-election=false", "--output=json"]);
    call.args(["--listen=127.0.0.1:25012", "--readiness=127.0.0.1:25020", "--webhook=127.0.0.1:25017"]);
    call.env("KUBECONFIG", scene.place.folder.join("plain.json"));
    let log = std::fs::File::create(scene.place.logs().join("killed-controller.log"))?;
    Ok(Running(call.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?))
}

fn kubeconfig(server: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "plain",
        "clusters": [{"name": "plain", "cluster": {"server": format!("http://{server}")}}],
        "contexts": [{"name": "plain", "context": {"cluster": "plain", "user": "plain"}}],
        "users": [{"name": "plain", "user": {}}],
    })
}

/// What a namespace has in the end: what changes no more.
fn still(scene: &Scene<'_>, namespace: &str) -> anyhow::Result<BTreeMap<String, Value>> {
    let start = Stopwatch::start();
    let (mut last, mut since) = (BTreeMap::new(), Stopwatch::start());
    while start.elapsed() < LIMIT {
        let found = objects(scene, namespace)?;
        if found != last {
            (last, since) = (found, Stopwatch::start());
        } else if since.elapsed() > STILL && last.contains_key("Deployment/edge-mesh") {
            return Ok(last);
        }
        pause(Duration::from_millis(100));
    }
    bail!("namespace {namespace} does not come to an end: {:?}", last.keys())
}

/// What the controller writes in a namespace, without what differs each time.
fn objects(scene: &Scene<'_>, namespace: &str) -> anyhow::Result<BTreeMap<String, Value>> {
    let kinds = "gateways,listenersets,httproutes,deployments,services,serviceaccounts,configmaps,poddisruptionbudgets";
    let text = kubectl(scene.place, &["get", kinds, "-o", "json", "--namespace", namespace])?;
    let mut list: Value = serde_json::from_str(&text)?;
    let items = list["items"].as_array_mut().context("no list")?;
    let addresses = items.iter().flat_map(|item| item["spec"]["clusterIPs"].as_array().into_iter().flatten());
    let addresses = addresses.filter_map(|address| address.as_str().map(str::to_owned));
    let texts: Vec<String> = std::iter::once(namespace.to_owned()).chain(addresses).collect();
    let mut found = BTreeMap::new();
    for item in items {
        without_accidents(item);
        let text = texts.iter().fold(item.to_string(), |text, one| text.replace(one, "ONE"));
        let name = format!(
            "{}/{}",
            item["kind"].as_str().unwrap_or(""),
            item["metadata"]["name"].as_str().unwrap_or("")
        );
        found.insert(name, serde_json::from_str(&text)?);
    }
    Ok(found)
}

/// Leaves out what the API server and other controllers write, and when something was written.
fn without_accidents(item: &mut Value) {
    if item["kind"] == "Deployment" {
        item["status"] = Value::Null;
    }
    // These two are sums over the name of the namespace, too.
    let accidents = [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "managedFields",
        "lastTransitionTime",
        "generation",
        "deployment.kubernetes.io/revision",
        "gateway.mesh.io/applied",
        "gateway.mesh.io/configuration",
    ];
    match item {
        Value::Object(fields) => {
            fields.retain(|name, _| !accidents.contains(&name.as_str()));
            fields.values_mut().for_each(without_accidents);
        }
        Value::Array(items) => items.iter_mut().for_each(without_accidents),
        _ => {}
    }
}

fn same(found: &BTreeMap<String, Value>, wanted: &BTreeMap<String, Value>) -> anyhow::Result<()> {
    for (name, value) in wanted {
        ensure!(found.get(name) == Some(value), "{name} is {:?} and not {value}", found.get(name));
    }
    ensure!(found.len() == wanted.len(), "there are {:?}", found.keys());
    Ok(())
}

/// What is gone is not waited for: the next attempt has a namespace of its own.
fn gone(scene: &Scene<'_>, name: &str) -> anyhow::Result<()> {
    kubectl(scene.place, &["delete", "namespace", name, "--wait=false"]).map(drop)
}
