//! An API server whose past is not what it was: versions that it has forgotten, a state that was put back, and objects
//! that older definitions let through.

use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::scene::{LIMIT, Scene, route};
use crate::clock::Stopwatch;
use crate::cluster::{inside, kubectl};
use crate::step::{output, wait_for};

const CONTROLLER: &str = "service-mesh-controller --source=kubernetes";
/// More versions than a server needs for itself in the time that a trial looks at it.
const MANY: usize = 600;
/// How soon the status of a bad object says so.
const SOON: Duration = Duration::from_secs(2);

/// Sends a signal to the programs of the cluster that run as this.
fn signal(scene: &Scene<'_>, words: &str, signal: Signal) -> anyhow::Result<()> {
    let found = scene.place.programs(words);
    ensure!(!found.is_empty(), "nothing runs as {words:?}");
    found.into_iter().try_for_each(|pid| kill(Pid::from_raw(pid), signal).with_context(|| words.to_owned()))
}

/// The controller sleeps while objects change and the server loses its memory of how: 410 at the next watch.
pub(super) fn forgotten(scene: &Scene<'_>) -> anyhow::Result<()> {
    let before = counted(scene, "watches_forgotten")?;
    scene.apply(&route("goes", "http", "/goes", 302))?;
    scene.answers(80, "/goes", 302)?;
    signal(scene, CONTROLLER, Signal::SIGSTOP)?;
    let changed = change_asleep(scene);
    signal(scene, CONTROLLER, Signal::SIGCONT)?;
    changed?;
    scene.answers(80, "/comes", 302)?;
    scene.answers(80, "/goes", 404)?;
    scene.answers(80, "/first", 301)?;
    let after = counted(scene, "watches_forgotten")?;
    ensure!(after > before, "the server had forgotten nothing");
    Ok(())
}

fn change_asleep(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.kubectl(&["delete", "httproute", "goes"])?;
    scene.apply(&route("comes", "http", "/comes", 302))?;
    signal(scene, "kube-apiserver", Signal::SIGKILL)?;
    wait_for("the API server is back", LIMIT, || kubectl(scene.place, &["get", "--raw", "/readyz"])).map(drop)
}

/// The state behind the server is put back to an earlier one: what it lacks stays in force while its versions are older
/// than what was seen, and once they are not, what it says is so.
pub(super) fn put_back(scene: &Scene<'_>) -> anyhow::Result<()> {
    let before = counted(scene, "lists_refused")?;
    scene.apply(&route("stays", "http", "/stays", 302))?;
    scene.answers(80, "/stays", 302)?;
    let (state, kept) = (scene.place.folder.join("etcd"), scene.place.folder.join("etcd-kept"));
    let copy = || {
        let mut call = std::process::Command::new("cp");
        call.arg("-a").arg(&state).arg(&kept);
        output(call).map(drop)
    };
    signal(scene, "etcd --data-dir", Signal::SIGSTOP)?;
    let copied = copy();
    signal(scene, "etcd --data-dir", Signal::SIGCONT)?;
    copied?;
    // After this the server must count on for a while until it is where it was.
    write(scene, "before", MANY)?;
    scene.apply(&route("lost", "http", "/lost", 302))?;
    scene.answers(80, "/lost", 302)?;
    let node = Pid::from_raw(scene.place.first_process().context("the node does not run")?);
    kill(node, Signal::SIGSTOP)?;
    let swapped = signal(scene, "kube-apiserver", Signal::SIGKILL)
        .and_then(|()| signal(scene, "etcd --data-dir", Signal::SIGKILL))
        .and_then(|()| Ok(std::fs::remove_dir_all(&state)?))
        .and_then(|()| Ok(std::fs::rename(&kept, &state)?));
    kill(node, Signal::SIGCONT)?;
    swapped?;
    wait_for("the API server is back", LIMIT, || kubectl(scene.place, &["get", "--raw", "/readyz"]))?;
    let gone = scene.kubectl(&["get", "httproutes", "-o", "name"])?;
    ensure!(!gone.contains("lost") && gone.contains("stays"), "the state is not the earlier one: {gone}");
    let url = format!("http://{}", scene.address()?);
    wait_for("an older list is refused", LIMIT, || {
        ensure!(counted(scene, "lists_refused")? > before, "none was refused");
        Ok(())
    })?;
    for path in ["/lost", "/stays"] {
        scene.answers_now(&format!("{url}{path}"), 302, &[]).context("while the server is behind")?;
    }
    // Anything that is written counts.
    write(scene, "after", MANY)?;
    scene.answers(80, "/lost", 404)?;
    scene.apply(&route("next", "http", "/next", 302))?;
    for (path, status) in [("/next", 302), ("/stays", 302), ("/first", 301)] {
        scene.answers(80, path, status)?;
    }
    Ok(())
}

/// Writes this many objects that mean nothing.
fn write(scene: &Scene<'_>, name: &str, count: usize) -> anyhow::Result<()> {
    let map = |n: usize| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}-{n}}}\n");
    scene.apply(&(0..count).map(map).collect::<String>())
}

/// Definitions without their rules let an object through that cannot be used: its status says so soon, what was in force
/// under its name stays, and no other object is harmed.
pub(super) fn let_through(scene: &Scene<'_>) -> anyhow::Result<()> {
    let name = "httproutes.gateway.networking.k8s.io";
    let text = kubectl(scene.place, &["get", "crd", name, "-o", "json"])?;
    let mut definition: Value = serde_json::from_str(&text)?;
    for field in ["resourceVersion", "uid", "managedFields", "creationTimestamp", "generation"] {
        definition["metadata"].as_object_mut().context("no metadata")?.remove(field);
    }
    let good = definition.clone();
    without_rules(&mut definition);
    scene.apply(&definition.to_string())?;
    let outcome = wait_for("the rules are gone", LIMIT, || scene.apply(BAD)).and_then(|()| says_why(scene));
    let removed = scene.kubectl(&["delete", "httproute", "second", "--ignore-not-found"]);
    scene.apply(&good.to_string())?;
    removed.and(outcome)
}

/// A filter without the part that its type demands, under a name that was good before.
const BAD: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: second}
spec:
  parentRefs: [{name: edge}]
  rules: [{filters: [{type: RequestMirror}]}]
";

fn says_why(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.apply(&route("second", "http", "/second", 302))?;
    scene.answers(80, "/second", 302)?;
    scene.apply(BAD)?;
    let since = Stopwatch::start();
    wait_for("the status says why", SOON, || {
        let route = scene.get("httproute/second")?;
        let condition = &route["status"]["parents"][0]["conditions"][0];
        let message = condition["message"].as_str().unwrap_or_default();
        ensure!(
            condition["observedGeneration"] == route["metadata"]["generation"]
                && condition["status"] == "False"
                && condition["reason"] == "UnsupportedValue"
                && message.contains("spec.rules[0].filters[0]"),
            "it says {condition}"
        );
        Ok(())
    })?;
    crate::say(&format!("the status of a bad object says why after {:.0?}", since.elapsed()));
    scene.answers(80, "/second", 302)?;
    scene.answers(80, "/first", 301)
}

/// Takes the rules out of a schema, as if it were of an older release.
fn without_rules(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("x-kubernetes-validations");
            fields.values_mut().for_each(without_rules);
        }
        Value::Array(items) => items.iter_mut().for_each(without_rules),
        _ => {}
    }
}

/// The sum of a counter of the controller over all kinds.
fn counted(scene: &Scene<'_>, name: &str) -> anyhow::Result<u64> {
    let path = "jsonpath={.items[?(@.status.phase==\"Running\")].status.podIP}";
    let system = "--namespace=service-mesh-system";
    let ask = || {
        let ips = kubectl(scene.place, &[system, "get", "pods", "-l", LABEL, "-o", path])?;
        let ip = ips.split_whitespace().next().context("no controller runs")?;
        let mut call = inside(scene.place)?;
        call.args(["curl", "--silent", "--fail", "--max-time", "5"])
            .arg(format!("http://{ip}:15020/metrics"));
        let text = output(call)?;
        let lines = text.lines().filter(|line| line.starts_with(&format!("mesh_controller_{name}_total")));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    };
    wait_for("the controller tells its counters", Duration::from_secs(30), ask)
}

const LABEL: &str = "app.kubernetes.io/name=service-mesh-controller";
