//! Programs that are killed without warning, and everything converges all the same.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::scene::{LIMIT, SYSTEM, Scene, route};
use crate::clock::pause;
use crate::cluster::kubectl;
use crate::step::wait_for;

/// Routes that are written while the controller is killed.
const ROUTES: usize = 40;

/// Kills a program of the cluster.
fn end(scene: &Scene<'_>, words: &str) -> anyhow::Result<()> {
    let found = scene.place.programs(words);
    ensure!(!found.is_empty(), "nothing runs as {words:?}");
    for pid in found {
        kill(Pid::from_raw(pid), Signal::SIGKILL).with_context(|| words.to_owned())?;
    }
    Ok(())
}

/// While the API server is away traffic goes on; afterwards changes are taken, and nothing was made anew.
pub(super) fn api_server(scene: &Scene<'_>) -> anyhow::Result<()> {
    let uid = |scene: &Scene<'_>| -> anyhow::Result<[Value; 2]> {
        let of = |what: &str| Ok::<_, anyhow::Error>(scene.get(what)?["metadata"]["uid"].clone());
        Ok([of("deployment/edge-mesh")?, of("service/edge-mesh")?])
    };
    let before = uid(scene)?;
    let url = format!("http://{}/first", scene.address()?);
    for n in 0..2 {
        end(scene, "kube-apiserver")?;
        for _ in 0..20 {
            scene.answers_now(&url, 301, &[]).context("without the API server")?;
        }
        wait_for("the API server is back", LIMIT, || kubectl(scene.place, &["get", "--raw", "/readyz"]))?;
        let path = format!("/after-{n}");
        scene.apply(&route(&format!("after-{n}"), "http", &path, 302))?;
        scene.answers(80, &path, 302)?;
        scene.answers_now(&url, 301, &[])?;
    }
    let after = uid(scene)?;
    ensure!(before == after, "made anew: {before:?} became {after:?}");
    Ok(())
}

/// Kills the controller at several distances from the begin of many writes; at the end every status is right.
pub(super) fn controller(scene: &Scene<'_>) -> anyhow::Result<()> {
    for (round, wait) in [40, 250, 900].into_iter().enumerate() {
        let path = |n: usize| format!("/round-{round}/{n}");
        let routes = (0..ROUTES).map(|n| route(&format!("many-{n}"), "http", &path(n), 302));
        scene.apply(&routes.collect::<String>())?;
        pause(Duration::from_millis(wait));
        end(scene, "service-mesh-controller --source=kubernetes")?;
        // A new pod starts at once, where a container of the old one would wait longer each time.
        kubectl(scene.place, &[SYSTEM, "delete", "pods", "--all", "--grace-period=0", "--force"])?;
        settled(scene, ROUTES + 1)?;
        scene.answers(80, &path(ROUTES - 1), 302)?;
        scene.answers(80, "/first", 301)?;
    }
    Ok(())
}

/// Waits until each route is accepted in its present generation, and the gateway counts all.
fn settled(scene: &Scene<'_>, count: usize) -> anyhow::Result<()> {
    wait_for("every status is right", LIMIT, || {
        let routes = scene.get("httproutes")?;
        let routes = routes["items"].as_array().context("no list")?;
        let accepted = |route: &&Value| {
            let conditions = route["status"]["parents"][0]["conditions"].as_array().into_iter().flatten();
            let mut conditions = conditions.filter(|c| c["type"] == "Accepted" && c["status"] == "True");
            conditions.any(|c| c["observedGeneration"] == route["metadata"]["generation"])
        };
        let right = routes.iter().filter(accepted).count();
        let counted = scene.get("gateway/edge")?["status"]["listeners"][0]["attachedRoutes"].clone();
        if (right, &counted) != (count, &Value::from(count)) {
            bail!("{right} of {count} are accepted, and the gateway counts {counted}");
        }
        Ok(())
    })
}

/// Two controllers: the one that leads is killed, and the other one writes.
pub(super) fn leader(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.with_controllers(2, || leader_of_two(scene))
}

fn leader_of_two(scene: &Scene<'_>) -> anyhow::Result<()> {
    let holder = || {
        let path = "jsonpath={.items[*].spec.holderIdentity}";
        kubectl(scene.place, &[SYSTEM, "get", "leases", "-o", path])
    };
    let first = wait_for("somebody leads", LIMIT, || {
        let holder = holder()?;
        ensure!(!holder.is_empty(), "nobody leads");
        Ok(holder)
    })?;
    end(scene, &format!("--replica={first}"))?;
    // Else its container would begin again under the same name, and go on leading.
    kubectl(scene.place, &[SYSTEM, "delete", "pod", &first, "--grace-period=0", "--force"])?;
    scene.apply(&route("next", "http", "/next", 302))?;
    scene.answers(80, "/next", 302)?;
    settled(scene, 2)?;
    let next = holder()?;
    ensure!(next != first, "{first} was killed and leads");
    Ok(())
}
