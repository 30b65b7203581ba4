//! Process 1 of a workload: starts the application, reaps everything, reports the end. When it ends, the kernel ends
//! every process of the workload.

use std::io;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use mesh_rt::passing::Packets;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus};

use super::leash;
use crate::spec::Program;
use crate::wire::{Report, decode_program, say};

/// The supervisor's life.
pub(super) fn run() -> io::Result<()> {
    let demands = leash()?;
    // Not possible where the machine's own /proc is covered in part; then the workload sees the machine's.
    let _ = super::mounts::own_processes();
    super::confine::give_up()?;
    // The socket tells when the launching process ends, this when the broker does.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let children = child_signal();
    children.thread_block()?;
    let signals = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let mut application = None;
    loop {
        let mut watched = [PollFd::new(&demands, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        match rustix::event::poll(&mut watched, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let demanded = !watched[0].revents().is_empty();
        while signals.read_signal()?.is_some() {}
        application = reap(&demands, application)?;
        if demanded {
            let Some(packet) = demands.receive()? else { return Ok(()) };
            let Some(program) = decode_program(&packet.bytes) else { return Ok(()) };
            end_all();
            application = start(&demands, &program)?;
            application = reap(&demands, application)?;
        }
    }
}

fn child_signal() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set
}

/// Starts the application and reports it.
fn start(demands: &Packets, program: &Program) -> io::Result<Option<Pid>> {
    let Some((first, rest)) = program.argv.split_first() else {
        let text = "no program is named".to_owned();
        say(demands, &Report::NotStarted { code: None, text }, &[])?;
        return Ok(None);
    };
    let mut command = Command::new(first);
    command.args(rest).env_clear().envs(&program.env).current_dir(&program.cwd).stdin(Stdio::null());
    // A child inherits what is blocked; a signal missed meanwhile is made up for by the reaping that follows.
    child_signal().thread_unblock()?;
    let started = command.spawn();
    child_signal().thread_block()?;
    match started {
        Ok(child) => {
            let pid = Pid::from_child(&child);
            let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
            say(demands, &Report::Started, &[handle.as_fd()])?;
            Ok(Some(pid))
        }
        Err(error) => {
            let report = Report::NotStarted { code: error.raw_os_error(), text: error.to_string() };
            say(demands, &report, &[])?;
            Ok(None)
        }
    }
}

/// Takes ended processes off the table. When the application is among them, ends the rest and reports.
fn reap(demands: &Packets, application: Option<Pid>) -> io::Result<Option<Pid>> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if Some(pid) == application {
            ended = Some(status);
        }
    }
    let Some(status) = ended else { return Ok(application) };
    end_all();
    report(demands, status)?;
    Ok(None)
}

fn report(demands: &Packets, status: WaitStatus) -> io::Result<()> {
    let report = Report::Ended { code: status.exit_status(), signal: status.terminating_signal() };
    say(demands, &report, &[])
}

/// Ends and reaps every process but this one.
fn end_all() {
    // It fails when there is none.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(-1), Signal::SIGKILL);
    while rustix::process::wait(WaitOptions::empty()).is_ok() {}
}
