//! A mesh of an example on free ports, started as a person would start it and asked over its real sockets.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::process::Process;

/// How long a mesh may take to start on a busy machine in a debug build.
const START: Duration = Duration::from_secs(60);

/// A running mesh.
pub(crate) struct Mesh {
    pub(crate) process: Process,
    pub(crate) report: Value,
    pub(crate) folder: tempfile::TempDir,
}

impl Mesh {
    /// Copies an example, gives its listeners free ports, and starts it with further arguments.
    pub(crate) fn start(example: &str, arguments: &[&str]) -> Self {
        Self::start_edited(example, arguments, |_, text| text)
    }

    /// The same, with a change of every file before the start.
    pub(crate) fn start_edited(
        example: &str,
        arguments: &[&str],
        edit: impl Fn(&str, String) -> String,
    ) -> Self {
        let folder = copy(example, edit);
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
        command.args(["up", "--output", "json"]).args(arguments).arg(folder.path());
        let mut process = Process::start(&mut command).expect("meshctl starts");
        let line = process.wait_for("\"ready\":true", START).expect("the mesh is ready");
        let report = serde_json::from_str(&line).expect("a report in JSON");
        Self { process, report, folder }
    }

    /// The URL of the first gateway listener.
    pub(crate) fn url(&self) -> String {
        self.report["gateways"][0]["url"].as_str().expect("a URL").to_owned()
    }

    /// The address of the first gateway listener.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        let url = self.url();
        let address = url.split("://").last().unwrap_or_default().trim_end_matches('/');
        address.parse().expect("host and port")
    }

    /// Replaces text in a file of the running mesh, as an editor does: a new file put in place.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.folder.path().join(file);
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.contains(from), "{file} does not hold {from:?}");
        let new = self.folder.path().join(format!(".{file}.new"));
        std::fs::write(&new, text.replace(from, to)).expect("written");
        std::fs::rename(&new, &path).expect("renamed");
    }

    /// The report of `meshctl status` for this mesh.
    pub(crate) fn status(&self) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
        let out =
            command.args(["status", "--output", "json", "--pid", &self.process.id().to_string()]).output();
        let out = out.expect("meshctl runs").stdout;
        serde_json::from_slice(&out).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out)))
    }
}

impl Drop for Mesh {
    /// Ends as by Ctrl-C: on explicit ports nothing else ends the programs with their mesh.
    fn drop(&mut self) {
        let _ = self.process.stop("INT", Duration::from_secs(15));
    }
}

/// A copy of an example whose gateway ports are free ones.
fn copy(example: &str, edit: impl Fn(&str, String) -> String) -> tempfile::TempDir {
    let from: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(example);
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(&from).expect("the example is there") {
        let path = entry.expect("readable").path();
        let name = path.file_name().and_then(|n| n.to_str()).expect("a name").to_owned();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        let text = if name == "gateway.yaml" { with_free_ports(&text) } else { text };
        std::fs::write(folder.path().join(&name), edit(&name, text)).expect("written");
    }
    folder
}

/// Replaces every listener port of a gateway by a free one of its own.
fn with_free_ports(text: &str) -> String {
    let mut chosen = std::collections::BTreeSet::new();
    let mut line = |line: &str| {
        let Some(at) = line.find("port: ").filter(|at| line[..*at].trim_matches(['-', ' ']).is_empty())
        else {
            return line.to_owned();
        };
        let port = std::iter::repeat_with(testkit::ports::free).find(|port| chosen.insert(*port));
        let port = port.expect("it goes on until there is one");
        format!("{}port: {port}", &line[..at])
    };
    let gateway = text.split("\n---").map(|document| {
        let lines: Vec<_> = document.lines().collect();
        if lines.contains(&"kind: Gateway") {
            lines.into_iter().map(&mut line).collect::<Vec<_>>().join("\n")
        } else {
            document.to_owned()
        }
    });
    gateway.collect::<Vec<_>>().join("\n---") + "\n"
}

/// A GET with curl: the status and the body.
pub(crate) fn get(url: &str, headers: &[&str]) -> (u16, Value) {
    request("GET", url, headers)
}

/// A request with curl: the status and the body, which is JSON or null.
pub(crate) fn request(method: &str, url: &str, headers: &[&str]) -> (u16, Value) {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--max-time",
        "20",
        "--noproxy",
        "*",
        "-X",
        method,
        "-w",
        "\n%{http_code}",
        url,
    ]);
    for header in headers {
        command.args(["-H", header]);
    }
    let out = String::from_utf8(command.output().expect("curl runs").stdout).expect("text");
    let (body, status) = out.rsplit_once('\n').expect("a status");
    (status.parse().expect("a number"), serde_json::from_str(body).unwrap_or(Value::Null))
}
