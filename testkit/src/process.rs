//! Child processes that end with their test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A child process; it is killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    /// Starts a command and collects the lines of its standard error and output.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (sender, lines) = channel();
        let out = child.stdout.take().context("no standard output")?;
        let err = child.stderr.take().context("no standard error")?;
        let other = sender.clone();
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).all(|l| sender.send(l).is_ok())
        });
        std::thread::spawn(move || {
            BufReader::new(err).lines().map_while(Result::ok).all(|l| other.send(l).is_ok())
        });
        Ok(Self { child, lines, seen: Vec::new() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that holds a text and gives it.
    ///
    /// # Errors
    /// When the process says nothing of the kind within the limit; the error holds what it said.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<String> {
        loop {
            match self.lines.recv_timeout(limit) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return Ok(line);
                    }
                }
                Err(_) => bail!("{text:?} was not said within {limit:?}; it said:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// What it has said so far.
    pub fn said(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }

    /// Kills it at once, as a crash does, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to stop, as an orchestrator or Ctrl-C does, and waits for its end.
    ///
    /// # Errors
    /// When it does not end within the limit.
    pub fn stop(&mut self, signal: &str, limit: Duration) -> Result<std::process::ExitStatus> {
        let told =
            Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status()?;
        if !told.success() {
            bail!("kill -{signal} failed");
        }
        let tries = limit.as_millis() / 20;
        for _ in 0..tries {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        bail!("it still runs {limit:?} after SIG{signal}")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
