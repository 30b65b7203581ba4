//! `xtask extra`: what takes longer or needs more tools than every change should pay for.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use serde::Deserialize;

use crate::config::Config;
use crate::fuzz;
use crate::step::{self, Steps};

/// The version of cargo-deny that deny.toml is written for.
const DENY: &str = "0.20.2";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    features: std::collections::BTreeMap<String, Vec<String>>,
}

/// Runs all of it; each step runs even if one before it failed.
///
/// # Errors
/// Names the steps that failed.
pub(crate) fn run(config: &Config) -> anyhow::Result<()> {
    let mut steps = Steps::default();
    steps.run("documentation", || documentation(config));
    steps.run("features alone", || features(config));
    steps.run("packages", || packages(config));
    steps.run("fuzz targets", || fuzz::find_planted(config));
    steps.run("deny", || deny(config));
    steps.finish()
}

fn documentation(config: &Config) -> anyhow::Result<()> {
    let mut doc = step::cargo(config, &["doc", "--locked", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    step::succeed(doc)
}

/// Each crate without its default features, and with each feature by itself.
fn features(config: &Config) -> anyhow::Result<()> {
    let arguments = ["metadata", "--locked", "--no-deps", "--format-version", "1"];
    let metadata = step::output(step::cargo(config, &arguments))?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("cargo metadata")?;
    for package in metadata.packages {
        let check = ["check", "--locked", "--package", &package.name, "--no-default-features"];
        step::succeed(step::cargo(config, &check))?;
        for feature in package.features.keys().filter(|feature| *feature != "default") {
            let alone = [&check[..], &["--features", feature]].concat();
            step::succeed(step::cargo(config, &alone))?;
        }
    }
    Ok(())
}

/// Every published crate packages, and what is in the package compiles alone.
fn packages(config: &Config) -> anyhow::Result<()> {
    step::succeed(step::cargo(config, &["package", "--locked", "--workspace", "--allow-dirty"]))
}

fn deny(config: &Config) -> anyhow::Result<()> {
    let deny = installed(config, "cargo-deny", DENY)?;
    let mut check = Command::new(deny);
    check.args(["--offline", "check", "bans", "licenses", "sources"]).current_dir(&config.root);
    step::succeed(check)
}

/// A tool written in Rust, built once for its version.
fn installed(config: &Config, tool: &str, version: &str) -> anyhow::Result<PathBuf> {
    let place = config.cache.join(tool).join(format!("{version}-{}", crate::setup::key(version)));
    let program = place.join("bin").join(tool);
    if program.is_file() {
        return Ok(program);
    }
    let folder = place.to_str().context("the cache folder's name is not UTF-8")?;
    let install = ["install", "--locked", "--quiet", "--root", folder, "--version", version, tool];
    step::succeed(step::cargo(config, &install))?;
    Ok(program)
}
