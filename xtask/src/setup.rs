//! Installs what the tests need beside Rust, by package name: Debian packages, PyPI packages in a folder of
//! their own, a Go module. What is there already is left alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::config::Config;
use crate::{say, step};

/// Programs that tests call, with the Debian package that brings each.
const PROGRAMS: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("dig", "bind9-dnsutils"),
    ("h2load", "nghttp2-client"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("tshark", "tshark"),
];

/// Where Debian puts programs.
const FOLDERS: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The receiver that traces are tested against, independent of our own encoder; the engine of Helm 4.2.3; a WebSocket
/// server and a client of the SPIFFE Workload API, both of another make.
const PYPI: &[&str] = &[
    "opentelemetry-proto==1.45.2",
    "protobuf",
    "grpcio",
    "helm-python-sdk==0.2.2",
    "websockets==15.0.1",
    "spiffe==0.3.2",
];

/// Envoy's messages. The package has older messages of OpenTelemetry in it, so it comes first and is overwritten.
const PYPI_FIRST: &str = "xds-protos==1.85.0";

/// The module whose manifests and schemas are our input tests.
const GO_MODULES: &[&str] = &["sigs.k8s.io/gateway-api@v1.7.0"];

/// What tests are told about the things installed.
#[derive(Debug, Clone)]
pub(crate) struct Installed {
    /// A Python with the PyPI packages, when it could be set up.
    pub(crate) python: Option<PathBuf>,
}

/// Installs everything.
///
/// # Errors
/// Under CI, when anything is missing afterwards.
pub(crate) fn run(config: &Config) -> anyhow::Result<Installed> {
    let mut missing = Vec::new();
    let mut note = |what: &str, error: anyhow::Error| missing.push(format!("{what}: {error:#}"));
    let mut packages = absent(PROGRAMS);
    if !python_has_venv() {
        packages.push("python3-venv");
    }
    if let Err(error) = install(&packages) {
        note("Debian packages", error);
    }
    let python = python(config).map_err(|error| note("PyPI packages", error)).ok();
    for module in GO_MODULES {
        if let Err(error) = go_module(module) {
            note(module, error);
        }
    }
    for line in &missing {
        say(&format!("not there: {line}"));
    }
    if config.ci && !missing.is_empty() {
        bail!("CI needs all of it: {}", missing.join("; "));
    }
    Ok(Installed { python })
}

/// Installs the packages of the programs that are not there; each program with the package that brings it.
///
/// # Errors
/// When something is missing and cannot be installed.
pub(crate) fn debian(programs: &[(&str, &str)]) -> anyhow::Result<()> {
    install(&absent(programs))
}

/// The packages of the programs that are not there.
fn absent<'a>(programs: &[(&str, &'a str)]) -> Vec<&'a str> {
    let folders: Vec<&Path> = FOLDERS.iter().map(Path::new).collect();
    let absent = programs.iter().filter(|(program, _)| !step::on_path(program, &folders));
    absent.map(|(_, package)| *package).collect()
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if !step::root()? {
        bail!("run as root: apt-get install {}", packages.join(" "));
    }
    step::succeed(apt(&["update", "-q"]))?;
    step::succeed(apt(&[&["install", "-q", "-y", "--no-install-recommends"], packages].concat()))
}

fn apt(arguments: &[&str]) -> Command {
    let mut apt = command("apt-get", arguments);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn python_has_venv() -> bool {
    step::output(command("python3", &["-c", "import ensurepip, venv"])).is_ok()
}

/// A virtual environment for exactly these packages; made beside its place and moved there when complete.
fn python(config: &Config) -> anyhow::Result<PathBuf> {
    let version =
        step::output(command("python3", &["-c", "import platform; print(platform.python_version())"]))?;
    let version = version.trim();
    let packages = [&[PYPI_FIRST][..], PYPI].concat().join("\n");
    let home = config.cache.join("python").join(format!("{version}-{}", key(&packages)));
    let python = home.join("bin/python");
    let complete = home.join("complete");
    if complete.is_file() {
        return Ok(python);
    }
    let place = home.to_str().context("the cache folder's name is not UTF-8")?;
    step::succeed(command("python3", &["-m", "venv", "--clear", place]))?;
    for names in [&[PYPI_FIRST][..], PYPI] {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(names);
        step::succeed(pip)?;
    }
    std::fs::write(&complete, packages).with_context(|| complete.display().to_string())?;
    Ok(python)
}

/// Unpacks a module into Go's own cache. A Go older than the module asks for does that too and then complains,
/// so the folder decides, not the exit status.
fn go_module(module: &str) -> anyhow::Result<()> {
    let cache = step::output(command("go", &["env", "GOMODCACHE"]))?;
    let folder = Path::new(cache.trim()).join(module);
    if folder.is_dir() {
        return Ok(());
    }
    let outcome = step::output(command("go", &["mod", "download", module]));
    if folder.is_dir() { Ok(()) } else { outcome.map(drop) }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/");
    command
}

/// Ten hexadecimal digits that change with the text (FNV-1a); the cache needs no more.
pub(crate) fn key(text: &str) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    format!("{:010x}", hash & 0xff_ffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn the_key_of_a_cache_folder_changes_with_what_is_in_it() {
        assert_eq!(key("a==1"), key("a==1"));
        assert_ne!(key("a==1"), key("a==2"));
        assert_eq!(key("").len(), 10);
    }
}
