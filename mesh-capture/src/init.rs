//! The hidden half of the binary: the broker, which lives in a workload's namespaces and makes what only a process
//! inside can make. It has one thread, waits for orders, and ends with the process that launched it.

mod confine;
mod mounts;
mod namespaces;
mod sockets;
mod supervisor;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

use mesh_rt::passing::Packets;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags};

use super::wire::{Answer, Order, hear, say};

/// The first argument of the broker.
pub(super) const BROKER: &str = "__capture-broker";
/// The first argument of the supervisor.
const SUPERVISOR: &str = "__capture-supervisor";

/// A step of the set-up that failed.
#[derive(Debug)]
struct Refusal {
    step: String,
    problem: io::Error,
}

impl Refusal {
    /// For `map_err`: names the step.
    fn of<E: Into<io::Error>>(step: &str) -> impl FnOnce(E) -> Self {
        move |problem| Self { step: step.to_owned(), problem: problem.into() }
    }
}

/// Runs as a helper when the arguments (without the program's name) say so.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let role = arguments.next()?;
    if role == BROKER {
        return Some(exit(broker()));
    }
    (role == SUPERVISOR).then(|| exit(supervisor::run()))
}

fn exit(result: io::Result<()>) -> ExitCode {
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The socket that the launching process gave as standard input.
fn leash() -> io::Result<Packets> {
    Ok(Packets::from(io::stdin().as_fd().try_clone_to_owned()?))
}

fn broker() -> io::Result<()> {
    let control = leash()?;
    let Some((Order::Open { hidden, listeners, port, shown }, passed)) = hear(&control)? else {
        return Ok(());
    };
    let mut opened = match open((&hidden, &shown), listeners.max(1), port) {
        Ok(opened) => opened,
        Err(refusal) => return say(&control, &refusal.answer(), &[]),
    };
    let Some(demands) = passed.into_iter().next() else { return Ok(()) };
    let mut supervisor = match start_supervisor(demands) {
        Ok(child) => child,
        Err(problem) => return say(&control, &Refusal::of("start the supervisor")(problem).answer(), &[]),
    };
    let answer = Answer::Opened { ipv6: opened.ipv6 };
    let told = {
        let passed: Vec<_> = opened.descriptors.iter().map(AsFd::as_fd).collect();
        say(&control, &answer, &passed)
    };
    opened.descriptors.clear();
    let maker = sockets::Maker::new(super::nft::Rules::local(port));
    let served = told.and_then(|()| serve(&control, &supervisor, maker));
    // Whatever ended the service: no process of the workload outlives it, and none is left for others to reap.
    supervisor.kill()?;
    supervisor.wait()?;
    served
}

struct Opened {
    /// The hosts file, then the listeners.
    descriptors: Vec<OwnedFd>,
    ipv6: bool,
}

/// Makes the namespaces and all that is in them before the application starts.
fn open((hidden, shown): (&[PathBuf], &[PathBuf]), listeners: usize, port: u16) -> Result<Opened, Refusal> {
    namespaces::enter()?;
    let file = mounts::bind()?;
    mounts::hide(hidden, shown)?;
    let ipv6 = super::link::prepare().map_err(Refusal::of("set up loopback"))?;
    // A read-only /proc/sys only means that ports below 1024 stay closed to an unprivileged application.
    let _ = super::link::open_low_ports();
    let mut descriptors = vec![file];
    for _ in 0..listeners {
        descriptors
            .push(sockets::listener(port, ipv6).map_err(Refusal::of("listen for captured connections"))?);
    }
    super::nft::Rules::local(port).apply().map_err(Refusal::of("set the redirect rules"))?;
    confine::lend_to_supervisor().map_err(Refusal::of("keep the rights to set up processes"))?;
    Ok(Opened { descriptors, ipv6 })
}

/// The first process after `unshare` becomes process 1 of the new namespace.
fn start_supervisor(demands: OwnedFd) -> io::Result<Child> {
    Command::new("/proc/self/exe").arg0("mesh-supervisor").arg(SUPERVISOR).stdin(Stdio::from(demands)).spawn()
}

/// Makes sockets until the launching process or the supervisor is gone.
fn serve(control: &Packets, supervisor: &Child, mut maker: sockets::Maker) -> io::Result<()> {
    let ended = rustix::process::pidfd_open(Pid::from_child(supervisor), PidfdFlags::empty())?;
    loop {
        let mut watched = [PollFd::new(control, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
        match rustix::event::poll(&mut watched, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        if !watched[1].revents().is_empty() {
            return Ok(());
        }
        let Some((order, _)) = hear::<Order>(control)? else { return Ok(()) };
        match maker.make(&order) {
            Ok(made) => {
                let passed: Vec<_> = made.iter().map(AsFd::as_fd).collect();
                say(control, &Answer::Passed, &passed)?;
            }
            Err(problem) => say(control, &Refusal::of("make a socket")(problem).answer(), &[])?,
        }
    }
}

impl Refusal {
    fn answer(&self) -> Answer {
        Answer::Refused {
            step: self.step.clone(),
            code: self.problem.raw_os_error(),
            text: self.problem.to_string(),
        }
    }
}

impl From<super::netlink::NetlinkError> for io::Error {
    fn from(error: super::netlink::NetlinkError) -> Self {
        io::Error::other(error)
    }
}
