//! Two proxies with mutual TLS between them, as sidecars are: the processor time that they add to a request, beside the
//! same by two listeners of one Envoy, with HTTP/1.1 between them (what a sidecar does unless it is told otherwise) and
//! with HTTP/2, and by two blind relays. Proxies on core 0, generator and origin on core 1, all in the same rounds.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::contest::{self, Contestant, Pace};
use crate::http1::{Running, spawn_origin, spawn_self};
use crate::mesh::{EDGE, LocalMesh, free_port, wait_for};
use crate::{load, say};

/// The second load, where waking up counts.
pub(crate) const FEW: Pace = Pace { connections: 10, rate: 1000 };
/// Files of the peers.
const KEY: &str = "key.pem";
const CERTIFICATE: &str = "cert.pem";

/// Prints what each pair costs, and what ours costs beside each.
///
/// # Errors
/// When a program cannot be started, or any answer is not what the origin gave.
pub(crate) fn run(binary: &Path, envoy: &Path) -> io::Result<()> {
    let folder = std::env::temp_dir().join(format!("mesh-bench-pair-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let outcome = measure(binary, envoy, &folder);
    std::fs::remove_dir_all(&folder)?;
    outcome
}

fn measure(binary: &Path, envoy: &Path, folder: &Path) -> io::Result<()> {
    let (_origin, origin) = spawn_origin()?;
    let (mesh, at) = ours(binary)?;
    certify(folder)?;
    let (first, first_at) = peers(envoy, folder, origin, "http/1.1")?;
    let (second, second_at) = peers(envoy, folder, origin, "h2")?;
    let (relays, relays_at) = spawn_self(&["relays", &origin.to_string()], "0")?;
    let mut pairs = [
        Contestant::new("ours", mesh.id(), at),
        Contestant::new("Envoy, HTTP/1.1", first.0.id(), answering("Envoy", first_at)?),
        Contestant::new("Envoy, HTTP/2", second.0.id(), answering("Envoy", second_at)?),
        Contestant::new("blind relays", relays.0.id(), answering("relays", relays_at.port())?),
    ];
    contest::run(&mut pairs, FEW)?;
    let [ours, others @ ..] = &pairs;
    others.iter().for_each(|other| contest::compare(ours, other));
    for (name, pid) in [("ours", mesh.id()), ("Envoy", first.0.id())] {
        say(&format!("{name}: {} MB", resident(pid)? >> 10));
    }
    Ok(())
}

/// Kilobytes of a process that are in memory (proc(5)).
fn resident(pid: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other("no VmRSS"))
}

/// A gateway, and the sidecar of a program that answers at once; and where it answers.
pub(crate) fn ours(binary: &Path) -> io::Result<(LocalMesh, SocketAddr)> {
    let (listen, web) = (free_port()?, free_port()?);
    let this = std::env::current_exe()?.display().to_string();
    let web = WEB.replace("WEB", &web.to_string()).replace("BENCH", &this);
    let objects = format!("{}{web}", EDGE.replace("LISTEN", &listen.to_string()));
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(binary).args(["up", "--capture", "ports"]);
    let mesh = LocalMesh::start("our-pair", command, &[("mesh.yaml", &objects)])?;
    Ok((mesh, answering("ours", listen)?))
}

/// Two listeners of one Envoy: the first speaks this protocol of ALPN over mutual TLS to the second, as sidecars do.
fn peers(envoy: &Path, folder: &Path, origin: SocketAddr, protocol: &str) -> io::Result<(Running, u16)> {
    let (listen, inner) = (free_port()?, free_port()?);
    let [key, certificate] = [KEY, CERTIFICATE].map(|name| folder.join(name));
    let config = folder.join(format!("envoy-{listen}.yaml"));
    let text = ENVOY
        .replace("ALPN", protocol)
        .replace("VERSION", if protocol == "h2" { "http2_protocol_options" } else { "http_protocol_options" })
        .replace("LISTEN", &listen.to_string())
        .replace("INNER", &inner.to_string())
        .replace("ORIGIN", &origin.port().to_string())
        .replace("KEY", &key.display().to_string())
        .replace("CERT", &certificate.display().to_string());
    std::fs::write(&config, text)?;
    let mut command = Command::new("taskset");
    command
        .args(["-c", "0"])
        .arg(envoy)
        .args(["--concurrency", "1", "--log-level", "error", "-c"])
        .arg(&config);
    command.arg("--use-dynamic-base-id").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok((Running(command.spawn()?), listen))
}

/// A certificate that is its own authority, for both ends.
fn certify(folder: &Path) -> io::Result<()> {
    let [key, certificate] = [KEY, CERTIFICATE].map(|name| folder.join(name));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args(["-days", "1", "-subj", "/CN=peer", "-keyout"]).arg(key).arg("-out").arg(certificate);
    match openssl.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("openssl made no certificate")),
    }
}

/// Waits until a port answers.
fn answering(name: &str, port: u16) -> io::Result<SocketAddr> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait_for(name, || load::requests(address, 1, 1).is_ok()).map(|()| address)
}

const WEB: &str = "\
apiVersion: local.mesh.io/v1alpha1
kind: Process
metadata: {name: web, namespace: default, labels: {app: web}}
spec:
  command: [taskset, -c, \"1\", BENCH, origin, \"127.0.0.1:WEB\"]
  ports: [{name: http, containerPort: WEB}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http, appProtocol: http}]}
";

const ENVOY: &str = "\
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: LISTEN}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: outer
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts: [{name: all, domains: ['*'], routes: [{match: {prefix: /bench}, route: {cluster: inner}}]}]
  - address: {socket_address: {address: 127.0.0.1, port_value: INNER}}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context: &tls
            alpn_protocols: [ALPN]
            tls_certificates: [{certificate_chain: {filename: CERT}, private_key: {filename: KEY}}]
            validation_context: {trusted_ca: {filename: CERT}}
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: inner
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts: [{name: all, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: origin}}]}]
  clusters:
  - name: inner
    connect_timeout: 5s
    type: STATIC
    load_assignment:
      cluster_name: inner
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: INNER}}}}]}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {VERSION: {}}
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: *tls
  - name: origin
    connect_timeout: 5s
    type: STATIC
    load_assignment:
      cluster_name: origin
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ORIGIN}}}}]}]
";
