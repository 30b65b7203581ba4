//! The program of a replica, captured or plain: what is run, and how it is started, watched and stopped.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use mesh_controller::objects::Process;
use mesh_proxy::capture::{self, LaunchError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::supervisor::Program;
use crate::terminal::remark;

/// How long a program may take to end after it was asked to.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// What a process object asks to be run. `meshctl` stands for this binary.
pub(crate) fn wanted(
    process: &Process,
    folder: &Path,
    more: BTreeMap<OsString, OsString>,
) -> capture::Program {
    let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("meshctl"));
    let mut argv: Vec<OsString> =
        process.spec.command.iter().chain(&process.spec.args).map(OsString::from).collect();
    if let Some(first) = argv.first_mut().filter(|first| *first == OsStr::new("meshctl")) {
        *first = own.into_os_string();
    }
    let mut env = crate::config::passed_on();
    env.extend(more);
    env.extend(process.spec.env.iter().map(|v| (OsString::from(&v.name), OsString::from(&v.value))));
    let cwd = process.spec.working_dir.as_ref().map_or_else(|| folder.to_path_buf(), |dir| folder.join(dir));
    capture::Program { argv, cwd: cwd.canonicalize().unwrap_or(cwd), env }
}

/// A program that runs, or ran, or will.
pub(crate) enum App {
    /// In namespaces of its own. The first start has happened already when it is made.
    Captured {
        /// The program.
        process: capture::Process,
        /// Whether the next start is the one that has happened.
        fresh: bool,
        /// Whether its namespaces are gone.
        lost: bool,
    },
    /// As an ordinary child.
    Plain {
        /// What is run.
        program: capture::Program,
        /// Prefixes what it writes.
        name: String,
        /// The child, while there is one.
        child: Option<Child>,
    },
}

impl Program for App {
    async fn start(&mut self) -> Result<u32, String> {
        match self {
            Self::Captured { process, fresh, lost } => {
                if !std::mem::take(fresh)
                    && let Err(error) = process.restart().await
                {
                    *lost = matches!(error, LaunchError::Lost);
                    return Err(error.to_string());
                }
                Ok(process.pid().unwrap_or_default())
            }
            Self::Plain { program, name, child } => {
                let mut started = plain(program).map_err(|error| format!("it cannot be started: {error}"))?;
                started.stdout.take().into_iter().for_each(|out| echo(name, out));
                started.stderr.take().into_iter().for_each(|err| echo(name, err));
                let pid = started.id().unwrap_or_default();
                *child = Some(started);
                Ok(pid)
            }
        }
    }

    async fn ended(&mut self) -> String {
        match self {
            Self::Captured { process, .. } => format!("it {}", process.wait().await),
            Self::Plain { child: Some(child), .. } => {
                child.wait().await.map_or_else(|error| format!("it cannot be waited for: {error}"), describe)
            }
            Self::Plain { child: None, .. } => "it was not started".to_owned(),
        }
    }

    fn is_lost(&self) -> bool {
        matches!(self, Self::Captured { lost: true, .. })
    }
}

impl App {
    /// Asks the program to end, and ends it when it does not within [`GRACE`].
    pub(crate) async fn stop(self) {
        match self {
            Self::Captured { process, .. } => drop(process.stop(GRACE).await),
            Self::Plain { child: Some(mut child), .. } => {
                signal(&child, Signal::SIGTERM);
                if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                    signal(&child, Signal::SIGKILL);
                    // It cannot refuse; its end is waited for so that no zombie is left.
                    let _ = child.wait().await;
                }
            }
            Self::Plain { child: None, .. } => {}
        }
    }
}

/// Starts an ordinary child in a process group of its own, so that an interrupt at the terminal reaches us first.
fn plain(program: &capture::Program) -> std::io::Result<Child> {
    let Some((first, arguments)) = program.argv.split_first() else {
        return Err(std::io::Error::other("the command is empty"));
    };
    let mut command = Command::new(first);
    command.args(arguments).env_clear().envs(&program.env).current_dir(&program.cwd).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()
}

/// Signals the child's whole group. One that has just ended cannot be told; its end is seen anyway.
fn signal(child: &Child, signal: Signal) {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = kill(Pid::from_raw(-id), signal);
    }
}

fn describe(status: ExitStatus) -> String {
    let by_signal = status.signal().and_then(|number| Signal::try_from(number).ok());
    match (status.code(), by_signal) {
        (Some(code), _) => format!("it ended with code {code}"),
        (None, Some(signal)) => format!("it was ended by {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

/// Passes on what a program writes, line by line, under its name.
pub(crate) fn echo(name: &str, out: impl AsyncRead + Unpin + 'static) {
    let name = name.to_owned();
    tokio::task::spawn_local(async move {
        let mut lines = BufReader::new(out).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            remark(&format!("[{name}] {}", String::from_utf8_lossy(&line).trim_end()));
        }
    });
}
