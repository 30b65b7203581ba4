//! Which images the cluster needs and how each is made: ours, and the few foreign ones that the suite and the
//! cluster name. The archive format is elsewhere.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{CertificateParams, KeyPair};

use crate::cluster::{Place, inside};
use crate::config::Config;
use crate::oci::{File, Image, write};
use crate::step::{command, output, succeed};
use crate::{golang, tools};

/// The first process of every pod.
pub(crate) const PAUSE: &str = "conformance.invalid/pause:1";
/// The cluster's DNS.
pub(crate) const COREDNS: &str = "conformance.invalid/coredns:1.15.0";

/// An application with an identity of its own.
pub(crate) const SPIFFE: &str = "conformance.invalid/spiffe:2.9.0";

/// Names that the suite's manifests use.
pub(crate) const ECHO_BASIC: &[&str] = &[
    "registry.k8s.io/gateway-api/conformance/echo-basic:v0.1.0",
    "registry.k8s.io/gateway-api/conformance/echo-basic:v0.2.0",
];
const ECHO_ADVANCED: &[&str] = &["registry.k8s.io/gateway-api/conformance/echo-advanced:v0.1.0"];

/// How our own programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What the tests use, with the C library's files beside the program: nothing is compiled twice.
    Debug,
    /// Optimised and linked statically: one file in an empty image.
    Release,
}

/// Our programs, and the image of each.
const OURS: &[(&str, &str)] = &[
    ("mesh-node", "docker.io/service-mesh/mesh-node:dev"),
    ("mesh-proxy", "docker.io/service-mesh/mesh-proxy:dev"),
    ("service-mesh-controller", "docker.io/service-mesh/service-mesh-controller:dev"),
];

/// This very program, which serves and follows streams in pods.
pub(crate) const OURSELVES: &str = "docker.io/service-mesh/conformance:dev";

/// Nobody in particular, and not root.
const USER: &str = "65532:65532";

/// The triple that a static program is built for.
const TARGET: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

/// Archives of the images that a node needs, made when the cache has none.
///
/// # Errors
/// When a program cannot be built.
pub(crate) fn of_node(config: &Config) -> anyhow::Result<Vec<PathBuf>> {
    let coredns = golang::COREDNS.build(config)?;
    Ok(vec![one(&pause(config)?, &[PAUSE], "/pause")?, one(&coredns, &[COREDNS], "/coredns")?])
}

/// Archives of the images that the suite's gateway tests name.
///
/// # Errors
/// When a program cannot be built.
pub(crate) fn of_gateways(config: &Config) -> anyhow::Result<Vec<PathBuf>> {
    let basic = golang::ECHO_BASIC.build(config)?;
    Ok(vec![one(&basic, ECHO_BASIC, "/echo-basic")?])
}

/// Archives of the images that the suite's mesh tests name as well.
///
/// # Errors
/// When a program cannot be built.
pub(crate) fn of_mesh(config: &Config) -> anyhow::Result<Vec<PathBuf>> {
    let server = golang::ECHO_SERVER.build(config)?;
    let client = golang::ECHO_CLIENT.build(config)?;
    let advanced = archive(&server, ECHO_ADVANCED, "/usr/local/bin/server", || {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
        let text =
            |path: &str, text: String| File { path: path.to_owned(), mode: 0o644, content: text.into() };
        Ok(vec![
            File::program("usr/local/bin/server", &server)?,
            File::program("usr/local/bin/client", &client)?,
            text("cert.crt", certificate.pem()),
            text("cert.key", key.serialize_pem()),
        ])
    })?;
    Ok(vec![advanced])
}

/// The archive of the application that asks who it is.
///
/// # Errors
/// When the program cannot be built.
pub(crate) fn of_identity(config: &Config) -> anyhow::Result<PathBuf> {
    one(&golang::SPIFFE.build(config)?, &[SPIFFE], "/spiffe")
}

/// An image of one program.
fn one(program: &Path, names: &[&str], place: &str) -> anyhow::Result<PathBuf> {
    archive(program, names, place, || Ok(vec![File::program(place, program)?]))
}

/// The archive beside a cached program.
fn archive(
    program: &Path,
    names: &[&str],
    entrypoint: &str,
    files: impl FnOnce() -> anyhow::Result<Vec<File>>,
) -> anyhow::Result<PathBuf> {
    let key = tools::key(names.iter().map(|name| name.as_bytes()));
    let archive = program.with_extension(format!("{key}.tar"));
    if !archive.is_file() {
        write(&Image { names, entrypoint, user: "", files: files()? }, &archive)?;
    }
    Ok(archive)
}

fn pause(config: &Config) -> anyhow::Result<PathBuf> {
    let source = config.root.join("conformance/c/pause.c");
    let text = std::fs::read(&source).with_context(|| source.display().to_string())?;
    let home = config.cache.join("pause").join(format!("1-{}", tools::key([text.as_slice()])));
    let built = home.join("pause");
    if !built.is_file() {
        std::fs::create_dir_all(&home)?;
        let partial = home.join("partial");
        let mut gcc = command("gcc", &["-Os", "-static", "-o"]);
        gcc.arg(&partial).arg(&source);
        succeed(gcc)?;
        std::fs::rename(&partial, &built)?;
    }
    Ok(built)
}

/// Builds our images and loads them into a cluster.
///
/// # Errors
/// When a program cannot be built or an archive cannot be loaded.
pub(crate) fn ours(config: &Config, place: &Place, profile: Profile) -> anyhow::Result<()> {
    let programs = compile(config, profile)?;
    let mut archives = Vec::new();
    for ((program, image), built) in OURS.iter().zip(&programs) {
        archives.push(packed(place, (program, image), built, profile)?);
    }
    load(place, &archives)
}

/// The archive of the image of this very program.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn ourselves(place: &Place) -> anyhow::Result<PathBuf> {
    packed(place, ("conformance", OURSELVES), &std::env::current_exe()?, Profile::Debug)
}

/// The archive of a program of ours, without what only a debugger needs.
fn packed(
    place: &Place,
    (program, image): (&str, &str),
    built: &Path,
    profile: Profile,
) -> anyhow::Result<PathBuf> {
    let path = format!("/usr/local/bin/{program}");
    let stripped = place.folder.join(program);
    succeed({
        let mut strip = command("strip", &["--strip-debug", "-o"]);
        strip.arg(&stripped).arg(built);
        strip
    })?;
    let mut files = vec![File::program(&path, &stripped)?];
    if profile == Profile::Debug {
        files.extend(libraries(built)?);
    }
    let archive = place.folder.join(format!("{program}.tar"));
    write(&Image { names: &[image], entrypoint: &path, user: USER, files }, &archive)?;
    Ok(archive)
}

/// The whole workspace is selected, though only these programs are built, so that dependencies have the features that
/// they have in the tests and are not compiled a second time.
fn compile(config: &Config, profile: Profile) -> anyhow::Result<Vec<PathBuf>> {
    let programs = OURS.iter().map(|(program, _)| *program);
    let (mut call, folder) = match profile {
        Profile::Debug => {
            let mut call = command(&config.cargo, &["build", "--locked", "--workspace"]);
            call.args(programs.clone().flat_map(|program| ["--bin", program]));
            (call, config.target.join("debug"))
        }
        Profile::Release => {
            let mut call = command(&config.cargo, &["xtask", "release"]);
            call.args(programs.clone());
            (call, config.target.join(TARGET).join("release"))
        }
    };
    call.current_dir(&config.root);
    succeed(call)?;
    Ok(programs.map(|program| folder.join(program)).collect())
}

/// The files of the C library that a program names, at the places where the program looks for them.
fn libraries(program: &Path) -> anyhow::Result<Vec<File>> {
    let mut ldd = command("ldd", &[]);
    ldd.arg(program);
    let listed = output(ldd)?;
    let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
    paths.map(|path| File::program(path, Path::new(path))).collect()
}

/// Loads image archives into a cluster.
///
/// # Errors
/// When no cluster runs there or the runtime refuses one.
pub(crate) fn load(place: &Place, archives: &[impl AsRef<Path>]) -> anyhow::Result<()> {
    for archive in archives {
        let archive = std::path::absolute(archive.as_ref())?;
        let mut call = inside(place)?;
        call.arg("ctr").arg("--address").arg(place.containerd());
        call.args(["--namespace", "k8s.io", "images", "import"]).arg(&archive);
        output(call).with_context(|| archive.display().to_string())?;
    }
    Ok(())
}
