//! Launching a workload from outside: starting the helpers, telling them what to do, collecting what they made.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use mesh_rt::passing::{AsyncPackets, Packets};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use super::broker::SocketBroker;
use super::hosts::HostsFile;
use super::process::Process;
use super::spec::WorkloadSpec;
use super::wire::{Answer, Order, hear_from, say_to};

/// Where captured connections arrive, inside the workload's namespace.
pub const OUTBOUND_PORT: u16 = 15001;

/// How long the namespaces may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a workload was not launched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The helper program or a socket to it could not be made.
    #[error("cannot start the capture helper: {0}")]
    Helper(#[source] io::Error),
    /// The names do not fit.
    #[error("cannot write the hosts file: {0}")]
    Hosts(#[source] io::Error),
    /// A helper ended before its work was done.
    #[error("the capture helper ended early")]
    Lost,
    /// The namespaces are there, but the program does not run.
    #[error("cannot run {program}: {problem}")]
    NotStarted {
        /// The program.
        program: String,
        /// What the system said.
        problem: io::Error,
    },
    /// The machine does not allow the namespaces.
    #[error("cannot {step}: {problem}{hint}")]
    Refused {
        /// The step, such as "create a user namespace".
        step: String,
        /// What the system said.
        problem: io::Error,
        /// What on this machine forbids it, if known: starts with a blank and a bracket.
        hint: &'static str,
    },
    /// A helper did not answer.
    #[error("the capture helper did not answer in {} s", PATIENCE.as_secs())]
    TimedOut,
}

impl LaunchError {
    /// A failure while talking to a helper; a closed socket means that it is gone.
    pub(super) fn of_talk(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Lost,
            _ => Self::Helper(error),
        }
    }
}

/// A workload that runs. Its parts are used independently; when `process`, or the last clone of `broker`, is dropped,
/// the workload ends.
#[derive(Debug)]
pub struct Launched {
    /// Sockets inside its namespace.
    pub broker: SocketBroker,
    /// Its names.
    pub hosts: HostsFile,
    /// Whether its namespace has IPv6; else captured connections are IPv4 only.
    pub ipv6: bool,
    /// The name given.
    pub name: String,
    /// Where its connections arrive, non-blocking; as many as were asked for, each gets its share.
    pub outbound: Vec<TcpListener>,
    /// The application.
    pub process: Process,
    /// What the application writes to standard error, also after a restart. To be read, or it will block.
    pub stderr: ChildStderr,
    /// What the application writes to standard output, likewise.
    pub stdout: ChildStdout,
}

/// Starts workloads in namespaces of their own, without root, by running this binary again.
#[derive(Debug, Clone)]
pub struct Launcher {
    binary: PathBuf,
}

impl Default for Launcher {
    fn default() -> Self {
        Self::new()
    }
}

impl Launcher {
    /// Uses the running binary as helper; its `main` must begin with [`maybe_reexec`](super::maybe_reexec).
    pub fn new() -> Self {
        Self { binary: PathBuf::from("/proc/self/exe") }
    }

    /// Uses another binary as helper, which must begin with [`maybe_reexec`](super::maybe_reexec) too.
    pub fn with_binary(binary: impl Into<PathBuf>) -> Self {
        Self { binary: binary.into() }
    }

    /// Whether this machine allows what [`Self::spawn`] needs, by doing it all but for the program. The error is one
    /// line, fit to be shown as the reason for working without namespaces.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub async fn is_supported(&self) -> Result<(), LaunchError> {
        let (mut child, opened) = self.open(1, (Vec::new(), Vec::new())).await?;
        drop(opened);
        // It ends by itself now; waiting keeps the process table clean.
        tokio::time::timeout(PATIENCE, child.wait())
            .await
            .map_err(|_| LaunchError::TimedOut)?
            .map(drop)
            .map_err(LaunchError::Helper)
    }

    /// Launches a workload. Must be called in the runtime that outlives it.
    ///
    /// # Errors
    /// Namespaces are not allowed here, or the program does not run; nothing is left behind.
    pub async fn spawn(&self, spec: WorkloadSpec) -> Result<Launched, LaunchError> {
        let (mut child, opened) = self.open(spec.listeners, (spec.hidden, spec.shown)).await?;
        let hosts = HostsFile::new(opened.hosts.into());
        hosts.replace(&spec.hosts).map_err(LaunchError::Hosts)?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(LaunchError::Lost);
        };
        let process = tokio::time::timeout(PATIENCE, Process::start(child, opened.demands, spec.program))
            .await
            .map_err(|_| LaunchError::TimedOut)??;
        Ok(Launched {
            broker: SocketBroker::start(opened.control),
            hosts,
            ipv6: opened.ipv6,
            name: spec.name,
            outbound: opened.listeners.into_iter().map(TcpListener::from).collect(),
            process,
            stderr,
            stdout,
        })
    }

    async fn open(
        &self,
        listeners: usize,
        (hidden, shown): (Vec<PathBuf>, Vec<PathBuf>),
    ) -> Result<(Child, Opened), LaunchError> {
        let (control, far) = Packets::pair().map_err(LaunchError::Helper)?;
        let (demands, supervisor) = Packets::pair().map_err(LaunchError::Helper)?;
        let child = self.start_broker(far.into()).map_err(LaunchError::Helper)?;
        let control = AsyncPackets::new(control).map_err(LaunchError::Helper)?;
        let demands = AsyncPackets::new(demands).map_err(LaunchError::Helper)?;
        let order = Order::Open { hidden, listeners, port: OUTBOUND_PORT, shown };
        let talk = async {
            say_to(&control, &order, &[supervisor.as_fd()]).await?;
            hear_from::<Answer>(&control).await
        };
        let answer = tokio::time::timeout(PATIENCE, talk).await.map_err(|_| LaunchError::TimedOut)?;
        let (ipv6, passed) = match answer.map_err(LaunchError::of_talk)? {
            Some((Answer::Opened { ipv6 }, passed)) => (ipv6, passed),
            Some((Answer::Refused { step, code, text }, _)) => return Err(refused(step, code, text)),
            Some((Answer::Passed, _)) | None => return Err(LaunchError::Lost),
        };
        let mut passed = passed.into_iter();
        let Some(hosts) = passed.next() else { return Err(LaunchError::Lost) };
        Ok((child, Opened { control, demands, hosts, ipv6, listeners: passed.collect() }))
    }

    /// Starts the broker. It has its own process group, so that an interrupt from the terminal reaches only us.
    fn start_broker(&self, control: OwnedFd) -> io::Result<Child> {
        Command::new(&self.binary)
            .arg0("mesh-broker")
            .arg(super::init::BROKER)
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(control))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }
}

struct Opened {
    control: AsyncPackets,
    demands: AsyncPackets,
    hosts: OwnedFd,
    ipv6: bool,
    listeners: Vec<OwnedFd>,
}

fn refused(step: String, code: Option<i32>, text: String) -> LaunchError {
    let problem = code.map_or_else(|| io::Error::other(text), io::Error::from_raw_os_error);
    LaunchError::Refused { step, problem, hint: hint() }
}

/// Which setting of this machine forbids namespaces.
fn hint() -> &'static str {
    let reads =
        |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if reads("/proc/sys/user/max_user_namespaces", "0") {
        return " (user.max_user_namespaces is 0)";
    }
    if reads("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return " (kernel.unprivileged_userns_clone is 0)";
    }
    if reads("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return " (kernel.apparmor_restrict_unprivileged_userns is 1)";
    }
    ""
}
