//! The upstream suite against our controller: which runs there are, and when one counts as passed. Reading its
//! events and writing reports have modules of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::arguments::Arguments;
use crate::clock::Stopwatch;
use crate::cluster::{self, Channel, Families, Place, inside};
use crate::config::Config;
use crate::controller::{self, Names};
use crate::images::Profile;
use crate::{gap, golang, greeting, meshed, names, say, tools, trials, upgrades, workloads};

mod events;
pub(crate) mod features;
mod known;
pub(crate) mod matrix;
mod mesh;
mod report;

use events::{Outcome, Results, Subject};

/// Options of a quick run.
pub(crate) const OPTIONS: &[&str] =
    &["name", "run", "skip", "base", "json", "class", "mesh", "absent", "node"];

/// Tests of the suite that are about gateways; another number means another suite.
const GATEWAY_TESTS: usize = 147;

/// An address of the Service range, and one that no Service can have.
const ADDRESSES: [&str; 2] = ["-usable-address=10.96.200.77", "-unusable-address=192.0.2.7"];

/// Every profile of gateways.
const PROFILES: &str = "-conformance-profiles=GATEWAY-HTTP,GATEWAY-GRPC,GATEWAY-TLS,GATEWAY-TCP,GATEWAY-UDP";

/// A full run takes ten minutes; after this many seconds the suite ends itself and says where it was.
const LIMIT: u32 = 1200;

/// How often the pods of a workload are replaced under load.
const ROLLOUTS: usize = 3;

/// How often the node's proxy is replaced under load.
const UPGRADES: usize = 2;

/// More tests than these fail for a reason that a second try does not remove.
const SECOND_TRIES: usize = 10;

/// One call of the suite.
#[derive(Debug)]
struct Run {
    arguments: Vec<String>,
    /// Which tests; the package has others, of its own options, that need its folder.
    tests: String,
    /// The stream of events is kept here.
    json: PathBuf,
    /// Seconds.
    limit: u32,
    /// Which tests count.
    subject: Subject,
}

impl Run {
    fn new(place: &Place, class: &str) -> Self {
        let mut arguments = vec![format!("-gateway-class={class}"), PROFILES.to_owned()];
        arguments.extend(ADDRESSES.map(str::to_owned));
        Self {
            arguments,
            tests: "^TestConformance$".to_owned(),
            json: place.folder.join("suite.json"),
            limit: LIMIT,
            subject: Subject::Gateways,
        }
    }

    /// Only the tests whose names match.
    fn only(mut self, expression: &str) -> Self {
        self.tests = format!("^TestConformance$/^({expression})$");
        self
    }

    fn with(mut self, argument: String) -> Self {
        self.arguments.push(argument);
        self
    }
}

/// A run for developers: some tests, against what runs, all features whether claimed or not, and what all tests
/// share stays for the next run.
///
/// # Errors
/// Names the tests that failed.
pub(crate) fn quick(config: &Config, given: &Arguments) -> anyhow::Result<()> {
    if given.has("mesh") {
        return mesh::quick(config, given);
    }
    let place = given.place(config);
    let mut run = Run::new(&place, given.get("class").unwrap_or(&Names::usual().class))
        .with("-all-features".to_owned())
        .with("-exempt-features=Mesh".to_owned())
        .with(format!("-cleanup-base-resources={}", given.get("base") == Some("remove")));
    if let Some(expression) = given.get("run") {
        run = run.only(expression);
    }
    if let Some(names) = given.get("skip") {
        run = run.with(format!("-skip-tests={names}"));
    }
    if let Some(json) = given.get("json") {
        run.json = std::path::absolute(json)?;
    }
    let results = play(config, &place, &run)?;
    let ran = |outcome: &Outcome| *outcome != Outcome::Skipped;
    if results.asked().filter(|(_, test)| ran(&test.outcome)).count() == 0 {
        bail!("no test ran");
    }
    match results.failed().as_slice() {
        [] => Ok(()),
        failed => bail!("failed: {}", failed.join(" ")),
    }
}

/// All gateway tests, then all mesh tests in both modes, the policies, kinds of workloads and the trials, in a cluster made for it, on the
/// standard definitions, with the programs that the tests use. What is known to fail is listed, and the list is judged
/// too. What else fails is tried once more, alone: this run stands before every change, and a test that needs a quiet
/// machine says nothing about the change.
///
/// # Errors
/// When a test did not pass.
pub(crate) fn once(config: &Config) -> anyhow::Result<()> {
    let place = Place::new(config, &format!("test-{}", std::process::id()));
    let kind = Kind { channel: Channel::Standard, profile: Profile::Debug, names: Names::usual() };
    let known = known::List::read(config)?;
    let mut others = Vec::new();
    let results = full(config, &place, &kind, || {
        let run = gateways(config, &place, &kind);
        let mut results = play(config, &place, &run)?;
        let failed: Vec<String> =
            results.failed().into_iter().filter(|name| !known.has(name)).map(str::to_owned).collect();
        if !failed.is_empty() && failed.len() <= SECOND_TRIES {
            say(&format!("a second try, one after the other: {}", failed.join(" ")));
            let alone = Run::new(&place, &kind.names.class).only(&failed.join("|"));
            let mut alone = alone.with("-disable-parallel-tests".to_owned());
            alone.limit = LIMIT / 3;
            alone.json = run.json.with_extension("second.json");
            let second = play(config, &place, &alone)?;
            results.take(&second, &failed);
        }
        others.push(part("no gap", || gap::check(&place)));
        for mode in mesh::Mesh::MODES {
            others.push(part(&format!("suite, mode {}", mode.name()), || {
                mesh::judge(config, &mesh::in_mode(config, &place, *mode)?)
            }));
        }
        others.push(part("sidecars", || meshed::check(config, &place)));
        others.push(part("node mode", || meshed::on_node(config, &place)));
        others.push(part("upgrades", || upgrades::check(&place, UPGRADES)));
        others.push(part("greetings", || greeting::check(&place)));
        for mode in ["sidecar", "node"] {
            let checked = || workloads::check(config, &place, (mode, ROLLOUTS));
            others.push(part(&format!("workloads, mode {mode}"), checked));
            others.push(part(&format!("names, mode {mode}"), || names::check(config, &place, mode)));
        }
        // The controller that began with the standard definitions goes on with the others. The last trial leaves a cluster
        // that is not what it was.
        others.push(part("trials", || {
            cluster::channel_of(config, &place, Channel::Experimental)?;
            trials::all(config, &place, "")
        }));
        Ok(results)
    })?;
    let judged = known.judge(&results, GATEWAY_TESTS);
    others.into_iter().collect::<anyhow::Result<()>>().and(judged)
}

/// A part of a run; says how long it took, and names it where it failed.
fn part(name: &str, check: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let start = Stopwatch::start();
    let outcome = check();
    say(&format!("took {:.0?}: {name}", start.elapsed()));
    outcome.with_context(|| name.to_owned())
}

/// What a full run is about.
#[derive(Debug)]
struct Kind {
    channel: Channel,
    profile: Profile,
    names: Names,
}

/// A cluster from nothing to nothing, with our controller in it while the work is done. The features are those that the
/// class claims.
fn full<T>(
    config: &Config,
    place: &Place,
    kind: &Kind,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let outcome = cluster::up(config, place, (kind.channel, Families::Both))
        .and_then(|()| controller::deploy(config, place, kind.profile, &kind.names))
        .and_then(|()| work());
    let ended = cluster::down(place);
    let results = outcome?;
    ended?;
    Ok(results)
}

/// All gateway tests with the names and definitions of this kind.
fn gateways(config: &Config, place: &Place, kind: &Kind) -> Run {
    let mut run = Run::new(place, &kind.names.class);
    let (channel, class) = (kind.channel.name(), &kind.names.class);
    run.json = config.target.join(format!("conformance-{channel}-{class}.json"));
    run
}

/// Passed is only a run in which every gateway test passed; a test left out is none that passed.
fn judge(results: &Results) -> anyhow::Result<()> {
    let passed = results.asked().filter(|(_, test)| test.outcome == Outcome::Passed).count();
    let others: Vec<&str> =
        results.asked().filter(|(_, test)| test.outcome != Outcome::Passed).map(|(name, _)| name).collect();
    if passed != GATEWAY_TESTS || !others.is_empty() {
        bail!("{passed} of {GATEWAY_TESTS} gateway tests passed; not these: {}", others.join(" "));
    }
    if !results.succeeded {
        bail!("every test passed, but not the suite around them: see its events");
    }
    Ok(())
}

/// Runs the suite in the cluster's network and shows each result.
fn play(config: &Config, place: &Place, run: &Run) -> anyhow::Result<Results> {
    let suite = golang::SUITE.build(config)?;
    let start = Stopwatch::start();
    let mut call = inside(place)?;
    // It ends itself in time; the outer limit is for the case that it cannot.
    call.args(["timeout", "--kill-after=10"]).arg((run.limit + 60).to_string());
    call.arg(tools::go(config)?).args(["tool", "test2json", "-t", "-p", "gateway-api"]).arg(&suite);
    call.args(["-test.v=test2json", "-test.parallel=8"]).arg(format!("-test.timeout={}s", run.limit));
    call.arg(format!("-test.run={}", run.tests)).args(&run.arguments);
    call.env("KUBECONFIG", place.kubeconfig()).env("GOTOOLCHAIN", "local").env("GOFLAGS", "");
    let results = Results { subject: run.subject, ..follow(call, &run.json)? };
    for (name, test) in results.asked().filter(|(_, test)| test.outcome == Outcome::Failed) {
        say(&format!("---- {name}"));
        for line in test.why() {
            say(&format!("     {line}"));
        }
    }
    if results.asked().next().is_none() {
        for line in results.outside.iter().rev().take(20).rev() {
            say(line);
        }
    }
    for (name, test) in results.asked().filter(|(_, test)| test.outcome == Outcome::Failed) {
        say(&format!("FAILED {name} ({:.0} s)", test.seconds));
    }
    let (passed, failed, skipped) = results.counts();
    let (time, events) = (start.elapsed(), run.json.display());
    say(&format!(
        "tests: {passed} passed, {failed} failed, {skipped} skipped in {time:.0?}; events in {events}"
    ));
    Ok(results)
}

fn follow(mut call: Command, json: &Path) -> anyhow::Result<Results> {
    use std::io::{BufRead, BufReader, Write};
    let mut kept = std::fs::File::create(json).with_context(|| json.display().to_string())?;
    let mut child = call.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("the suite")?;
    let stdout = child.stdout.take().context("the output is piped")?;
    let mut results = Results::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        kept.write_all(&line)?;
        kept.write_all(b"\n")?;
        if let Some(said) = results.read(&line) {
            say(&said);
        }
    }
    results.succeeded = child.wait()?.success();
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::events::Results;
    use super::{GATEWAY_TESTS, judge};

    fn results(of: usize, last: &str) -> Results {
        let mut results = Results { succeeded: true, ..Results::default() };
        for index in 0..of {
            let action = if index + 1 == of { last } else { "pass" };
            let line = format!(r#"{{"Action":"{action}","Test":"TestConformance/Test{index}"}}"#);
            results.read(line.as_bytes());
        }
        results
    }

    #[test]
    fn a_run_passes_only_when_every_gateway_test_did() {
        judge(&results(GATEWAY_TESTS, "pass")).unwrap();
        for last in ["skip", "fail", "run"] {
            assert!(judge(&results(GATEWAY_TESTS, last)).is_err(), "{last}");
        }
        assert!(judge(&results(GATEWAY_TESTS - 1, "pass")).is_err());
        let ended_badly = Results { succeeded: false, ..results(GATEWAY_TESTS, "pass") };
        assert!(judge(&ended_badly).is_err());
    }
}
