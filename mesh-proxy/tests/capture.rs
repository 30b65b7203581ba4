//! Capture as it is used: real namespaces, real rules, real processes. Each case runs in a process of its own, as
//! the user of the test and, when that is root, as an unprivileged user too.
//!
//! The binary has no test harness, because it plays several parts: the helpers of the launcher (which must come
//! before any thread), the application inside a workload, and one case.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test, and a stand-in for somebody's application, which knows none of our seams"
)]

#[path = "capture/application.rs"]
mod application;
#[path = "capture/kernel.rs"]
mod kernel;
#[path = "capture/life.rs"]
mod life;
#[path = "capture/traffic.rs"]
mod traffic;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The user that cases run as besides root; it needs no account.
const NOBODY: u32 = 65534;

type Case = (&'static str, fn());

fn main() -> ExitCode {
    if let Some(code) = mesh_proxy::capture::maybe_reexec() {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["application", rest @ ..] => application::main(rest),
        ["hold"] => life::hold(),
        ["case", name] => run_case(name),
        _ => run_all(&words),
    }
}

fn cases() -> Vec<Case> {
    [kernel::CASES, life::CASES, traffic::CASES].concat()
}

fn run_case(name: &str) -> ExitCode {
    let case = cases().into_iter().find(|(found, _)| *found == name).expect("the case exists");
    case.1();
    ExitCode::SUCCESS
}

fn run_all(words: &[&str]) -> ExitCode {
    let filters: Vec<&&str> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let chosen: Vec<Case> = cases()
        .into_iter()
        .filter(|(name, _)| filters.is_empty() || filters.iter().any(|filter| name.contains(**filter)))
        .collect();
    let own = std::env::current_exe().expect("the own path is known");
    if words.contains(&"--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut runs = vec![("", own.clone(), None)];
    let copy = rustix::process::geteuid().is_root().then(|| readable_copy(&own));
    if let Some(copy) = &copy {
        runs.push((" as an unprivileged user", copy.join("capture"), Some(NOBODY)));
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, _) in &chosen {
        for (suffix, program, user) in &runs {
            let good = run_as(program, name, *user);
            println!("test {name}{suffix} ... {}", if good { "ok" } else { "FAILED" });
            *(if good { &mut passed } else { &mut failed }) += 1;
        }
    }
    if let Some(copy) = copy {
        std::fs::remove_dir_all(copy).expect("the copy is ours");
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_as(program: &Path, name: &str, user: Option<u32>) -> bool {
    let mut command = Command::new(program);
    command.args(["case", name]).current_dir("/");
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command.status().is_ok_and(|status| status.success())
}

/// The target folder may lie where the other user cannot go.
fn readable_copy(own: &Path) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("capture-test-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("the folder is new");
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).expect("the folder is ours");
    std::fs::copy(own, folder.join("capture")).expect("there is room for a copy");
    folder
}

/// What the cases share.
mod stage {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, SocketAddr};
    use std::time::Duration;

    use mesh_proxy::capture::{DestinationError, Launched, Launcher, Program, WorkloadSpec, destination};
    use tokio::io::{AsyncRead, AsyncReadExt};
    use tokio::net::{TcpListener, TcpStream};

    /// Runs a case's steps; nothing in them takes half a minute unless it hangs.
    pub(crate) fn run(steps: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(30), steps).await.expect("in time") });
    }

    /// A workload whose application is this binary in that part.
    pub(crate) fn workload(words: &[&str], hosts: &[(&str, &str)]) -> WorkloadSpec {
        let own = std::env::current_exe().unwrap().into_os_string();
        let mut argv = vec![own, "application".into()];
        argv.extend(words.iter().map(Into::into));
        let program = Program { argv, cwd: "/".into(), env: BTreeMap::new() };
        WorkloadSpec {
            hidden: Vec::new(),
            hosts: names(hosts),
            listeners: 1,
            name: "test".to_owned(),
            program,
            shown: Vec::new(),
        }
    }

    pub(crate) fn names(hosts: &[(&str, &str)]) -> Vec<(IpAddr, Vec<String>)> {
        hosts.iter().map(|(name, address)| (address.parse().unwrap(), vec![(*name).to_owned()])).collect()
    }

    pub(crate) async fn launch(words: &[&str], hosts: &[(&str, &str)]) -> Launched {
        Launcher::new().spawn(workload(words, hosts)).await.expect("the workload starts")
    }

    /// Accepts one captured connection.
    pub(crate) async fn accept(launched: &Launched) -> (TcpStream, Result<SocketAddr, DestinationError>) {
        let listener = TcpListener::from_std(launched.outbound[0].try_clone().unwrap()).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let found = destination(&stream);
        (stream, found)
    }

    pub(crate) async fn read_all(mut from: impl AsyncRead + Unpin) -> String {
        let mut text = String::new();
        from.read_to_string(&mut text).await.unwrap();
        text
    }

    /// Waits for the application's end and gives what it wrote; the pipe itself stays open for a restart.
    pub(crate) async fn output(launched: &mut Launched) -> String {
        launched.process.wait().await;
        let mut text = vec![0; 4096];
        let length = launched.stdout.read(&mut text).await.unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    }
}
