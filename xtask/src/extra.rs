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
    version: String,
    features: std::collections::BTreeMap<String, Vec<String>>,
    /// The registries that it may go to; `None` is all of them.
    publish: Option<Vec<String>>,
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

fn metadata(config: &Config) -> anyhow::Result<Metadata> {
    let arguments = ["metadata", "--locked", "--no-deps", "--format-version", "1"];
    let metadata = step::output(step::cargo(config, &arguments))?;
    serde_json::from_str(&metadata).context("cargo metadata")
}

/// Each crate without its default features, and with each feature by itself.
fn features(config: &Config) -> anyhow::Result<()> {
    for package in metadata(config)?.packages {
        let check = ["check", "--locked", "--package", &package.name, "--no-default-features"];
        step::succeed(step::cargo(config, &check))?;
        for feature in package.features.keys().filter(|feature| *feature != "default") {
            let wanted = match (package.name.as_str(), feature.as_str()) {
                // The crate with the API's types wants to be told the version, and a library must not choose for others.
                ("mesh-controller", "cluster") => "cluster,latest",
                (_, feature) => feature,
            };
            let alone = [&check[..], &["--features", wanted]].concat();
            step::succeed(step::cargo(config, &alone))?;
        }
    }
    Ok(())
}

/// Every published crate packages, and what is in the package compiles alone.
fn packages(config: &Config) -> anyhow::Result<()> {
    let metadata = metadata(config)?;
    forget(config, &metadata)?;
    let ours = metadata.packages.iter().filter(|package| package.publish.as_ref().is_some_and(Vec::is_empty));
    let left_out = ours.flat_map(|package| ["--exclude", package.name.as_str()]);
    let all = ["package", "--locked", "--workspace", "--allow-dirty"].into_iter();
    step::succeed(step::cargo(config, &all.chain(left_out).collect::<Vec<_>>()))
}

/// What cargo unpacked of our crates when they were packaged before: it would be taken for what is packaged now, since name
/// and version are the same. The folders of registries of packages alone have no name before the dash.
fn forget(config: &Config, metadata: &Metadata) -> anyhow::Result<()> {
    let Some(home) = &config.cargo_home else { return Ok(()) };
    let Ok(registries) = std::fs::read_dir(home.join("registry/src")) else { return Ok(()) };
    for registry in registries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with('-'))
    {
        for package in &metadata.packages {
            let unpacked = registry.path().join(format!("{}-{}", package.name, package.version));
            if unpacked.exists() {
                std::fs::remove_dir_all(&unpacked).with_context(|| unpacked.display().to_string())?;
            }
        }
    }
    Ok(())
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
