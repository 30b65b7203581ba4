//! What is lost while the node's proxy is replaced again and again: new connections, and streams that stay, between two
//! pods that it serves.

use std::time::Duration;

use anyhow::{Context, ensure};

use crate::arguments::Arguments;
use crate::clock::{Stopwatch, pause};
use crate::cluster::{Place, kubectl};
use crate::config::Config;
use crate::pair::{Pair, ended};
use crate::step::wait_for;
use crate::{controller, say};

pub(crate) const OPTIONS: &[&str] = &["name", "upgrades"];

const OF_NODES: &str = "--namespace=service-mesh-system-node";
const OF_CONTROLLER: &str = "--namespace=service-mesh-system";
/// Upgrades, unless said.
const USUAL: usize = 10;
/// How long a step may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two upgrades.
const BETWEEN: Duration = Duration::from_secs(1);
/// New connections of HTTP and TCP each second.
const RATES: (u32, u32) = (40, 10);

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
    let pair = Pair { place, namespace: "upgrades", mode: "node" };
    let outcome = measure(&pair, upgrades);
    pair.remove(false)?;
    outcome
}

/// Both pods are served, and no earlier proxy runs any more.
fn settled(place: &Place) -> anyhow::Result<()> {
    wait_for("both pods are served", LIMIT, || {
        let entry = "-o=jsonpath={.data.pods} {.metadata.ownerReferences[*].kind}";
        let said = kubectl(place, &[OF_CONTROLLER, "get", "configmap", "mesh-node.node", entry])?;
        ensure!(said.contains("upgrades/server") && said.contains("upgrades/client"), "{said}");
        ensure!(said.ends_with("Node"), "it belongs to nothing: {said}");
        Ok(())
    })?;
    wait_for("the end of earlier proxies", LIMIT, || proxies_are(place, 1))
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

fn measure(pair: &Pair<'_>, upgrades: usize) -> anyhow::Result<()> {
    let to = pair.prepare()?;
    settled(pair.place)?;
    let loads = pair.loads(to, RATES)?;
    let mut open = pair.streams(to)?;
    let mut outcome = Ok(());
    for number in 1..=upgrades {
        pause(BETWEEN);
        outcome = outcome.and_then(|()| upgrade(pair.place, number));
        open.extend(pair.streams(to)?);
    }
    pause(BETWEEN);
    let sum = ended(loads, open);
    outcome?;
    say(&format!("that were {upgrades} upgrades"));
    sum?.judge()?;
    wait_for("the end of proxies without streams", LIMIT, || proxies_are(pair.place, 1))
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
