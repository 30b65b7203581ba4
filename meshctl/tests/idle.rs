//! A mesh that is asked nothing does nothing: its processor time and its wake-ups are counted, with no connection
//! and with many that rest. A loop that never waits shows in the first, one that waits too shortly in the second.

#[path = "up/harness.rs"]
#[allow(dead_code, reason = "each test file uses its part of the harness")]
mod harness;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use harness::Mesh;

/// How long a mesh is watched at a time.
const WINDOW: Duration = Duration::from_secs(4);
/// A busy machine may still be starting it; a busy loop does not end.
const WINDOWS: usize = 8;
/// Hundredths of a second of processor time in a window: ten times what is seen.
const TICKS: u64 = 20;
/// Times that a thread began to wait, in a window: ten times what is seen.
const SWITCHES: u64 = 400;

/// What the processes of a mesh have done so far.
#[derive(Debug, Clone, Copy, Default)]
struct Effort {
    ticks: u64,
    switches: u64,
}

impl Effort {
    /// Of a process and all below it.
    fn of(root: u32) -> Self {
        let parents = parents();
        let below = |mut pid: u32| {
            while pid != root {
                pid = parents.get(&pid).copied().filter(|parent| *parent != 0)?;
            }
            Some(())
        };
        let ours = parents.keys().copied().filter(|pid| below(*pid).is_some());
        ours.fold(Self::default(), |sum, pid| {
            let one = Self::of_one(pid).unwrap_or_default();
            Self { ticks: sum.ticks + one.ticks, switches: sum.switches + one.switches }
        })
    }

    /// User and system time in ticks, and context switches of all threads (proc(5)).
    fn of_one(pid: u32) -> Option<Self> {
        let fields = stat(pid)?;
        let ticks = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
        let mut switches = 0;
        for thread in std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            let lines = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
            switches += lines.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum::<u64>();
        }
        Some(Self { ticks, switches })
    }

    fn is_rest(self) -> bool {
        self.ticks <= TICKS && self.switches <= SWITCHES
    }

    fn since(self, before: Self) -> Self {
        Self {
            ticks: self.ticks.saturating_sub(before.ticks),
            switches: self.switches.saturating_sub(before.switches),
        }
    }
}

/// The fields of a process behind its name; the second is its parent.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn parents() -> BTreeMap<u32, u32> {
    let entries = std::fs::read_dir("/proc").expect("Linux has it").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?.get(1)?.parse().ok()?))).collect()
}

/// What a process and all below it did in one window.
fn watched(root: u32) -> Effort {
    let before = Effort::of(root);
    std::thread::park_timeout(WINDOW);
    Effort::of(root).since(before)
}

/// Watches until a window shows rest.
fn rests(mesh: &Mesh, what: &str) {
    let mut seen = Vec::new();
    for _ in 0..WINDOWS {
        let effort = watched(mesh.process.id());
        if effort.is_rest() {
            return;
        }
        seen.push(effort);
    }
    panic!("{what}: no rest in any window of {WINDOW:?}: {seen:?}");
}

fn listener(mesh: &Mesh, name: &str) -> SocketAddr {
    let all = mesh.report["gateways"].as_array().expect("gateways");
    let url = all.iter().find(|g| g["listener"] == name).and_then(|g| g["url"].as_str()).expect("a URL");
    url.split("://").nth(1).and_then(|address| address.parse().ok()).expect("host and port")
}

/// Opens a connection, says something and reads the first of the answer; it stays open.
fn opened(to: SocketAddr, say: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    stream.write_all(say).expect("written");
    let mut buffer = [0; 4096];
    let read = stream.read(&mut buffer).expect("an answer");
    assert!(read > 0, "it was closed after {:?}", String::from_utf8_lossy(say));
    stream
}

#[test]
fn a_mesh_that_is_asked_nothing_uses_no_processor_time() {
    let mesh = Mesh::start("tcp-udp-tls", &["--capture", "namespaces"]);
    rests(&mesh, "after the start");

    let (web, quotes) = (listener(&mesh, "web"), listener(&mesh, "quotes"));
    let head = "GET /x HTTP/1.1\r\nHost: web.mesh.test\r\n";
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let socket = format!(
        "GET /ws HTTP/1.1\r\nHost: web.mesh.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{key}\r\n"
    );
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(opened(web, format!("{head}\r\n").as_bytes()));
        open.push(opened(web, socket.as_bytes()));
        open.push(opened(web, http2));
        open.push(opened(quotes, b"hello\n"));
        // The client has said all it will say; the other direction stays as it is.
        let half = opened(web, socket.as_bytes());
        half.shutdown(std::net::Shutdown::Write).expect("half closed");
        open.push(half);
    }
    rests(&mesh, "with a hundred connections that rest");
    drop(open);
    rests(&mesh, "after they ended");

    mesh.edit("routes.yaml", "weight: 80", "weight: 70");
    rests(&mesh, "after an edit");
}

#[test]
fn a_loop_that_never_waits_and_one_that_waits_too_shortly_are_seen() {
    for (what, program) in [("never", "while :; do :; done"), ("shortly", "while :; do sleep 0.002; done")] {
        let mut shell = std::process::Command::new("sh");
        // A shell of its own, so that the loop is a process below.
        let started = shell.args(["-c", &format!("sh -c '{program}' & wait")]).process_group(0).spawn();
        let mut started = started.expect("a shell");
        let effort = watched(started.id());
        let group = format!("-{}", started.id());
        let killed = std::process::Command::new("kill").args(["-KILL", "--", &group]).status();
        assert!(killed.expect("kill runs").success());
        started.wait().expect("it ended");
        assert!(!effort.is_rest(), "{what}: {effort:?}");
    }
}
