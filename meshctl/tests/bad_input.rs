//! Bad input beside a mesh that runs: each is told with its place and what would be right, and takes nothing else
//! down. One mesh serves all cases; files come and go while it runs.
#![allow(clippy::disallowed_methods, reason = "a test waits by the real clock and binds real ports")]

#[path = "up/harness.rs"]
#[allow(dead_code, reason = "each test file uses its part of the harness")]
mod harness;

use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Mesh, get};

/// How long an edit may take on a busy machine until `status` shows it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The beginning of a route; its rules follow.
const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: bad
  namespace: default
spec:
  parentRefs:
    - name: bookinfo
  rules:
";

/// Files by name, each with the texts that its finding holds.
fn cases() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let rule = |path: &str, service: &str, port: u16| {
        format!(
            "    - matches:\n        - path:\n            type: Exact\n            value: {path}\n      \
             backendRefs:\n        - name: {service}\n          port: {port}\n"
        )
    };
    let many: String = (0..10_000).map(|n| rule(&format!("/many/{n}"), "productpage", 9080)).collect();
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (from, to) in ('a'..='h').zip('b'..='i') {
        bomb += &format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 9].join(","));
    }
    let deep = format!("a: {}{}", "[".repeat(5_000_000), "]".repeat(5_000_000));
    let process = "apiVersion: local.mesh.io/v1alpha1\nkind: Process\nmetadata:\n  name: broken\n  namespace: \
                   default\nspec:\n  command: [/no/such/program]\n  ports:\n    - name: http\n      \
                   containerPort: 9099\n";
    vec![
        ("unreadable.yaml", "a: [1, 2\nb: }\n".to_owned(), vec!["MESH0100", "unreadable.yaml:2:"]),
        ("tab.yaml", "kind: Service\n\tname: x\n".to_owned(), vec!["MESH0100", "tab.yaml:2:1", "use spaces"]),
        ("bytes.yaml", "\0\u{1}\u{2}".to_owned(), vec!["MESH0100", "bytes.yaml:1:1"]),
        (
            "twice.yaml",
            format!("{ROUTE}    - matches: []\n      matches: []\n"),
            vec!["MESH0101", "twice.yaml:11:7", "first at 10:7"],
        ),
        ("bomb.yaml", bomb, vec!["MESH0100", "bomb.yaml:", "anchors and aliases"]),
        ("deep.yaml", deep, vec!["MESH0100", "deep.yaml:1:", "nested deeper than"]),
        (
            "unknown.yaml",
            format!("{ROUTE}    - backendRef:\n        - name: details\n"),
            vec!["MESH0102", "unknown.yaml:10:7", "spec.rules[0].backendRef", "did you mean backendRefs?"],
        ),
        (
            "kind.yaml",
            ROUTE.replace("HTTPRoute", "HTTPRout"),
            vec!["MESH0103", "kind.yaml:2:7", "did you mean HTTPRoute?"],
        ),
        ("many.yaml", format!("{ROUTE}{many}"), vec!["MESH0104", "many.yaml:10:5", "at most 16"]),
        (
            "missing.yaml",
            format!("{ROUTE}{}{}", rule("/missing", "nowhere", 80), rule("/login/too", "productpage", 9080)),
            vec!["MESH0200", "missing.yaml:15:17", "there is no Service default/nowhere", "productpage"],
        ),
        ("process.yaml", process.to_owned(), vec!["broken", "/no/such/program"]),
    ]
}

/// Waits until a finding holds all texts, or says what the findings are.
fn finding(mesh: &Mesh, texts: &[&str]) -> String {
    let begin = Instant::now();
    loop {
        let status = mesh.status();
        let findings = status["findings"].as_array().cloned().unwrap_or_default();
        let all: Vec<_> = findings.iter().filter_map(|f| f.as_str().map(str::to_owned)).collect();
        if let Some(found) = all.iter().find(|f| texts.iter().all(|text| f.contains(text))) {
            return found.clone();
        }
        assert!(begin.elapsed() < PATIENCE, "no finding with {texts:?} among {all:#?}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// Waits until there is no finding.
fn settled(mesh: &Mesh) {
    let begin = Instant::now();
    while mesh.status()["findings"].as_array().is_none_or(|findings| !findings.is_empty()) {
        assert!(begin.elapsed() < PATIENCE, "findings stay: {}", mesh.status()["findings"]);
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

#[test]
fn each_is_told_with_its_place_and_takes_nothing_else_down() {
    let mesh = Mesh::start("bookinfo", &["--capture", "namespaces"]);
    settled(&mesh);
    for (name, text, texts) in cases() {
        // As an editor does: a new file put in place.
        let (new, path) = (mesh.folder.path().join(".new"), mesh.folder.path().join(name));
        std::fs::write(&new, text).expect("written");
        std::fs::rename(&new, &path).expect("renamed");
        let found = finding(&mesh, &texts);
        assert!(found.len() < 2_000, "{name}: a message of {} bytes", found.len());
        let (status, page) = get(&format!("{}/productpage", mesh.url()), &[]);
        assert_eq!(status, 200, "{name}: {page}");
        let calls = page["calls"].as_array().expect("calls");
        assert!(calls.iter().all(|call| call["status"] == 200), "{name}: {page}");
        match name {
            "missing.yaml" => only_the_rule_without_a_backend_fails(&mesh),
            "process.yaml" => the_other_processes_run(&mesh),
            _ => {}
        }
        std::fs::remove_file(&path).expect("removed");
        settled(&mesh);
    }
}

fn only_the_rule_without_a_backend_fails(mesh: &Mesh) {
    assert_eq!(get(&format!("{}/missing", mesh.url()), &[]).0, 500);
    assert_eq!(get(&format!("{}/login/too", mesh.url()), &[]).0, 200);
}

fn the_other_processes_run(mesh: &Mesh) {
    let status = mesh.status();
    let workloads = status["workloads"].as_array().expect("workloads");
    let ready = workloads.iter().filter(|w| w["state"].as_str().is_some_and(|s| s.ends_with(", ready")));
    assert_eq!(ready.count(), 6, "{workloads:#?}");
    assert!(workloads.iter().any(|w| w["name"] == "default/broken-0"), "{workloads:#?}");
}

#[test]
fn a_path_that_is_not_there_is_named() {
    let out = Command::new(env!("CARGO_BIN_EXE_meshctl")).args(["up", "/no/such/folder"]).output();
    let out = out.expect("meshctl runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.contains("/no/such/folder is not there"), "{said}");
}

#[test]
fn a_second_mesh_on_the_same_ports_names_them_and_runs() {
    let first = Mesh::start("bookinfo", &["--capture", "namespaces"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
    command.args(["up", "--output", "json", "--capture", "namespaces"]).arg(first.folder.path());
    let mut second = testkit::process::Process::start(&mut command).expect("meshctl starts");
    let ready = second.wait_for("\"ready\":true", Duration::from_secs(60)).expect("it is ready");
    let port = first.address().port().to_string();
    assert!(ready.contains("MESH0300") && ready.contains(&port), "{ready}");
    assert!(second.stop("INT", Duration::from_secs(20)).expect("it ends").success());
    assert_eq!(get(&format!("{}/productpage", first.url()), &[]).0, 200);
}

#[test]
fn a_single_file_is_a_mesh_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let all = folder.path().join("all.yaml");
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo");
    let files = ["services.yaml", "routes.yaml", "policies.yaml", "local.yaml", "gateway.yaml"];
    let texts = files.map(|file| std::fs::read_to_string(example.join(file)).expect("readable"));
    let port = testkit::ports::free();
    let text = texts.join("\n---\n").replace("port: 8080", &format!("port: {port}"));
    std::fs::write(&all, text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
    command.args(["up", "--output", "json", "--capture", "namespaces"]).arg(&all);
    let mut mesh = testkit::process::Process::start(&mut command).expect("meshctl starts");
    mesh.wait_for("\"ready\":true", Duration::from_secs(60)).expect("it is ready");
    assert_eq!(get(&format!("http://127.0.0.1:{port}/productpage"), &[]).0, 200);
}
