//! The application of a launched workload: waiting for its end, starting it again, ending it.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mesh_rt::passing::AsyncPackets;
use rustix::process::Signal;

use super::launcher::LaunchError;
use super::spec::Program;
use super::wire::{Report, encode_program, hear_from};

/// How an application ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// Its supervisor is gone, and the kernel took the application along.
    Lost,
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with code {code}"),
            Self::Lost => write!(f, "was taken down with its namespaces"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

/// The application of a workload. When it is dropped, every process of the workload ends.
#[derive(Debug)]
pub struct Process {
    /// Reaps the broker, our direct child.
    child: tokio::process::Child,
    demands: AsyncPackets,
    ended: Option<Exit>,
    handle: Option<OwnedFd>,
    program: Program,
}

impl Process {
    pub(super) async fn start(
        child: tokio::process::Child,
        demands: AsyncPackets,
        program: Program,
    ) -> Result<Self, LaunchError> {
        let mut process = Self { child, demands, ended: None, handle: None, program };
        process.restart().await?;
        Ok(process)
    }

    /// The application's number as this process sees it; `None` when it has ended.
    pub fn pid(&self) -> Option<u32> {
        let handle = self.handle.as_ref().filter(|_| self.ended.is_none())?;
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", handle.as_raw_fd())).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
        line.trim().parse().ok()
    }

    /// Waits until the application ends; its own children end with it. Gives the same answer until a restart. May be
    /// dropped and called again.
    pub async fn wait(&mut self) -> Exit {
        if let Some(exit) = self.ended {
            return exit;
        }
        let exit = match hear_from::<Report>(&self.demands).await {
            Ok(Some((Report::Ended { code: Some(code), .. }, _))) => Exit::Code(code),
            Ok(Some((Report::Ended { signal: Some(signal), .. }, _))) => Exit::Signal(signal),
            _ => Exit::Lost,
        };
        self.ended = Some(exit);
        exit
    }

    /// Starts the application again, in the same namespaces: listeners, hosts and output pipes stay. One that still
    /// runs is killed.
    ///
    /// # Errors
    /// The program cannot be started, or the namespaces are gone ([`LaunchError::Lost`]; launch anew).
    pub async fn restart(&mut self) -> Result<(), LaunchError> {
        let program = encode_program(&self.program)
            .map_err(|problem| LaunchError::NotStarted { program: self.name(), problem })?;
        self.demands.send(&program, &[]).await.map_err(LaunchError::of_talk)?;
        loop {
            match hear_from::<Report>(&self.demands).await.map_err(LaunchError::of_talk)? {
                // The end of the one before, which nobody waited for.
                Some((Report::Ended { .. }, _)) => {}
                Some((Report::NotStarted { code, text }, _)) => {
                    self.ended = Some(Exit::Lost);
                    let problem = code.map_or_else(|| io::Error::other(text), io::Error::from_raw_os_error);
                    return Err(LaunchError::NotStarted { program: self.name(), problem });
                }
                Some((Report::Started, passed)) => {
                    self.handle = passed.into_iter().next();
                    self.ended = None;
                    return Ok(());
                }
                None => return Err(LaunchError::Lost),
            }
        }
    }

    fn name(&self) -> String {
        self.program.argv.first().map(|first| first.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Asks the application to end (SIGTERM), and after `grace` ends the whole workload: no process, no mount and no
    /// namespace is left when this returns.
    pub async fn stop(mut self, grace: Duration) -> Exit {
        if self.ended.is_none()
            && let Some(handle) = &self.handle
        {
            // It fails when the application has just ended by itself.
            let _ = rustix::process::pidfd_send_signal(handle, Signal::TERM);
        }
        let exit = match tokio::time::timeout(grace, self.wait()).await {
            Ok(exit) => exit,
            Err(_) => Exit::Signal(Signal::KILL.as_raw()),
        };
        let Self { mut child, demands, .. } = self;
        drop(demands);
        // The supervisor ends with the socket, the broker with the supervisor. It cannot be kept from it, but waiting
        // for ever is nobody's interest.
        if tokio::time::timeout(Duration::from_secs(5), child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
        exit
    }
}
