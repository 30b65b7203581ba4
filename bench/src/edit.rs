//! From the end of a write to a file until traffic follows it: edits of a route, looked at once a millisecond.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use mesh_rt::{Clock, SystemClock};

use crate::http1::{Gateway, spawn_origin};
use crate::say;

const EDITS: usize = 200;
const LOOK: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(120);

/// Prints the percentiles of the time that edits need. `routes` more routes are loaded beside the edited one.
pub(crate) fn run(binary: &Path, routes: usize) -> io::Result<()> {
    let (_origin, origin) = spawn_origin()?;
    let gateway = Gateway::start(&[], binary, origin)?;
    if routes > 0 {
        let all: Vec<_> = (0..routes).map(|n| route(&format!("more-{n}"), &format!("/more/{n}"))).collect();
        gateway.mesh.describe("more.yaml", &all.join("---\n"))?;
    }
    let mut times = Vec::new();
    for n in 0..EDITS {
        let path = format!("/edit-{n}");
        gateway.mesh.describe("edited.yaml", &route("edited", &path))?;
        times.push(served_after(gateway.address, &path, LOOK)?);
    }
    let percentiles = percentiles(times);
    say(&format!("{EDITS} edits beside {routes} routes: {percentiles}, looked at every {LOOK:?}"));
    Ok(())
}

/// Some times in one text.
pub(crate) fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| {
        let time = times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
        time.copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    format!("p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms", at(50), at(95), at(99))
}

fn route(name: &str, path: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  \
         parentRefs: [{{name: edge}}]\n  rules:\n    - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\n      \
         backendRefs: [{{name: web, port: 80}}]\n"
    )
}

/// How long until a path is served; anything but 404 before is an error.
pub(crate) fn served_after(address: SocketAddr, path: &str, look: Duration) -> io::Result<Duration> {
    let begin = SystemClock.monotonic();
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    while SystemClock.monotonic() - begin < LIMIT {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: bench.test\r\n\r\n").as_bytes())?;
        let mut read = stream.read(&mut buffer)?;
        let status = buffer.get(9..12).unwrap_or_default().to_vec();
        match status.as_slice() {
            b"200" => return Ok(SystemClock.monotonic() - begin),
            b"404" => {}
            other => return Err(io::Error::other(format!("status {}", String::from_utf8_lossy(other)))),
        }
        // The rest of an answer that came in two parts.
        while !complete(&buffer[..read]) {
            read += stream.read(&mut buffer[read..])?;
        }
        std::thread::park_timeout(look);
    }
    Err(io::Error::other("the edit was not in force in time"))
}

fn complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}
