//! A public client of the SPIFFE Workload API that is not ours, with the TLS of its own platform, while everything that
//! can rotate rotates.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh_ca::rotate::InProcess;
use mesh_ca::tls::{self, ClientAuth, PeerTls, peer_identity};
use mesh_ca::workload_api::{Callers, Endpoint, SOCKET_NAME, WorkloadApi};
use mesh_ca::{Authority, Policy, Rotation, SvidSource, SystemClock, TrustBundles, TrustSource};
use testkit::process::Process;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::pki::id;

/// The life of a certificate.
const LEAF: Duration = Duration::from_secs(10);
/// How long the client goes on: the new root signs after one life, and leaves of the old one have ended after two.
const GOES_ON: u64 = 26;

/// A workload's proxy, as far as its identity goes.
fn workload(authority: &Arc<Authority>, name: &str, tasks: &mut JoinSet<()>) -> PeerTls {
    let clock = authority.clock().clone();
    let tls = PeerTls::new(SvidSource::empty(clock), TrustSource::new(TrustBundles::default()));
    let issuance = InProcess::new(authority.clone(), id(name));
    tasks.spawn(Rotation::new(tls.source.clone(), tls.trust.clone(), issuance).run());
    tls
}

/// Echoes lines to clients of the mesh, and notes who they were.
async fn echo(listener: tokio::net::TcpListener, server: PeerTls, seen: Arc<Mutex<BTreeSet<String>>>) {
    let config = tls::server_config(&server, ClientAuth::Required, &[b"mesh-tcp/1"]).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, seen) = (TlsAcceptor::from(config.clone()), seen.clone());
        tokio::spawn(async move {
            // The client tells what went wrong.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let peer = peer_identity(stream.get_ref().1).map(|id| id.to_string());
            seen.lock().unwrap().extend(peer);
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            stream.write_all(line.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_client_meets_the_mesh_while_certificates_and_roots_rotate() {
    let Some(python) = testkit::config::python() else {
        return testkit::skip("SERVICE_MESH_PYTHON names no Python with a SPIFFE client; make test sets it");
    };
    let domain = "cluster.local".parse().unwrap();
    let authority = Authority::with_policy(domain, Policy::scaled(LEAF), SystemClock::shared()).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(authority.clone().run());
    let (cart, server) =
        (workload(&authority, "cart", &mut tasks), workload(&authority, "server", &mut tasks));
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::bind(&folder.path().join(SOCKET_NAME), Callers::SameUser).unwrap();
    let uri = endpoint.uri();
    let api = WorkloadApi::new(cart, InProcess::new(authority.clone(), id("cart")));
    tasks.spawn(async move { endpoint.serve(api).await.unwrap() });
    let listener = mesh_rt::net::listen_tcp(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    tasks.spawn(echo(tokio::net::TcpListener::from_std(listener).unwrap(), server, seen.clone()));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/peers/spiffe_client.py");
    let mut bearer = Command::new(&python);
    bearer.args([script, "token", "reports"]).env("SPIFFE_ENDPOINT_SOCKET", &uri);
    let mut bearer = Process::start(&mut bearer).unwrap();
    let mut client = Command::new(python);
    client.args([script, "call", "127.0.0.1", &address.port().to_string(), &id("server").to_string()]);
    client.arg(GOES_ON.to_string()).env("SPIFFE_ENDPOINT_SOCKET", uri);
    let mut client = Process::start(&mut client).unwrap();
    tokio::time::sleep(LEAF / 4).await;
    authority.rotate_root().unwrap();
    let limit = Duration::from_secs(GOES_ON) + Duration::from_secs(60);
    let line = tokio::task::spawn_blocking(move || bearer.wait_for("\"refusals\"", Duration::from_secs(60)));
    let told: serde_json::Value = serde_json::from_str(&line.await.unwrap().unwrap()).unwrap();
    assert!(["id", "here", "there"].iter().all(|who| told[who] == id("cart").to_string()), "{told}");
    assert_eq!(told["refusals"].as_array().map(Vec::len), Some(2), "for another audience: {told}");
    let line = tokio::task::spawn_blocking(move || client.wait_for("\"connections\"", limit));
    let told: serde_json::Value = serde_json::from_str(&line.await.unwrap().unwrap()).unwrap();
    assert_eq!(told["id"], id("cart").to_string());
    assert_eq!(told["failures"], serde_json::json!([]), "{told}");
    assert!(told["connections"].as_u64() > Some(20), "{told}");
    assert!(told["serials"].as_u64() >= Some(4), "certificates of {LEAF:?} in {GOES_ON} s: {told}");
    assert_eq!(told["roots"], serde_json::json!([1, 2]), "{told}");
    assert!(seen.lock().unwrap().iter().eq([&id("cart").to_string()]));
}
