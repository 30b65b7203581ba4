//! Entry of the workspace's own checks and generators: which task exists and where it lives, nothing else.

use std::process::ExitCode;

mod bans;
mod config;
mod extra;
mod fuzz;
mod order;
mod release;
mod schemas;
mod setup;
mod step;
mod suite;
mod tidy;

use config::Config;

const USAGE: &str = "usage: cargo xtask TASK

  schemas --module DIR   the schemas of mesh-objects, from an unpacked sigs.k8s.io/gateway-api
  tidy     the house style: sizes, names, directions, words
  setup    installs what the tests need: Debian packages (as root), PyPI packages, a Go module
  test     setup, formatting, tidy, clippy, all tests, the upstream suite in a cluster, totals
  conformance [OPTIONS]  setup, then every upstream test on both channels' definitions; writes the reports
  release [--profile] [PROGRAM...]  our programs, optimised and static; by a profile where there is one
  fuzz     TARGET [SECONDS]: looks for inputs that break a parser
           --planted: shows that every target finds the bug planted in it
  extra    documentation, licences, fuzz targets, features alone, packages";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let config = Config::read();
    let outcome = match arguments.first().map(String::as_str) {
        Some("extra") => extra::run(&config),
        Some("release") => release::run(&config, &arguments[1..]),
        Some("schemas") => schemas::run(&config.root, &arguments[1..]),
        Some("fuzz") => fuzz(&config, &arguments[1..]),
        Some("setup") => setup::run(&config).map(drop),
        Some("conformance") => suite::matrix(&config, &arguments[1..]),
        Some("test") => suite::run(&config),
        Some("tidy") => tidy::run(&config.root),
        _ => Err(anyhow::anyhow!("{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn fuzz(config: &Config, arguments: &[String]) -> anyhow::Result<()> {
    let target = arguments.first().ok_or_else(|| anyhow::anyhow!("{USAGE}"))?;
    if target == "--planted" {
        return fuzz::find_planted(config);
    }
    let seconds = arguments.get(1).map_or(Ok(60), |seconds| seconds.parse())?;
    fuzz::run(config, target, seconds)
}

/// Prints a line for the person at the terminal.
#[expect(clippy::print_stdout, reason = "a task speaks to the terminal")]
fn say(line: &str) {
    println!("{line}");
}
