//! Running other programs, one named step after another. What the steps are is decided elsewhere.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

use crate::config::Config;
use crate::say;

/// Names of the steps that failed, and how long each took; a run goes on, so that one look shows everything.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    failed: Vec<String>,
    took: Vec<String>,
}

impl Steps {
    /// Runs one step and remembers its name when it fails.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> anyhow::Result<()>) {
        say(&format!("== {name}"));
        let start = now();
        if let Err(error) = step() {
            say(&format!("== {name} FAILED: {error:#}"));
            self.failed.push(name.to_owned());
        }
        self.took.push(format!("{name} {} s", start.elapsed().as_secs()));
    }

    /// # Errors
    /// Names the steps that failed.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        say(&format!("took: {}", self.took.join(", ")));
        if self.failed.is_empty() {
            return Ok(());
        }
        bail!("failed: {}", self.failed.join(", "))
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "other programs are timed here, to which virtual time means nothing"
)]
fn now() -> Instant {
    Instant::now()
}

/// A call of cargo in the workspace.
pub(crate) fn cargo(config: &Config, arguments: &[&str]) -> Command {
    let mut command = Command::new(&config.cargo);
    command.args(arguments).current_dir(&config.root);
    command
}

/// Runs a program to its end; its output goes where ours goes.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub(crate) fn succeed(mut command: Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| line_of(&command))?;
    if !status.success() {
        bail!("{}: {status}", line_of(&command));
    }
    Ok(())
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub(crate) fn output(mut command: Command) -> anyhow::Result<String> {
    let command = command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| line_of(command))?;
    if !output.status.success() {
        bail!("{}: {}", line_of(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program to its end, passing on and showing `each` line that it prints.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub(crate) fn lines(mut command: Command, mut each: impl FnMut(&str)) -> anyhow::Result<()> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| line_of(command))?;
    let stdout = child.stdout.take().context("the output is piped")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        say(&line);
        each(&line);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{}: {status}", line_of(command));
    }
    Ok(())
}

/// Whether we are root.
///
/// # Errors
/// When the system cannot be asked.
pub(crate) fn root() -> anyhow::Result<bool> {
    let mut id = Command::new("id");
    id.arg("-u");
    Ok(output(id)?.trim() == "0")
}

/// Whether a program of this name is on the path.
pub(crate) fn on_path(program: &str, folders: &[&Path]) -> bool {
    folders.iter().any(|folder| folder.join(program).is_file())
}

fn line_of(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
