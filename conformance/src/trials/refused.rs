//! A proxy that refuses one resource: its object's status says so soon, and nothing else changes.

use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::scene::{LIMIT, SYSTEM, Scene, route};
use crate::clock::Stopwatch;
use crate::cluster::{in_network_of, kubectl};
use crate::refuse::{READY, REASON, REFUSED};
use crate::say;
use crate::step::{Running, wait_for};

/// How long a refusal may take to its status on a machine that does much else; it is said how long it took.
const SOON: Duration = Duration::from_secs(10);

/// Two routes come; the one that is refused says who refused it and why, until that proxy is gone.
pub(super) fn by_a_proxy(scene: &Scene<'_>) -> anyhow::Result<()> {
    let (proxy, mut lines) = start(scene, "unwanted")?;
    expect(&mut lines, READY)?;
    scene.apply(
        &[route("unwanted", "http", "/unwanted", 302), route("other", "http", "/other", 303)].concat(),
    )?;
    expect(&mut lines, REFUSED)?;
    let since = Stopwatch::start();
    let said = wait_for("the refusal is in the status", SOON, || {
        let condition = accepted(scene, "unwanted")?;
        ensure!(condition["reason"] == "RefusedByProxy", "{condition}");
        Ok(condition)
    })?;
    say(&format!("a refusal was in the status {:.0?} after it was sent", since.elapsed()));
    let message = said["message"].as_str().unwrap_or_default();
    ensure!(said["status"] == "False" && message.contains(REASON), "{said}");
    ensure!(message.contains("sa/edge-mesh (refusing)"), "it does not say who refused: {message}");
    // The others go on, and so does the proxy that took it.
    for (name, path, status) in [("first", "/first", 301), ("other", "/other", 303)] {
        let condition = accepted(scene, name)?;
        ensure!(condition["status"] == "True", "{name}: {condition}");
        scene.answers(80, path, status)?;
    }
    scene.answers(80, "/unwanted", 302)?;
    drop(proxy);
    wait_for("the status says that it is accepted again", LIMIT, || {
        let condition = accepted(scene, "unwanted")?;
        ensure!(condition["status"] == "True", "{condition}");
        Ok(())
    })
}

fn accepted(scene: &Scene<'_>, name: &str) -> anyhow::Result<Value> {
    let route = scene.get(&format!("httproute/{name}"))?;
    let conditions = route["status"]["parents"][0]["conditions"].as_array().context("no conditions")?;
    conditions.iter().find(|c| c["type"] == "Accepted").cloned().context("no condition Accepted")
}

/// A token counts only at its pod, so the proxy is started in the network of the gateway's.
fn start(scene: &Scene<'_>, word: &str) -> anyhow::Result<(Running, BufReader<ChildStdout>)> {
    let pods = scene.get("pods")?;
    let pod = &pods["items"][0];
    let field = |value: &Value| value.as_str().map(str::to_owned).context("the gateway has no pod");
    let (name, uid) = (field(&pod["metadata"]["name"])?, field(&pod["metadata"]["uid"])?);
    let account = field(&pod["spec"]["serviceAccountName"])?;
    let (bound_name, bound_uid) =
        (format!("--bound-object-name={name}"), format!("--bound-object-uid={uid}"));
    let token = [
        "create",
        "token",
        &account,
        "--audience=mesh-ca",
        "--bound-object-kind=Pod",
        &bound_name,
        &bound_uid,
    ];
    let folder = scene.place.folder.join("refusing");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("token"), scene.kubectl(&token)?.trim())?;
    let roots = ["get", "configmap", "mesh-ca-root", "-o", r"jsonpath={.data.roots\.pem}"];
    std::fs::write(folder.join("roots.pem"), scene.kubectl(&roots)?)?;
    let address = [SYSTEM, "get", "service", "service-mesh-controller", "-o", "jsonpath={.spec.clusterIP}"];
    let address = kubectl(scene.place, &address)?;
    let mut call = in_network_of(scene.place, &field(&pod["status"]["podIP"])?)?;
    call.arg(std::env::current_exe()?).args(["refuse", "--word", word]);
    call.args(["--controller", &format!("{}:15012", address.trim())]);
    call.args(["--identity", &format!("spiffe://cluster.local/ns/{}/sa/{account}", scene.namespace)]);
    call.arg("--roots").arg(folder.join("roots.pem")).arg("--token").arg(folder.join("token"));
    let mut proxy = Running(call.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let lines = proxy.0.stdout.take().context("no output")?;
    Ok((proxy, BufReader::new(lines)))
}

/// Waits for a line; the end of the program is an error.
fn expect(lines: &mut BufReader<ChildStdout>, wanted: &str) -> anyhow::Result<()> {
    let mut line = String::new();
    while line.trim() != wanted {
        line.clear();
        ensure!(lines.read_line(&mut line)? > 0, "the refusing proxy ended before it said {wanted:?}");
    }
    Ok(())
}
