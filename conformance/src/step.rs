//! Running other programs. What is run is decided elsewhere.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::clock::{Stopwatch, pause};
use crate::say;

/// A call of a program; its folder is the root, so that nothing depends on where we were started.
pub(crate) fn command(program: impl AsRef<Path>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program.as_ref());
    command.args(arguments).current_dir("/");
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

/// Runs a program to its end and returns what it printed; what it says on stderr becomes part of the error.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub(crate) fn output(mut command: Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| line_of(&command))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", line_of(&command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program to its end; whether it succeeded, and all that it said.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn captured(mut command: Command) -> anyhow::Result<(bool, String)> {
    let output = command.stdin(Stdio::null()).output().with_context(|| line_of(&command))?;
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    Ok((output.status.success(), said.concat()))
}

/// A program that ends with its owner.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks again and again until something holds.
///
/// # Errors
/// The last answer, when it did not hold in time.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let start = Stopwatch::start();
    loop {
        match ask() {
            Ok(found) => return Ok(found),
            Err(error) if start.elapsed() > limit => {
                return Err(error.context(format!("{what}: not in {limit:?}")));
            }
            Err(_) => pause(Duration::from_millis(200)),
        }
    }
}

/// What a check shows, and how it is made in a scene.
pub(crate) type Check<S> = (&'static str, fn(&S) -> anyhow::Result<()>);

/// Makes every check, also when one before it failed, and says what came of each.
///
/// # Errors
/// Names those that failed.
pub(crate) fn all<S>(scene: &S, checks: &[Check<S>]) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for (shows, check) in checks {
        match check(scene) {
            Ok(()) => say(&format!("pass {shows}")),
            Err(error) => {
                say(&format!("FAIL {shows}: {error:#}"));
                failed.push(*shows);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join("; ")) }
}

/// The folder of a search path that holds a program.
pub(crate) fn find(program: &str, path: &str) -> Option<std::path::PathBuf> {
    let debian = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let folders = path.split(':').chain(debian.split(':'));
    folders.map(|folder| Path::new(folder).join(program)).find(|file| file.is_file())
}

fn line_of(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// An address as URLs have it (RFC 3986, section 3.2.2).
pub(crate) fn in_url(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}
