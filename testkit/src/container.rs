//! A program as the first process of a container: the kernel ignores for it what it does not listen for.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// A root of the trust domain `cluster.local`, whose key nobody has.
const ROOT: &str = "\
-----BEGIN CERTIFICATE-----
MIIBqzCCAVCgAwIBAgIULtuLVK86GHHUsL0GiESRzbezlngwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjcwNzIzNDlaGA8yMTI2MTEwMzA3MjM0
OVowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPv+
SvJkBlWjispCofY/e3M6QhkhFoGl6WvTh4Z011fFtG7OZzE0IHsEhfVsqTyCvwRW
bFnuOkXH23G9dsukBF2jgYcwgYQwHQYDVR0OBBYEFIp/02t8omXad+72+cNYfluG
8q4VMB8GA1UdIwQYMBaAFIp/02t8omXad+72+cNYfluG8q4VMA8GA1UdEwEB/wQF
MAMBAf8wDgYDVR0PAQH/BAQDAgEGMCEGA1UdEQQaMBiGFnNwaWZmZTovL2NsdXN0
ZXIubG9jYWwwCgYIKoZIzj0EAwIDSQAwRgIhANp70elYhIj0lltI+rxkrOGAPDvV
JxQ6r0/55iBUUJPPAiEA2Bps9pBgh4wfMA+F9rlIR4CxXiiY/zxaGjC+bmF3hoo=
-----END CERTIFICATE-----
";

/// `O_NONBLOCK`.
const NO_WAIT: i32 = 0o4000;

/// Starts a program with `--config FILE`, sends it SIGTERM while it waits for what is in the file, and then lets it read
/// the text, in which `ROOTS` and `TOKEN` become files. Returns how it ended.
///
/// # Errors
/// It does not end within the limit.
pub fn told_to_end_at_its_start(
    program: &str,
    config: &str,
    folder: &Path,
    limit: Duration,
) -> Result<ExitStatus> {
    let (file, roots, token) = (folder.join("config"), folder.join("roots.pem"), folder.join("token"));
    std::fs::write(&roots, ROOT)?;
    std::fs::write(&token, "token")?;
    ensure!(Command::new("mkfifo").arg(&file).status()?.success(), "mkfifo failed");
    let mut outer = Command::new("unshare");
    outer.args(["--pid", "--fork", "--kill-child", "--", program, "--config"]).arg(&file);
    let mut outer = outer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut write = reader_of(&file, limit)?;
    let children = format!("/proc/{0}/task/{0}/children", outer.id());
    let first = std::fs::read_to_string(&children).context(children)?;
    let told = Command::new("kill").arg("-TERM").arg(first.trim()).status()?;
    let text = config.replace("ROOTS", &roots.display().to_string());
    write.write_all(text.replace("TOKEN", &token.display().to_string()).as_bytes())?;
    drop(write);
    for _ in 0..limit.as_millis() / 20 {
        if let Some(status) = outer.try_wait()? {
            ensure!(told.success(), "kill failed");
            return Ok(status);
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    outer.kill()?;
    outer.wait()?;
    bail!("it still runs {limit:?} after SIGTERM")
}

/// A pipe's end for writing, as soon as the program reads from it: before that it cannot be opened without waiting.
fn reader_of(pipe: &Path, limit: Duration) -> Result<File> {
    for _ in 0..limit.as_millis() / 20 {
        if let Ok(file) = OpenOptions::new().write(true).custom_flags(NO_WAIT).open(pipe) {
            return Ok(file);
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    bail!("the program does not read its configuration")
}
