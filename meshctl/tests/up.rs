//! The local mesh from outside: `meshctl up` on the examples, asked with curl, watched with tshark, loaded and
//! edited while it runs.

#[path = "up/harness.rs"]
mod harness;

use std::process::Command;
use std::time::Duration;

use mesh_rt::{Clock, SystemClock};

use harness::{Mesh, get, request};
use testkit::load::{Client, Load};

const NAMESPACES: &[&str] = &["--capture", "namespaces"];

#[test]
fn bookinfo_answers_through_the_gateway_and_two_sidecars() {
    let mesh = Mesh::start("bookinfo", NAMESPACES);
    let (status, page) = get(&format!("{}/productpage", mesh.url()), &[]);
    assert_eq!(status, 200, "{page}");
    assert_eq!(page["name"], "productpage");
    let calls = page["calls"].as_array().expect("calls");
    let call = |name: &str| {
        calls.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("no {name} in {page}"))
    };
    assert_eq!(
        (&call("details")["status"], &call("reviews")["status"]),
        (&200.into(), &200.into()),
        "{page}"
    );
    assert_eq!(call("reviews")["answer"]["name"], "reviews");
}

#[test]
fn the_cohort_header_and_the_weights_choose_the_version() {
    let mesh = Mesh::start("bookinfo", NAMESPACES);
    let page = format!("{}/productpage", mesh.url());
    let version = |headers: &[&str]| {
        let (status, page) = get(&page, headers);
        assert_eq!(status, 200, "{page}");
        let calls = page["calls"].as_array().expect("calls").clone();
        let reviews = calls.into_iter().find(|c| c["name"] == "reviews").expect("reviews");
        reviews["answer"]["version"].as_str().expect("a version").to_owned()
    };
    (0..5).for_each(|_| assert_eq!(version(&["x-cohort: beta"]), "v3"));
    let seen: Vec<_> = (0..60).map(|_| version(&[])).collect();
    let v1 = seen.iter().filter(|v| *v == "v1").count();
    assert!((48..=59).contains(&v1) && !seen.contains(&"v3".to_owned()), "{v1} of 60 were v1");
}

#[test]
fn policies_hold_at_the_destination_and_metrics_and_log_tell_of_it() {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let file = log.path().to_str().expect("a name");
    let more = ["--capture", "namespaces", "--metrics", "127.0.0.1:0", "--access-log", file];
    let mut mesh = Mesh::start("bookinfo", &more);
    let (status, _) = request("DELETE", &format!("{}/productpage", mesh.url()), &[]);
    assert_eq!(status, 403);
    let (status, _) = get(&format!("{}/nothing-here", mesh.url()), &[]);
    assert_eq!(status, 404);
    assert_eq!(get(&format!("{}/productpage", mesh.url()), &[]).0, 200);

    let said = mesh.process.said();
    let url =
        said.lines().find_map(|line| line.strip_prefix("metrics at ")).expect("the address of the metrics");
    let out = Command::new("curl").args(["--silent", "--max-time", "10", url]).output().expect("curl runs");
    let metrics = String::from_utf8(out.stdout).expect("text");
    let has = |parts: &[&str]| metrics.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(has(&["mesh_requests_total", "code=\"403\"", "service=\"default/productpage\""]), "{metrics}");
    assert!(has(&["mesh_request_duration_seconds_bucket", "source_workload=\"productpage"]), "{metrics}");

    let lines = std::fs::read_to_string(log.path()).expect("the access log");
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let denied = lines.iter().find(|line| line["status"] == 403).expect("the denied request");
    assert_eq!(denied["method"], "DELETE");
    let page = lines.iter().find(|l| l["path"] == "/productpage" && l["status"] == 200).expect("the page");
    let hops = lines.iter().filter(|line| line["trace_id"] == page["trace_id"]).count();
    assert!(hops >= 6, "one trace has {hops} lines: gateway, and both sides of each call");
}

#[test]
fn a_capture_between_workloads_shows_only_tls() {
    let mesh = Mesh::start("bookinfo", NAMESPACES);
    let block = mesh.report["workloads"][0]["address"].as_str().expect("an address");
    let block = block.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    let filter = format!("tcp and net {block}.0.0/16");
    let file = mesh.folder.path().join("capture.pcap");
    let mut tshark = Command::new("tshark");
    tshark.args(["-i", "lo", "-q", "-f", &filter, "-w"]).arg(&file);
    let mut tshark = testkit::process::Process::start(&mut tshark).expect("tshark starts");
    tshark.wait_for("Capturing on", Duration::from_secs(20)).expect("tshark captures");
    // It says so before it does, and what it has not seen the handshake of is no TLS to it.
    let size = || std::fs::metadata(&file).map_or(0, |file| file.len());
    let empty = size();
    let nobody: std::net::SocketAddr = format!("{block}.0.1:1").parse().expect("an address");
    let seen = (0..200).any(|_| {
        let _refused = std::net::TcpStream::connect_timeout(&nobody, Duration::from_millis(100));
        std::thread::park_timeout(Duration::from_millis(100));
        size() > empty.max(400)
    });
    assert!(seen, "nothing is captured");
    for _ in 0..20 {
        let (status, _) = get(&format!("{}/productpage", mesh.url()), &["x-canary: plain-text-canary"]);
        assert_eq!(status, 200);
    }
    std::thread::park_timeout(Duration::from_secs(1));
    tshark.stop("INT", Duration::from_secs(10)).expect("tshark ends");
    let bytes = std::fs::read(&file).expect("a capture");
    let holds = |text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(bytes.len() > 20_000, "only {} bytes were captured", bytes.len());
    for plain in ["HTTP/1.1", "plain-text-canary", "productpage/", "GET /"] {
        assert!(!holds(plain), "{plain:?} was seen between workloads");
    }
    let count = |display: &str| {
        let out =
            Command::new("tshark").arg("-r").arg(&file).args(["-Y", display]).output().expect("tshark reads");
        String::from_utf8_lossy(&out.stdout).lines().count()
    };
    // Frames of any kind of record: how many handshakes there are depends on how many connections are kept.
    assert!(count("tls") > 20, "tshark recognises no TLS records");
}

/// Lets the gateway reach `details` directly, which calls nobody.
fn with_leaf(name: &str, text: String) -> String {
    const LEAF: &str = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: leaf\n  namespace: default\nspec:\n  parentRefs:\n    - name: bookinfo\n  rules:\n    - matches:\n        - path:\n            type: PathPrefix\n            value: /leaf\n      backendRefs:\n        - name: details\n          port: 9080\n";
    match name {
        "gateway.yaml" => text + LEAF,
        "policies.yaml" => text
            .replace("sa/productpage\"]", "sa/productpage\", \"cluster.local/ns/default/sa/bookinfo-mesh\"]"),
        _ => text,
    }
}

#[test]
fn an_edit_closes_no_connection_and_loses_no_request() {
    let mesh = Mesh::start_edited("bookinfo", NAMESPACES, with_leaf);
    let to = mesh.address();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    for client in [Client::Http1, Client::Http2, Client::Http1Close] {
        let path = "/leaf/x".to_owned();
        let load = Load { to, client, host: "bookinfo".to_owned(), path, rate: 50, total: 200 };
        let running = runtime.spawn(load.run());
        for n in 0..10 {
            let (from, with) = if n % 2 == 0 {
                ("value: /login", "value: /logon")
            } else {
                ("value: /logon", "value: /login")
            };
            mesh.edit("gateway.yaml", from, with);
            std::thread::park_timeout(Duration::from_millis(300));
        }
        let report = runtime.block_on(running).expect("joins").expect("runs");
        assert_eq!(report.good, 200, "{client:?}: {report}");
    }
}

#[test]
fn an_edit_is_soon_in_force_and_a_broken_one_changes_nothing() {
    let mesh = Mesh::start("bookinfo", NAMESPACES);
    let page = format!("{}/renamed", mesh.url());
    assert_eq!(get(&page, &[]).0, 404);
    mesh.edit("gateway.yaml", "value: /login", "value: /renamed");
    let begin = SystemClock.monotonic();
    while get(&page, &[]).0 == 404 {
        assert!((SystemClock.monotonic() - begin) < Duration::from_secs(5), "the edit is not in force");
    }
    mesh.edit("gateway.yaml", "kind: HTTPRoute", "kind: HTTPRoute\nkind: Twice");
    let said = |text: &str| {
        (0..50).any(|_| {
            std::thread::park_timeout(Duration::from_millis(100));
            mesh.status()["findings"].to_string().contains(text)
        })
    };
    assert!(said("MESH0101"), "the duplicate key is not reported: {}", mesh.status());
    assert_eq!(get(&page, &[]).0, 200, "a broken file took its routes away");
}

#[test]
fn a_process_that_dies_is_started_again_and_shown() {
    let mesh = Mesh::start("bookinfo", NAMESPACES);
    let workload = |name: &str| {
        let status = mesh.status();
        let all = status["workloads"].as_array().expect("workloads").clone();
        all.into_iter().find(|w| w["name"].as_str().is_some_and(|n| n.contains(name))).expect("the workload")
    };
    let state = workload("details-v1")["state"].as_str().expect("a state").to_owned();
    let pid: String = state.chars().filter(char::is_ascii_digit).collect();
    let killed = Command::new("kill").args(["-9", &pid]).status().expect("kill runs");
    assert!(killed.success(), "{state}");
    let begin = SystemClock.monotonic();
    loop {
        let now = workload("details-v1")["state"].as_str().expect("a state").to_owned();
        if now.contains("running") && now.contains("restarted") && now != state {
            break;
        }
        assert!((SystemClock.monotonic() - begin) < Duration::from_secs(15), "still {now}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let served = (0..50).any(|_| {
        std::thread::park_timeout(Duration::from_millis(100));
        let (_, page) = get(&format!("{}/productpage", mesh.url()), &[]);
        page["calls"].as_array().is_some_and(|calls| calls.iter().all(|c| c["status"] == 200))
    });
    assert!(served, "details does not answer again");
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let mut mesh = Mesh::start("bookinfo", NAMESPACES);
    let id = mesh.process.id().to_string();
    let children = descendants(&id);
    assert!(children.len() >= 6, "{children:?}");
    let status = mesh.process.stop("INT", Duration::from_secs(20)).expect("it ends");
    assert!(status.success(), "{status}: {}", mesh.process.said());
    let left: Vec<_> =
        children.iter().filter(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn descendants(pid: &str) -> Vec<String> {
    let out = Command::new("ps").args(["--ppid", pid, "-o", "pid="]).output().expect("ps runs");
    let direct: Vec<String> =
        String::from_utf8_lossy(&out.stdout).split_whitespace().map(str::to_owned).collect();
    direct.iter().flat_map(|child| [vec![child.clone()], descendants(child)].concat()).collect()
}

#[test]
fn without_namespaces_the_same_example_answers_on_explicit_ports() {
    // Without namespaces the programs share this machine's ports, also with the meshes of other tests.
    let edit =
        |name: &str, text: String| if name == "local.yaml" { text.replace("908", "2908") } else { text };
    let mesh = Mesh::start_edited("bookinfo", &["--capture", "ports"], edit);
    let (status, page) = get(&format!("{}/productpage", mesh.url()), &["x-cohort: beta"]);
    assert_eq!(status, 200, "{page}");
    let calls = page["calls"].as_array().expect("calls");
    assert!(calls.iter().all(|call| call["status"] == 200), "{page}");
    assert!(page.to_string().contains("\"v3\""), "{page}");
}

#[test]
fn a_port_in_use_is_named_and_the_others_run() {
    let taken = mesh_rt::net::listen_tcp(([127, 0, 0, 1], 0).into(), false).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let more = format!("  listeners:\n    - name: taken\n      protocol: HTTP\n      port: {port}");
    let edit = |name: &str, text: String| match name {
        "gateway.yaml" => text.replace("  listeners:", &more),
        _ => text,
    };
    let mesh = Mesh::start_edited("bookinfo", NAMESPACES, edit);
    let findings = mesh.status()["findings"].to_string();
    assert!(findings.contains("MESH0300") && findings.contains(&port.to_string()), "{findings}");
    let open = mesh.report["gateways"].as_array().expect("gateways").iter().find(|g| g["listener"] == "http");
    let url = open.and_then(|g| g["url"].as_str()).expect("the other listener");
    assert_eq!(get(&format!("{url}/productpage"), &[]).0, 200);
}
