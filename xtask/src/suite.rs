//! `xtask test`: everything that has to hold before a change lands, and the totals.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use crate::config::Config;
use crate::step::{self, Steps};
use crate::{bans, fuzz, say, setup, tidy};

/// How tests are told where a Python with their packages is.
const PYTHON: &str = "SERVICE_MESH_PYTHON";

/// How many tests ran, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Totals {
    /// Adds a closing line of the test runner; other lines count nothing.
    fn read(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        let counts = counts.split_once(". ").map_or("", |(_, counts)| counts);
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else { continue };
            let number: u64 = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Runs all checks and tests; each step runs even if one before it failed.
///
/// # Errors
/// Names the steps that failed, or says that CI skipped a test.
pub(crate) fn run(config: &Config) -> anyhow::Result<()> {
    let mut steps = Steps::default();
    let mut installed = None;
    steps.run("setup", || {
        installed = Some(setup::run(config)?);
        Ok(())
    });
    steps.run("formatting", || step::succeed(step::cargo(config, &["fmt", "--all", "--check"])));
    steps.run("tidy", || tidy::run(&config.root));
    steps.run("packages", || bans::check(config));
    let clippy = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    steps.run("clippy", || step::succeed(step::cargo(config, &clippy)));
    // Tests start the binaries of other crates, which cargo does not build for them.
    steps.run("binaries", || {
        step::succeed(step::cargo(config, &["build", "--locked", "--workspace", "--bins"]))
    });
    let mut h2spec = None;
    steps.run("h2spec", || {
        h2spec = tool(config, "h2spec")?;
        Ok(())
    });
    let mut totals = Totals::default();
    let python = installed.and_then(|installed| installed.python);
    steps.run("tests", || {
        let told = [(PYTHON, python.clone()), ("SERVICE_MESH_H2SPEC", h2spec)];
        tests(config, told.into_iter().filter_map(|(name, path)| Some((name, path?))), &mut totals)
    });
    steps.run("examples/embed", || embed(config));
    steps.run("conformance", || conformance(config, (&["test"], python.as_deref()), &mut totals));
    steps.run("installation", || conformance(config, (&["install"], python.as_deref()), &mut totals));
    // The authority's absence is short here: a busy machine takes seconds to start a controller.
    let rotation = ["rotation", "--life", "16", "--away", "5"];
    steps.run("rotation", || conformance(config, (&rotation, python.as_deref()), &mut totals));
    if totals.passed == 0 {
        steps.run("totals", || bail!("no test ran"));
    }
    let outcome = steps.finish();
    say(&totals.to_string());
    outcome
}

/// The full matrix of the upstream suite, which needs more time than a test run has: the only writer of reports.
///
/// # Errors
/// When something that it needs is missing, or a run failed.
pub(crate) fn matrix(config: &Config, arguments: &[String]) -> anyhow::Result<()> {
    let python = setup::run(config)?.python;
    let mut harness =
        step::cargo(config, &["run", "--locked", "--quiet", "-p", "conformance", "--", "matrix"]);
    harness.args(arguments).envs(python.map(|python| (PYTHON, python)));
    step::succeed(harness)
}

/// A program that our other harness builds with Go and keeps. Where that is not possible, the test says so itself.
fn tool(config: &Config, name: &str) -> anyhow::Result<Option<PathBuf>> {
    let mut harness = Command::new(config.root.join("target/debug/conformance"));
    harness.args(["tool", name]).env("CARGO", &config.cargo).current_dir(&config.root);
    match step::output(harness) {
        Ok(said) => Ok(said.lines().last().map(PathBuf::from)),
        Err(error) if config.ci => Err(error),
        Err(error) => {
            say(&format!("not there: {name}: {error:#}"));
            Ok(None)
        }
    }
}

/// Runs the tests and tells them where the things are that they use.
fn tests(
    config: &Config,
    told: impl Iterator<Item = (&'static str, PathBuf)>,
    totals: &mut Totals,
) -> anyhow::Result<()> {
    let skips = config.root.join("target/skipped-tests.txt");
    std::fs::create_dir_all(config.root.join("target"))?;
    std::fs::write(&skips, "")?;
    let mut command = step::cargo(config, &["test", "--locked", "--workspace", "--no-fail-fast"]);
    command.env("SERVICE_MESH_SKIPS", &skips);
    command.envs(told);
    let outcome = step::lines(command, |line| totals.read(line));
    let corpora = step::lines(fuzz::corpora(config), |line| totals.read(line));
    let skipped = std::fs::read_to_string(&skips)?;
    // A test that skips itself ends well for the runner, so it was counted as passed.
    let themselves = skipped.lines().count() as u64;
    totals.passed = totals.passed.saturating_sub(themselves);
    totals.skipped += themselves;
    for line in skipped.lines() {
        say(&format!("skipped: {line}"));
    }
    outcome?;
    corpora?;
    if config.ci && totals.skipped > 0 {
        bail!("{} tests were skipped, and CI skips none", totals.skipped);
    }
    Ok(())
}

/// A task of our other harness in a real cluster, such as the upstream suite against our controller; a node needs root.
fn conformance(
    config: &Config,
    (task, python): (&[&str], Option<&Path>),
    totals: &mut Totals,
) -> anyhow::Result<()> {
    if !config.ci && !step::root()? {
        say("skipped: a Kubernetes node needs root");
        totals.skipped += 1;
        return Ok(());
    }
    let mut harness = Command::new(config.root.join("target/debug/conformance"));
    harness.args(task).env("CARGO", &config.cargo).current_dir(&config.root);
    harness.envs(python.map(|python| (PYTHON, python)));
    step::lines(harness, |line| totals.read(line))
}

/// The project that uses two crates only: it is outside the workspace, as a stranger's is. It says itself whether
/// what it was told is right.
fn embed(config: &Config) -> anyhow::Result<()> {
    let project = Path::new("examples/embed");
    let target = config.root.join("target");
    step::succeed(outside(config, project, &["fmt", "--check"], &target))?;
    step::succeed(outside(config, project, &["run", "--quiet"], &target))
}

/// A call of cargo in a project of ours that is not in the workspace.
pub(crate) fn outside(config: &Config, project: &Path, arguments: &[&str], target: &Path) -> Command {
    let mut command = step::cargo(config, arguments);
    command.current_dir(config.root.join(project)).env("CARGO_TARGET_DIR", target);
    command
}

#[cfg(test)]
mod tests {
    use super::Totals;

    #[test]
    fn totals_add_up_over_the_closing_lines() {
        let mut totals = Totals::default();
        totals.read(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.1s",
        );
        totals.read(
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s",
        );
        totals.read("test closing_line ... ok");
        assert_eq!(totals.to_string(), "14 passed, 1 failed, 1 skipped");
    }
}
