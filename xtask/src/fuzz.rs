//! Fuzz targets: their corpora as tests, the targets built with coverage, and the proof that each finds a bug
//! planted in it. What a target checks lives in `fuzz/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::config::Config;
use crate::{say, step, suite};

/// How long a target may look for its planted bug.
const PATIENCE: Duration = Duration::from_secs(60);

/// What libFuzzer needs to see of a program; the same flags that cargo-fuzz passes, without a sanitizer, because
/// there is no unsafe code of ours to watch.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// The call that runs the corpora as ordinary tests. Its lock file follows the workspace's manifests, so it is
/// not held fixed.
pub(crate) fn corpora(config: &Config) -> Command {
    let arguments = ["test", "--no-default-features", "--lib", "--tests"];
    suite::outside(config, Path::new("fuzz"), &arguments, &config.root.join("target"))
}

/// `xtask fuzz TARGET [SECONDS]`: fuzzes, beginning with the corpus and adding to a copy of it.
///
/// # Errors
/// When the target does not build, or finds something.
pub(crate) fn run(config: &Config, target: &str, seconds: u64) -> anyhow::Result<()> {
    let programs = build(config, false)?;
    let mut fuzzer = fuzzer(config, &programs, target, seconds)?;
    fuzzer.stdin(Stdio::null());
    step::succeed(fuzzer)
}

/// Shows that every target finds the bug planted in it.
///
/// # Errors
/// Names the targets that are blind.
pub(crate) fn find_planted(config: &Config) -> anyhow::Result<()> {
    let programs = build(config, true)?;
    let mut blind = Vec::new();
    for target in targets(config)? {
        let output = fuzzer(config, &programs, &target, PATIENCE.as_secs())?.stdin(Stdio::null()).output();
        let output = output.with_context(|| target.clone())?;
        let said = String::from_utf8_lossy(&output.stderr);
        let found = !output.status.success() && said.contains("the planted bug");
        say(&format!("{target}: {}", if found { "found its planted bug" } else { "BLIND" }));
        if !found {
            blind.push(target);
        }
    }
    if blind.is_empty() { Ok(()) } else { bail!("blind after {PATIENCE:?}: {}", blind.join(", ")) }
}

/// The targets are the files of their folder.
fn targets(config: &Config) -> anyhow::Result<Vec<String>> {
    let folder = config.root.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Builds all targets and returns the folder of the programs.
fn build(config: &Config, planted: bool) -> anyhow::Result<PathBuf> {
    let mut rustc = Command::new("rustc");
    rustc.arg("-vV");
    let version = step::output(rustc)?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let target = config.root.join("fuzz/target");
    // With a target named, the flags reach what is fuzzed and neither build scripts nor macros.
    let mut arguments = vec!["build", "--release", "--bins", "--target", host];
    if planted {
        arguments.extend(["--features", "planted"]);
    }
    let mut cargo = suite::outside(config, Path::new("fuzz"), &arguments, &target);
    cargo.env("RUSTFLAGS", COVERAGE);
    step::succeed(cargo)?;
    Ok(target.join(host).join("release"))
}

fn fuzzer(config: &Config, programs: &Path, target: &str, seconds: u64) -> anyhow::Result<Command> {
    let grown = config.root.join("fuzz/target/corpus").join(target);
    std::fs::create_dir_all(&grown)?;
    let artifacts = config.root.join("fuzz/artifacts").join(target);
    std::fs::create_dir_all(&artifacts)?;
    let mut fuzzer = Command::new(programs.join(target));
    let longest = longest(&config.root.join("fuzz/corpus").join(target))?;
    fuzzer.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={longest}")).arg("-timeout=10");
    fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display()));
    fuzzer.arg(grown).arg(config.root.join("fuzz/corpus").join(target));
    Ok(fuzzer)
}

/// Inputs may grow to twice the largest seed: beyond that a fuzzer spends its time on length.
fn longest(corpus: &Path) -> anyhow::Result<u64> {
    let mut longest = 256;
    for entry in std::fs::read_dir(corpus).with_context(|| corpus.display().to_string())? {
        longest = longest.max(2 * entry?.metadata()?.len());
    }
    Ok(longest)
}
