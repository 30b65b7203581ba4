//! Programs of a local mesh that have their identities from the SPIFFE Workload API, by a public client that is not ours:
//! a process as `meshctl up` starts it, and one beside the mesh that meets a workload with what it was given.
#![allow(clippy::disallowed_methods, reason = "a test waits by the real clock")]

#[path = "up/harness.rs"]
#[allow(dead_code, reason = "each test file uses its part of the harness")]
mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::process::Process;

use harness::Mesh;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/peers/spiffe_client.py");
/// How long a client may take on a busy machine: Python reads much before it begins.
const PATIENCE: Duration = Duration::from_secs(60);

fn python() -> Option<PathBuf> {
    let found = testkit::config::python();
    if found.is_none() {
        testkit::skip("SERVICE_MESH_PYTHON names no Python with a SPIFFE client; make test sets it");
    }
    found
}

/// The example with one process more, which asks who it is.
fn mesh(python: &Path, capture: &str) -> Mesh {
    let asker = format!(
        "\n---\napiVersion: local.mesh.io/v1alpha1\nkind: Process\nmetadata: {{name: asker, namespace: default}}\n\
         spec:\n  serviceAccountName: asker\n  command: [{python:?}, {SCRIPT:?}, fetch]\n"
    );
    let edit = |name: &str, text: String| match name {
        // Without namespaces the programs share this machine's ports, also with the meshes of other tests.
        "local.yaml" if capture == "ports" => text.replace("710", "1710") + &asker,
        "local.yaml" => text + &asker,
        _ => text,
    };
    Mesh::start_edited("tcp-udp-tls", &["--capture", capture], edit)
}

/// What the process in the mesh said of itself.
fn said(mesh: &mut Mesh) -> Value {
    let line = mesh.process.wait_for("\"serial\"", PATIENCE).expect("the process has its identity");
    let json = line.split_once("[asker-0] ").map(|(_, json)| json).expect("under its name");
    serde_json::from_str(json).expect("a line of JSON")
}

#[test]
fn a_process_in_namespaces_gets_its_own_identity_and_sees_no_other() {
    let Some(python) = python() else { return };
    let mut mesh = mesh(&python, "namespaces");
    let said = said(&mut mesh);
    assert_eq!(said["id"], "spiffe://cluster.local/ns/default/sa/asker");
    assert_eq!((&said["domains"], &said["roots"]), (&serde_json::json!(["cluster.local"]), &1.into()));
    assert_eq!(said["around"], 1, "the folders of the other processes are not there");
    meets_a_workload(&python, &mesh);
    let sockets = sockets(&mesh);
    assert!(sockets.is_dir());
    drop(mesh);
    assert!(!sockets.exists(), "nothing is left behind");
}

#[test]
fn a_process_on_explicit_ports_gets_its_own_identity() {
    let Some(python) = python() else { return };
    let mut mesh = mesh(&python, "ports");
    assert_eq!(said(&mut mesh)["id"], "spiffe://cluster.local/ns/default/sa/asker");
    let sockets = sockets(&mesh);
    assert!(sockets.is_dir());
    drop(mesh);
    assert!(!sockets.exists(), "nothing is left behind");
}

/// A program beside the mesh, with the identity of a workload, connects to the proxy of another.
fn meets_a_workload(python: &Path, mesh: &Mesh) {
    let call = |address: &str, id: &str| {
        let socket = sockets(mesh).join(address_of(mesh, "default/quotes-v1-0")).join("workload@api.sock");
        let mut client = Command::new(python);
        client.args([SCRIPT, "call", address, "7104", id]);
        client.env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", socket.display()));
        let mut client = Process::start(&mut client).expect("python starts");
        let line = client.wait_for("\"connections\"", PATIENCE).expect("it tells");
        serde_json::from_str::<Value>(&line).expect("a line of JSON")
    };
    let ledger = address_of(mesh, "default/ledger-0");
    let told = call(&ledger, "spiffe://cluster.local/ns/default/sa/ledger");
    assert_eq!(told["id"], "spiffe://cluster.local/ns/default/sa/quotes");
    assert_eq!((&told["connections"], &told["failures"]), (&1.into(), &serde_json::json!([])), "{told}");
    let told = call(&ledger, "spiffe://cluster.local/ns/default/sa/vault");
    assert!(told["failures"][0].as_str().is_some_and(|text| text.contains("sa/ledger")), "{told}");
}

fn address_of(mesh: &Mesh, workload: &str) -> String {
    let all = mesh.report["workloads"].as_array().expect("workloads");
    let found = all.iter().find(|found| found["name"] == workload);
    found.and_then(|found| found["address"].as_str()).unwrap_or_else(|| panic!("{all:?}")).to_owned()
}

/// The folder with those of all processes, as `meshctl` chooses it.
fn sockets(mesh: &Mesh) -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = own.unwrap_or_else(std::env::temp_dir);
    let user = nix::unistd::getuid();
    folder.join(format!("service-mesh-{user}")).join(format!("workloads-{}", mesh.process.id()))
}
