//! What is lost while certificates that live for seconds are renewed, the root above them is replaced, and the authority
//! is away for half a life: nothing, between pods with sidecars and between pods that the node's proxy serves.

use std::time::Duration;

use anyhow::{Context, ensure};

use crate::arguments::Arguments;
use crate::clock::{Stopwatch, pause};
use crate::cluster::{self, Channel, Families, Place, kubectl};
use crate::config::Config;
use crate::controller::{self, CONTROLLER, NAMESPACE, Names};
use crate::images::Profile;
use crate::pair::{Pair, ended};
use crate::say;
use crate::step::wait_for;

pub(crate) const OPTIONS: &[&str] = &["life", "away"];

/// The life of a leaf in seconds, unless said. The authority is away for half of it.
const USUAL: u64 = 60;
/// How long a controller takes to end and begin, about.
const RESTART: Duration = Duration::from_secs(4);
/// Lives of a leaf in the life of a root, the shortest that is allowed.
const ROOT: u64 = 16;
/// How long a step may take.
const LIMIT: Duration = Duration::from_secs(120);
/// New connections of HTTP and TCP each second, in each mode.
const RATES: (u32, u32) = (15, 5);

/// A cluster from nothing to nothing, as certificates of such a life are no other task's.
///
/// # Errors
/// When anything was lost, or the root was not replaced.
pub(crate) fn run(config: &Config, given: &Arguments) -> anyhow::Result<()> {
    let seconds =
        |name, usual| given.get(name).map_or(Ok(usual), |text| text.parse().context("a number of seconds"));
    let life = seconds("life", USUAL)?;
    let away = Duration::from_secs(seconds("away", life / 2)?);
    let place = Place::new(config, &format!("rotation-{}", std::process::id()));
    let outcome = cluster::up(config, &place, (Channel::Standard, Families::Both))
        .and_then(|()| controller::deploy(config, &place, Profile::Debug, &Names::usual()))
        .and_then(|()| begin(&place, life))
        .and_then(|()| controller::deploy_node(config, &place))
        .and_then(|()| measure(&place, life, away));
    let ended = cluster::down(&place);
    outcome?;
    ended
}

/// Starts an authority that knows nothing of an earlier one and whose certificates have this life.
fn begin(place: &Place, life: u64) -> anyhow::Result<()> {
    controller::scale(place, 0)?;
    kubectl(place, &[NAMESPACE, "delete", "secret", "mesh-ca", "mesh-ca-key", "--ignore-not-found"])?;
    let lives = [format!("MESH_CERTIFICATE_LIFE={life}s"), format!("MESH_ROOT_LIFE={}s", ROOT * life)];
    kubectl(place, &[NAMESPACE, "set", "env", CONTROLLER, &lives[0], &lives[1]])?;
    controller::scale(place, 1)
}

/// The roots that clients without a certificate are told, oldest first.
fn roots(place: &Place) -> anyhow::Result<Vec<String>> {
    let entry = r"-o=jsonpath={.data.roots\.pem}";
    let text = kubectl(place, &["--namespace=rotation-sidecar", "get", "configmap/mesh-ca-root", entry])?;
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    Ok(text.split(BEGIN).skip(1).map(|root| root.trim().to_owned()).collect())
}

fn measure(place: &Place, life: u64, away: Duration) -> anyhow::Result<()> {
    let sidecars = Pair { place, namespace: "rotation-sidecar", mode: "sidecar" };
    let on_node = Pair { place, namespace: "rotation-node", mode: "node" };
    let (mut loads, mut streams) = (Vec::new(), Vec::new());
    for pair in [&sidecars, &on_node] {
        let to = pair.prepare()?;
        loads.extend(pair.loads(to, RATES)?);
        streams.extend(pair.streams(to)?);
    }
    let outcome = rotated(place, life, away);
    let sum = ended(loads, streams);
    let renewed = renewals(&sidecars);
    outcome?;
    sum?.judge()?;
    // Each life brings one renewal at least.
    let (renewed, lives) = (renewed?, ROOT as usize / 2);
    say(&format!("the server's sidecar had {renewed} certificates"));
    ensure!(renewed >= lives, "{renewed} certificates in {lives} lives");
    // The webhook's certificate is of the new root, too.
    sidecars.kubectl(&["delete", "pod", "client"])?;
    let again = "apiVersion: v1\nkind: Pod\nmetadata: {name: again, namespace: rotation-sidecar}\n\
                 spec: {containers: [{name: main, image: none}]}\n";
    cluster::apply(place, again)?;
    let containers = "-o=jsonpath={.spec.initContainers[*].name}";
    let injected = sidecars.kubectl(&["get", "pod/again", containers])?;
    ensure!(injected.contains("mesh-proxy"), "a pod made under the new root has only {injected:?}");
    Ok(())
}

/// The authority is away for so long; then the root is replaced, and a life goes by without the old one.
fn rotated(place: &Place, life: u64, away: Duration) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    let lives = |count: u64| Duration::from_secs(count * life);
    let first = roots(place)?;
    ensure!(first.len() == 1, "{} roots at the beginning", first.len());
    let gone = Stopwatch::start();
    controller::scale(place, 0)?;
    pause(away.saturating_sub(gone.elapsed() + RESTART));
    controller::scale(place, 1)?;
    say(&format!("the authority was away for {:.1?} at most", gone.elapsed()));
    wait_for("the announcement of another root", lives(ROOT) / 2 + LIMIT, || {
        let now = roots(place)?;
        ensure!(now.len() == 2 && now.contains(&first[0]), "{} roots", now.len());
        Ok(())
    })?;
    say(&format!("another root was announced after {:.1?}", watch.elapsed()));
    wait_for("the end of the old root", lives(6) + LIMIT, || {
        let now = roots(place)?;
        ensure!(!now.is_empty() && !now.contains(&first[0]), "{} roots", now.len());
        Ok(())
    })?;
    say(&format!("the old root was gone after {:.1?}", watch.elapsed()));
    pause(lives(1));
    Ok(())
}

/// How many certificates the server's sidecar has had.
fn renewals(pair: &Pair<'_>) -> anyhow::Result<usize> {
    let log = pair.kubectl(&["logs", "server", "--container=mesh-proxy"])?;
    Ok(log.matches("a new SVID is in use").count())
}
