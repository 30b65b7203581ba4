//! A cluster from the outside: bringing it up, looking at it, ending it. Its files and keys, the settings of its
//! programs and the first process of its namespaces have modules of their own.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::clock::Stopwatch;
use crate::config::Config;
use crate::step::{command, output, succeed, wait_for};
use crate::{golang, images, say, tools};

mod addons;
mod credentials;
mod families;
mod node;
mod place;
mod settings;

pub(crate) use families::Families;
pub(crate) use node::run as node;
pub(crate) use place::{Channel, Place};

/// The node's address on its own bridge.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);
/// The same in IPv6.
pub(crate) const NODE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x31, 0, 0, 0, 0, 0, 1);

/// The policy among the definitions that keeps those of another channel out.
const GUARD: &str = "safe-upgrades.gateway.networking.k8s.io";

/// How long a part may take to become ready; a cold start takes a tenth of it.
const READY: Duration = Duration::from_secs(120);

/// Brings a cluster up, or finds it running.
///
/// # Errors
/// Says what is missing on this machine, or what did not become ready, with the end of its log.
pub(crate) fn up(
    config: &Config,
    place: &Place,
    (channel, families): (Channel, Families),
) -> anyhow::Result<()> {
    tools::root()?;
    let start = Stopwatch::start();
    if place.first_process().is_some() && kubectl(place, &["get", "--raw", "/readyz"]).is_ok() {
        say(&format!("cluster {} runs; kubeconfig {}", place.name, place.kubeconfig().display()));
        return Ok(());
    }
    down(place)?;
    tools::debian(config)?;
    let kubernetes = golang::KUBERNETES.build(config)?;
    std::fs::create_dir_all(&place.folder).with_context(|| place.folder.display().to_string())?;
    credentials::write(place)?;
    settings::write(config, place, (&kubernetes, families))?;
    start_node(place)?;
    let outcome = fill(config, place, (channel, families));
    if let Err(error) = outcome {
        stop(place)?;
        return Err(error.context(format!("the logs are kept in {}", place.logs().display())));
    }
    let (name, kubeconfig) = (&place.name, place.kubeconfig());
    say(&format!("cluster {name} is up after {:.0?}; kubeconfig {}", start.elapsed(), kubeconfig.display()));
    Ok(())
}

/// Starts the first process of the node's own namespaces; with it everything ends.
fn start_node(place: &Place) -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt;
    std::fs::create_dir_all(place.logs())?;
    let log = std::fs::File::create(place.logs().join("node.log"))?;
    let namespaces = ["--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"];
    let mut call = command("unshare", &namespaces);
    call.arg(std::env::current_exe()?).arg("node").arg(&place.folder);
    let call = call.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    let child = call.spawn().context("unshare")?;
    std::fs::write(place.folder.join("pid"), child.id().to_string())?;
    Ok(())
}

/// Everything that is done through the API server and the runtime once they answer. What is still to be built is
/// built while they start.
fn fill(config: &Config, place: &Place, (channel, families): (Channel, Families)) -> anyhow::Result<()> {
    let archives = images::of_node(config)?;
    wait_for("the API server", READY, || kubectl(place, &["get", "--raw", "/readyz"]))?;
    let socket = place.containerd();
    wait_for("the container runtime", READY, || std::fs::metadata(&socket).context("no socket"))?;
    images::load(place, &archives)?;
    wait_for("the node's object", READY, || kubectl(place, &["get", "node", "node"]))?;
    addons::apply(place, families.dns())?;
    if channel != Channel::None {
        definitions(place, &crds(config, channel)?)?;
    }
    kubectl(place, &["wait", "--for=condition=Ready", "node/node", "--timeout=120s"])?;
    kubectl(
        place,
        &["--namespace=kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s"],
    )?;
    images::load(place, &images::of_gateways(config)?)
}

/// Ends a cluster and removes what it had; nothing to do when there is none.
///
/// # Errors
/// When a process does not end or a file cannot be removed.
pub(crate) fn down(place: &Place) -> anyhow::Result<()> {
    stop(place)?;
    if place.folder.exists() {
        std::fs::remove_dir_all(&place.folder).with_context(|| place.folder.display().to_string())?;
    }
    Ok(())
}

/// The kernel ends every process of the namespaces with their first one, and with the last the mounts and links.
fn stop(place: &Place) -> anyhow::Result<()> {
    if let Some(first) = place.first_process() {
        let pid = nix::unistd::Pid::from_raw(first);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).context("the node's first process")?;
        wait_for("the end of the node", Duration::from_secs(60), || match place.outer_process() {
            None => Ok(()),
            Some(_) => bail!("its processes are still there"),
        })?;
    }
    place.remove_cgroups()
}

/// kubectl inside the cluster's network; returns what it printed.
///
/// # Errors
/// What kubectl says.
pub(crate) fn kubectl(place: &Place, arguments: &[&str]) -> anyhow::Result<String> {
    output(kubectl_call(place, arguments)?)
}

/// The call itself, for those that give it input.
///
/// # Errors
/// When no such cluster runs.
pub(crate) fn kubectl_call(place: &Place, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut call = inside(place)?;
    call.arg(place.kubectl()).args(arguments).env("KUBECONFIG", place.kubeconfig());
    Ok(call)
}

/// Applies a manifest.
///
/// # Errors
/// What kubectl says.
pub(crate) fn apply(place: &Place, manifest: &str) -> anyhow::Result<()> {
    apply_in(place, None, manifest)
}

/// As [`apply`]; objects that name no namespace come into this one.
///
/// # Errors
/// As [`apply`].
pub(crate) fn apply_in(place: &Place, namespace: Option<&str>, manifest: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut call = kubectl_call(place, &["apply", "--server-side", "--force-conflicts", "-f", "-"])?;
    call.args(namespace.map(|namespace| format!("--namespace={namespace}")));
    let mut child = call.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let mut stdin = child.stdin.take().context("the input is piped")?;
    stdin.write_all(manifest.as_bytes())?;
    drop(stdin);
    let status = child.wait()?;
    if !status.success() {
        bail!("kubectl apply: {status}");
    }
    Ok(())
}

/// Removes namespaces where they are there; `waits` until they are gone, which takes a cluster some ten seconds.
///
/// # Errors
/// What kubectl says, also that they are still there after two minutes.
pub(crate) fn remove_namespaces(place: &Place, names: &[&str], waits: bool) -> anyhow::Result<()> {
    let wait = format!("--wait={waits}");
    let how = ["--ignore-not-found", "--timeout=120s", &wait];
    kubectl(place, &[&["delete", "namespace"], names, &how].concat()).map(drop)
}

/// Where the definitions of a channel are.
///
/// # Errors
/// When the upstream module cannot be had.
pub(crate) fn crds(config: &Config, channel: Channel) -> anyhow::Result<PathBuf> {
    Ok(golang::module(config, "suite", "sigs.k8s.io/gateway-api")?.join(channel.crds()))
}

/// Applies the definitions of a channel over those of another one.
///
/// # Errors
/// What kubectl says.
pub(crate) fn channel_of(config: &Config, place: &Place, channel: Channel) -> anyhow::Result<()> {
    if channel == Channel::None {
        bail!("definitions are not taken away; there are standard and experimental");
    }
    // What the definitions bring keeps those of another channel out, unless it is taken away as it says itself.
    let kinds = "validatingadmissionpolicy,validatingadmissionpolicybinding";
    let folder = crds(config, channel)?;
    // It is heeded for a moment after it is gone.
    wait_for("the definitions", READY, || {
        kubectl(place, &["delete", kinds, GUARD, "--ignore-not-found"])?;
        definitions(place, &folder)
    })
}

/// Applies every definition of a folder of the upstream module.
///
/// # Errors
/// What kubectl says.
pub(crate) fn definitions(place: &Place, folder: &Path) -> anyhow::Result<()> {
    addons::crds(place, folder)
}

/// A program in the cluster's network; the files are the machine's.
///
/// # Errors
/// When no such cluster runs.
pub(crate) fn inside(place: &Place) -> anyhow::Result<Command> {
    let first = first_process(place)?;
    Ok(command("nsenter", &[&format!("--net=/proc/{first}/ns/net"), "--"]))
}

/// A program of this machine that sees what programs of the node see, such as the networks of its pods.
///
/// # Errors
/// When no such cluster runs.
pub(crate) fn on_node(place: &Place) -> anyhow::Result<Command> {
    let first = first_process(place)?;
    let enter = |option: &str, kind: &str| format!("--{option}=/proc/{first}/ns/{kind}");
    Ok(command("nsenter", &[&enter("net", "net"), &enter("mount", "mnt"), "--"]))
}

/// The same in the network of the pod that has an address; its words follow.
///
/// # Errors
/// When no such cluster runs.
pub(crate) fn in_network_of(place: &Place, address: &str) -> anyhow::Result<Command> {
    let mut command = on_node(place)?;
    command.args(["sh", "-c", FIND, "find", address]);
    Ok(command)
}

fn first_process(place: &Place) -> anyhow::Result<i32> {
    place.first_process().with_context(|| format!("no cluster `{}` runs: make cluster-up", place.name))
}

/// `kubectl` for the person at the terminal.
///
/// # Errors
/// When kubectl does not succeed.
pub(crate) fn kubectl_here(config: &Config, words: &[String]) -> anyhow::Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut call = kubectl_call(&Place::new(config, &config.cluster), &words)?;
    let status = call.status()?;
    if status.success() { Ok(()) } else { bail!("kubectl: {status}") }
}

/// A command in the cluster's network, for the person at the terminal.
///
/// # Errors
/// When the command does not succeed.
pub(crate) fn enter_here(config: &Config, words: &[String]) -> anyhow::Result<()> {
    let place = Place::new(config, &config.cluster);
    let mut call = inside(&place)?;
    call.args(words).env("KUBECONFIG", place.kubeconfig());
    succeed(call)
}

/// Runs words in the network namespace that has an address.
const FIND: &str = r#"
address=$1; shift
for name in $(ls /run/netns); do
  if ip -n "$name" -o address 2>/dev/null | grep -q " $address/"; then exec nsenter --net="/run/netns/$name" "$@"; fi
done
echo "no network namespace has the address $address" >&2; exit 1
"#;
