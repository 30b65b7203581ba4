//! The binary against a controller: first contact, configuration, and a start when the controller is gone.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mesh_ca::attest::{Attestors, LocalTokenAttestor, PeerSvidAttestor, TokenKey};
use mesh_ca::csr::CertificateService;
use mesh_ca::grpc::{ALPN, incoming};
use mesh_ca::tls::{ClientAuth, client_config, peer_name, server_config};
use mesh_model::{AppProtocol, Delta};
use mesh_rt::{Clock, SystemClock};
use mesh_xds::ResourceCache;
use mesh_xds::native::changes;
use mesh_xds::server::{AdsService, ServerConfig};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::world::*;

/// Ends a process with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(config: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mesh-proxy"));
        command.arg("--config").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("the binary is built"))
    }
}

/// Anonymous memory of a process, in KiB.
fn anonymous_kib(process: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux tells it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A port that was free a moment ago.
fn free_port() -> SocketAddr {
    let listener = mesh_rt::net::listen_tcp(LOCALHOST.parse().expect("address"), false).expect("a port");
    listener.local_addr().expect("bound")
}

/// A controller of the world's authority that offers the world's resources, until it is dropped.
async fn controller(world: &World, key: TokenKey) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let cache = ResourceCache::new();
    let set = world.mesh.current().resources().cloned().collect();
    cache.apply(changes(&Delta { set, removed: Vec::new() }).0);
    cache.mark_synced();
    let ads = AdsService::new(cache, ServerConfig::default());
    let tokens = LocalTokenAttestor::new(key, SystemClock::shared());
    let attestors = Attestors::new([Arc::new(tokens) as Arc<_>, Arc::new(PeerSvidAttestor) as Arc<_>]);
    let certificates = CertificateService::new(Arc::clone(&world.authority), attestors);
    let (listener, address) = listening();
    let config = server_config(&world.identity("controller"), ClientAuth::Optional, &[ALPN]);
    let connections = incoming(listener, config.expect("a configuration"));
    let router = AdsService::transport().add_service(ads).add_service(certificates);
    let serving = async move { drop(router.serve_with_incoming(connections).await) };
    (address, tokio::spawn(serving))
}

/// What a mesh peer gets from `cart` that sends some text.
async fn dial(world: &World, to: SocketAddr) -> std::io::Result<String> {
    let config = client_config(&world.identity("web"), vec![world.id("cart")], &[b"mesh-tcp/1"]);
    let stream = TcpStream::connect(to).await?;
    in_time(async {
        let connector = TlsConnector::from(config.expect("a configuration"));
        let mut stream = connector.connect(peer_name(), stream).await?;
        stream.write_all(b"ping ").await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    })
    .await
}

/// Status of a GET at a local port; 0 when nobody answers.
async fn status(at: SocketAddr, method: &str, path: &str) -> u16 {
    let Ok(mut stream) = TcpStream::connect(at).await else { return 0 };
    let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_string(&mut answer).await
    };
    let _ = in_time(exchange).await;
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

async fn until_ready(metrics: SocketAddr) {
    in_time(async {
        while status(metrics, "GET", "/ready").await != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

fn pem(der: &[u8]) -> String {
    let text = base64(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|l| String::from_utf8_lossy(l).into_owned()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |part: &[u8]| {
        let bits =
            part.iter().chain([0; 3].iter()).take(3).fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let digit = |at: usize| char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]);
        (0..4).map(|at| if at <= part.len() { digit(at) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

#[tokio::test]
async fn a_proxy_starts_alone_with_what_an_earlier_life_kept() {
    let world = World::new();
    let (inbound, admin, metrics) = (free_port(), free_port(), free_port());
    world.set([
        workload(&world, "cart"),
        service("cart", AppProtocol::Tcp),
        endpoints("cart", [(inbound, Some(world.id("cart")))]),
    ]);
    let key = TokenKey::generate();
    let token = key.mint(&world.id("cart"), SystemClock.wall(), Duration::from_secs(60));
    let (controller_at, serving) = controller(&world, key).await;
    let folder = tempfile::tempdir().expect("a directory");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::File::create(&path).and_then(|mut f| f.write_all(content.as_bytes())).expect("written");
        path
    };
    let roots = world.authority.bundle().roots().map(|root| pem(root)).collect::<String>();
    let state = folder.path().join("state");
    let config = json!({
        "name": "cart",
        "controller": {
            "address": controller_at.to_string(),
            "identity": world.id("controller").to_string(),
            "roots": file("roots.pem", &roots),
            "token": file("token", token.expose()),
        },
        "identity": world.id("cart").to_string(),
        "state": { "directory": state },
        "sidecar": {
            "namespace": "shop", "name": "cart",
            "inbound": [{ "listen": inbound, "application": echo("hi ").await }],
        },
        "admin": admin, "metrics": metrics,
        "drain": { "lameDuckSeconds": 0 },
    });
    let config = file("proxy.json", &config.to_string());

    let first = Running::start(&config);
    until_ready(metrics).await;
    assert_eq!(dial(&world, inbound).await.expect("served"), "hi ping bye");
    let memory = anonymous_kib(&first);
    assert!(memory < 8 << 10, "an idle proxy of one worker holds {memory} KiB");
    assert_eq!(status(admin, "GET", "/config_dump").await, 200);
    assert_eq!(status(admin, "POST", "/config_dump").await, 405);
    until(|| state.join("identity").exists() && state.join("last-good").exists()).await;
    for entry in std::fs::read_dir(&state).expect("a directory") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
    }

    // The end of both, without any farewell.
    drop(first);
    serving.abort();
    until(|| std::net::TcpStream::connect(controller_at).is_err()).await;
    let mut second = Running::start(&config);
    until_ready(metrics).await;
    assert_eq!(dial(&world, inbound).await.expect("served without a controller"), "hi ping bye");

    let pid = rustix::process::Pid::from_child(&second.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    in_time(async {
        loop {
            if let Some(status) = second.0.try_wait().expect("a child") {
                break assert!(status.success(), "{status}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[test]
fn sigterm_before_the_configuration_is_read_is_not_lost() {
    if !rustix::process::geteuid().is_root() {
        return testkit::skip("only root may make a namespace of processes");
    }
    let config = r#"{
        "name": "edge", "admin": "127.0.0.1:0", "metrics": "127.0.0.1:0", "drain": {"lameDuckSeconds": 0},
        "controller": {
            "address": "127.0.0.1:1", "identity": "spiffe://cluster.local/ns/s/sa/c", "roots": "ROOTS", "token": "TOKEN"
        },
        "gateway": {"namespace": "shop", "name": "edge"}
    }"#;
    let folder = tempfile::tempdir().expect("a directory");
    let (program, limit) = (env!("CARGO_BIN_EXE_mesh-proxy"), Duration::from_secs(20));
    let status = testkit::container::told_to_end_at_its_start(program, config, folder.path(), limit);
    let status = status.expect("it ends");
    assert!(status.success(), "{status}");
}
