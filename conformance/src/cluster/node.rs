//! The first process of a node's namespaces: it runs what `node.json` says, keeps the programs running and
//! collects what they leave. What they are is decided by the settings.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use serde::{Deserialize, Serialize};

use crate::{clock, say};

/// How often the first process looks after the others.
const BEAT: Duration = Duration::from_millis(200);

/// What the first process does.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Commands that prepare mounts and network, in order.
    pub(super) prepare: Vec<Vec<String>>,
    /// Programs that need nothing.
    pub(super) first: Vec<Daemon>,
    /// Succeeds when the others can start.
    pub(super) ready: Vec<String>,
    /// Programs that need the first.
    pub(super) then: Vec<Daemon>,
    pub(super) environment: BTreeMap<String, String>,
}

/// A program that runs as long as the node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Daemon {
    pub(super) name: String,
    pub(super) command: Vec<String>,
}

/// Runs the node in this folder; ends only when it is killed.
///
/// # Errors
/// When it cannot be prepared.
pub(crate) fn run(words: &[String]) -> anyhow::Result<()> {
    let folder = Path::new(words.first().context("the node's folder is missing")?);
    let plan: Plan = serde_json::from_slice(&std::fs::read(folder.join("node.json"))?)?;
    for line in &plan.prepare {
        let status = call(&plan, line)?.status().with_context(|| line.join(" "))?;
        anyhow::ensure!(status.success(), "{}: {status}", line.join(" "));
    }
    let mut running = BTreeMap::new();
    for daemon in &plan.first {
        running.insert(start(folder, &plan, daemon)?, daemon);
    }
    while !call(&plan, &plan.ready)?.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
        clock::pause(BEAT);
        collect(folder, &plan, &mut running)?;
    }
    for daemon in &plan.then {
        running.insert(start(folder, &plan, daemon)?, daemon);
    }
    loop {
        clock::pause(BEAT);
        collect(folder, &plan, &mut running)?;
    }
}

/// Collects everything that has ended, and starts again what should run.
fn collect(folder: &Path, plan: &Plan, running: &mut BTreeMap<i32, &Daemon>) -> anyhow::Result<()> {
    loop {
        let ended = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
            ended => ended?,
        };
        let Some(daemon) = ended.pid().and_then(|pid| running.remove(&pid.as_raw())) else { continue };
        say(&format!("{} ended: {ended:?}; starting it again", daemon.name));
        running.insert(start(folder, plan, daemon)?, daemon);
    }
}

fn start(folder: &Path, plan: &Plan, daemon: &Daemon) -> anyhow::Result<i32> {
    let path = folder.join("logs").join(format!("{}.log", daemon.name));
    let log = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    let mut call = call(plan, &daemon.command)?;
    let child = call.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
    Ok(i32::try_from(child.with_context(|| daemon.name.clone())?.id())?)
}

fn call(plan: &Plan, line: &[String]) -> anyhow::Result<Command> {
    let (program, arguments) = line.split_first().context("an empty command")?;
    let mut call = Command::new(program);
    call.args(arguments).envs(&plan.environment).current_dir("/");
    Ok(call)
}
