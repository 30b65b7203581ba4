//! `xtask extra`: what takes longer or needs more tools than every change should pay for.

use std::path::{Path, PathBuf};
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
    let target = config.root.join("target/packaged");
    forget(config, &metadata.packages, &target)?;
    let folder = target.to_str().context("the target folder's name is not UTF-8")?;
    let ours = metadata.packages.iter().filter(|package| package.publish.as_ref().is_some_and(Vec::is_empty));
    let left_out = ours.flat_map(|package| ["--exclude", package.name.as_str()]);
    let all = ["package", "--locked", "--workspace", "--allow-dirty", "--target-dir", folder].into_iter();
    step::succeed(step::cargo(config, &all.chain(left_out).collect::<Vec<_>>()))
}

/// Removes what cargo unpacked and compiled of our crates when they were packaged before: it would be taken for what is
/// packaged now, since name and version are the same. Folders of such sources have no name before the dash.
fn forget(config: &Config, packages: &[Package], target: &Path) -> anyhow::Result<()> {
    let mut places: Vec<PathBuf> = [".fingerprint", "deps"].map(|of| target.join("debug").join(of)).into();
    let sources =
        config.cargo_home.as_ref().and_then(|home| std::fs::read_dir(home.join("registry/src")).ok());
    let ours = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with('-');
    places.extend(sources.into_iter().flatten().flatten().filter(ours).map(|entry| entry.path()));
    for entry in places.iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten().flatten() {
        let file = entry.file_name().to_string_lossy().replace('_', "-");
        let name = file.strip_prefix("lib").unwrap_or(&file);
        let is_of =
            |package: &Package| name.strip_prefix(&*package.name).is_some_and(|rest| rest.starts_with('-'));
        if packages.iter().any(is_of) {
            let path = entry.path();
            let removed =
                if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn deny(config: &Config) -> anyhow::Result<()> {
    let deny = installed(config, "cargo-deny", DENY)?;
    // It reads the manifests of all dependencies, among them those for platforms that no build here asked for.
    step::succeed(step::cargo(config, &["fetch", "--locked"]))?;
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
