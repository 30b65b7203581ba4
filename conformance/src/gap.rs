//! Whether anything is lost while something changes: constant traffic through a gateway of ours, an edit of its
//! routes or a rollout of its backends, its proxies or the controller meanwhile, and a count of what was not
//! answered. How requests are sent is decided by the load.

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::arguments::Arguments;
use crate::clock::{Stopwatch, pause};
use crate::cluster::{Place, apply, inside, kubectl, remove_namespaces};
use crate::config::Config;
use crate::load::{Load, Mode, Tally};
use crate::say;
use crate::step::{output, wait_for};

pub(crate) const OPTIONS: &[&str] = &["name", "short", "mode", "change"];

const NAMESPACE: &str = "--namespace=gap";
/// A rollout's limit; a tenth of it is usual.
const ROLLED: Duration = Duration::from_secs(120);
/// How long the gateway may take to serve.
const READY: Duration = Duration::from_secs(60);
const EDITS: u32 = 20;

/// What is changed under the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Edits,
    Backends,
    Gateway,
    Controller,
}

impl Change {
    const ALL: [Self; 4] = [Self::Edits, Self::Backends, Self::Gateway, Self::Controller];

    fn name(self) -> &'static str {
        match self {
            Self::Edits => "20 edits of the route",
            Self::Backends => "restart of the backends",
            Self::Gateway => "restart of the gateway's proxies",
            Self::Controller => "restart of the controller",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Edits => "edits",
            Self::Backends => "backends",
            Self::Gateway => "gateway",
            Self::Controller => "controller",
        }
    }
}

/// How much is sent.
#[derive(Debug, Clone, Copy)]
struct Extent {
    rate: u32,
    count: u32,
    /// Between two edits.
    between: Duration,
}

/// Every change under every kind of traffic, one after the other.
const WHOLE: Extent = Extent { rate: 500, count: 20_000, between: Duration::from_millis(1500) };
/// All kinds of traffic at once, and one change after the other; the traffic ends after the last, and long before its
/// count is reached.
const SHORT: Extent = Extent { rate: 50, count: 30_000, between: Duration::from_millis(200) };
/// How long traffic goes on after a change.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Measures in a running cluster that has our controller; what it made there is removed.
///
/// # Errors
/// When anything was lost, or something did not become ready.
pub(crate) fn run(config: &Config, given: &Arguments) -> anyhow::Result<()> {
    let place = given.place(config);
    if given.has("short") {
        return check(&place);
    }
    let outcome = prepare(&place).and_then(|to| whole(&place, to, given));
    remove_namespaces(&place, &["gap"], true)?;
    outcome
}

/// As [`run`], all kinds of traffic at once and little of it.
///
/// # Errors
/// As [`run`].
pub(crate) fn check(place: &Place) -> anyhow::Result<()> {
    let outcome = prepare(place).and_then(|to| short(place, to));
    remove_namespaces(place, &["gap"], false)?;
    outcome
}

/// The gateway's address once it serves all traffic.
fn prepare(place: &Place) -> anyhow::Result<IpAddr> {
    remove_namespaces(place, &["gap"], true)?;
    apply(place, include_str!("../gap.yaml"))?;
    for name in ["deployment/http", "deployment/tcp"] {
        rolled(place, NAMESPACE, name)?;
    }
    let wait = ["wait", "--for=condition=Programmed", "gateway/gap", "--timeout=60s"];
    kubectl(place, &[&[NAMESPACE], wait.as_slice()].concat())?;
    let path = "-o=jsonpath={.status.addresses[0].value}";
    let to = kubectl(place, &[NAMESPACE, "get", "gateway/gap", path])?.parse().context("the address")?;
    for mode in Mode::ALL {
        wait_for(mode.name(), READY, || {
            let tally = ended(start(place, &load(to, mode, 20, 20))?)?;
            if tally.lost() == 0 { Ok(()) } else { bail!("{:?}", tally.told) }
        })?;
    }
    Ok(to)
}

fn load(to: IpAddr, mode: Mode, rate: u32, count: u32) -> Load {
    let port = if mode == Mode::Tcp { 9000 } else { 80 };
    Load { to: SocketAddr::new(to, port), mode, host: "gap.test".to_owned(), rate, count, attended: false }
}

/// Every change under every kind of traffic.
fn whole(place: &Place, to: IpAddr, given: &Arguments) -> anyhow::Result<()> {
    let meant = |option: &str, word: &str| given.get(option).is_none_or(|asked| asked == word);
    let mut rows = vec![format!(
        "| {} requests each, {} in a second | lost | ms: p50, p99, longest |",
        WHOLE.count, WHOLE.rate
    )];
    rows.push("|---|---|---|".to_owned());
    let mut lost = 0;
    for change in Change::ALL.into_iter().filter(|change| meant("change", change.word())) {
        for mode in Mode::ALL.into_iter().filter(|mode| meant("mode", mode.name())) {
            let tallies = under(place, &[load(to, mode, WHOLE.rate, WHOLE.count)], &[change], WHOLE.between)?;
            for (_, tally) in &tallies {
                lost += tally.lost();
                let [median, most, longest] = tally.took;
                let (change, mode, lost) = (change.name(), mode.name(), tally.lost());
                rows.push(format!("| {change}, {mode} | {lost} | {median:.1}, {most:.1}, {longest:.0} |"));
            }
        }
    }
    rows.iter().for_each(|row| say(row));
    if lost == 0 { Ok(()) } else { bail!("{lost} requests were lost") }
}

/// All changes, one after the other, under all kinds of traffic at once. Backends cut the TCP connections that they have
/// greeted when they end, which no proxy can mend: meanwhile there are none.
fn short(place: &Place, to: IpAddr) -> anyhow::Result<()> {
    let loads = |modes: &[Mode]| -> Vec<Load> {
        let load = |mode: &Mode| Load { attended: true, ..load(to, *mode, SHORT.rate, SHORT.count) };
        modes.iter().map(load).collect()
    };
    let others = [Change::Edits, Change::Gateway, Change::Controller];
    let mut tallies = under(place, &loads(&Mode::ALL), &others, SHORT.between)?;
    let http: Vec<Mode> = Mode::ALL.into_iter().filter(|mode| *mode != Mode::Tcp).collect();
    tallies.extend(under(place, &loads(&http), &[Change::Backends], SHORT.between)?);
    let lost: u64 = tallies.iter().map(|(_, tally)| tally.lost()).sum();
    let sent = tallies.iter().map(|(_, tally)| tally.lost() + tally.answered).sum::<u64>();
    say(&format!("no gap: {lost} of {sent} requests were lost in 20 edits and three restarts"));
    if lost == 0 { Ok(()) } else { bail!("{lost} requests were lost") }
}

/// Sends, makes the changes meanwhile, and gives what became of the requests.
fn under(
    place: &Place,
    loads: &[Load],
    changes: &[Change],
    between: Duration,
) -> anyhow::Result<Vec<(Mode, Tally)>> {
    let watch = Stopwatch::start();
    let mut children =
        loads.iter().map(|load| Ok((load.mode, start(place, load)?))).collect::<anyhow::Result<Vec<_>>>()?;
    pause(Duration::from_secs(1));
    let mut outcome = Ok(());
    for change in changes {
        let began = watch.elapsed();
        outcome = outcome.and_then(|()| make(place, *change, between));
        say(&format!("{}: from {began:.1?} to {:.1?}", change.name(), watch.elapsed()));
    }
    for (mode, child) in &mut children {
        if outcome.is_ok() && child.try_wait()?.is_some() {
            outcome = Err(anyhow::anyhow!("the requests of {} ended before the change did", mode.name()));
        }
    }
    pause(AFTERWARDS);
    let mut tallies = Vec::new();
    for (mode, child) in children {
        let tally = ended(child)?;
        for (at, told) in &tally.told {
            say(&format!("{} lost at {at:.3} s: {told}", mode.name()));
        }
        say(&format!("{}: {} answered, lost {:?}", mode.name(), tally.answered, tally.lost));
        tallies.push((mode, tally));
    }
    outcome.map(|()| tallies)
}

/// Another process of ours, in the cluster's network.
fn start(place: &Place, load: &Load) -> anyhow::Result<Child> {
    let mut call = inside(place)?;
    // It ends by itself; the limit is for the case that it does not.
    let limit = load.count / load.rate + 60;
    call.args(["timeout", "--kill-after=5", &limit.to_string()]).arg(std::env::current_exe()?);
    call.args(load.arguments()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("the load")
}

/// What became of a load, which is told to end where it is attended.
fn ended(child: Child) -> anyhow::Result<Tally> {
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).with_context(|| format!("the load: {}: {text}", output.status))
}

fn make(place: &Place, change: Change, between: Duration) -> anyhow::Result<()> {
    match change {
        Change::Edits => edit(place, between),
        Change::Backends => restart(place, NAMESPACE, "backend=true", &["deployment/http", "deployment/tcp"]),
        Change::Gateway => {
            let label = "gateway.networking.k8s.io/gateway-name=gap";
            let name = kubectl(place, &[NAMESPACE, "get", "deployments", "-o=name", "--selector", label])?;
            restart(place, NAMESPACE, label, &[name.trim()])
        }
        Change::Controller => restart(
            place,
            "--namespace=service-mesh-system",
            "app.kubernetes.io/name=service-mesh-controller",
            &["deployment/service-mesh-controller"],
        ),
    }
}

/// Edits both routes again and again; the last edit must be seen in an answer.
fn edit(place: &Place, between: Duration) -> anyhow::Result<()> {
    for number in 1..=EDITS {
        let patch = |kind: &str, patch: String| {
            kubectl(place, &[NAMESPACE, "patch", kind, "--type=merge", "--patch", &patch])
        };
        let backend =
            |name: &str| format!(r#""backendRefs":[{{"name":"{name}","port":3000,"weight":{number}}}]"#);
        let filter = format!(
            r#""filters":[{{"type":"ResponseHeaderModifier","responseHeaderModifier":{{"set":[{{"name":"x-edit","value":"{number}"}}]}}}}]"#
        );
        patch("httproute/http", format!(r#"{{"spec":{{"rules":[{{{},{filter}}}]}}}}"#, backend("http")))?;
        patch("tcproute/tcp", format!(r#"{{"spec":{{"rules":[{{{}}}]}}}}"#, backend("tcp")))?;
        pause(between);
    }
    let path = "-o=jsonpath={.status.addresses[0].value}";
    let to = kubectl(place, &[NAMESPACE, "get", "gateway/gap", path])?;
    wait_for("the last edit", Duration::from_secs(5), || {
        let mut call = inside(place)?;
        call.args(["curl", "--silent", "--max-time", "5", "--head", &format!("http://{}/", to.trim())]);
        let head = output(call)?.to_lowercase();
        if head.contains(&format!("x-edit: {EDITS}\r\n")) { Ok(()) } else { bail!("{head}") }
    })
}

/// Restarts Deployments and waits until the pods of before are gone.
fn restart(place: &Place, namespace: &str, label: &str, names: &[&str]) -> anyhow::Result<()> {
    let pods = |place| kubectl(place, &[namespace, "get", "pods", "-o=name", "--selector", label]);
    let before = pods(place)?;
    kubectl(place, &[&[namespace, "rollout", "restart"], names].concat())?;
    for name in names {
        rolled(place, namespace, name)?;
    }
    wait_for("the end of the pods of before", ROLLED, || {
        let now = pods(place)?;
        match now.lines().find(|pod| before.lines().any(|old| old == *pod)) {
            None => Ok(()),
            Some(pod) => bail!("{pod} is still there"),
        }
    })
}

fn rolled(place: &Place, namespace: &str, name: &str) -> anyhow::Result<()> {
    let timeout = format!("--timeout={}s", ROLLED.as_secs());
    kubectl(place, &[namespace, "rollout", "status", name, &timeout]).map(drop)
}
