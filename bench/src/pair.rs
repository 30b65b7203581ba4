//! Two proxies with mutual TLS between them, as sidecars are: the processor time that they add to a request, beside the
//! same by two listeners of one Envoy, with HTTP/1.1 between them (what a sidecar does unless it is told otherwise) and
//! with HTTP/2, by nginx and HAProxy where they are installed, and by two blind relays. Proxies on core 0, generator and
//! origin on core 1, all in the same rounds.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::alone::resident;
use crate::contest::{self, Contestant, Pace};
use crate::http1::{Running, spawn_origin, spawn_self};
use crate::mesh::{EDGE, LocalMesh, free_port, wait_for};
use crate::peers::{Peer, Peers};
use crate::{load, say};

/// The second load, where waking up counts.
pub(crate) const FEW: Pace = Pace { connections: 10, rate: 1000 };
/// Files of the peers.
const KEY: &str = "key.pem";
const CERTIFICATE: &str = "cert.pem";
/// Both in one, as HAProxy reads them.
const BOTH: &str = "both.pem";

/// Prints what each pair costs, and what ours costs beside each.
///
/// # Errors
/// When a program cannot be started, or any answer is not what the origin gave.
pub(crate) fn run(binary: &Path, envoy: &Path) -> io::Result<()> {
    let (_origin, origin) = spawn_origin()?;
    let (mesh, at) = ours(binary)?;
    let peers = Peers::new(origin)?;
    certify(&peers.folder.0)?;
    let (first, first_at) = envoys(envoy, &peers.folder.0, origin, "http/1.1")?;
    let (second, second_at) = envoys(envoy, &peers.folder.0, origin, "h2")?;
    let (nginx, haproxy) = (peers.nginx(NGINX)?, peers.haproxy(HAPROXY)?);
    let (relays, relays_at) = spawn_self(&["relays", &origin.to_string()], "0")?;
    let mut pairs = vec![
        Contestant::new("ours", mesh.id(), at),
        Contestant::new("Envoy, HTTP/1.1", first.0.id(), answering("Envoy", first_at)?),
        Contestant::new("Envoy, HTTP/2", second.0.id(), answering("Envoy", second_at)?),
        Contestant::new("blind relays", relays.0.id(), answering("relays", relays_at.port())?),
    ];
    pairs.extend(nginx.iter().chain(&haproxy).map(Peer::contestant));
    contest::run(&mut pairs, FEW)?;
    let (ours, others) = pairs.split_first().ok_or_else(|| io::Error::other("nobody takes part"))?;
    others.iter().for_each(|other| contest::compare(ours, other));
    for (name, pid) in [("ours", mesh.id()), ("Envoy", first.0.id())] {
        say(&format!("{name}: {}", resident(pid)?));
    }
    Ok(())
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
fn envoys(envoy: &Path, folder: &Path, origin: SocketAddr, protocol: &str) -> io::Result<(Running, u16)> {
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
    command.arg("--use-dynamic-base-id");
    Ok((Running::quietly(command)?, listen))
}

/// A certificate that is its own authority, for both ends.
fn certify(folder: &Path) -> io::Result<()> {
    let [key, certificate] = [KEY, CERTIFICATE].map(|name| folder.join(name));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args(["-days", "1", "-subj", "/CN=peer", "-keyout"]).arg(key).arg("-out").arg(certificate);
    if !openssl.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
        return Err(io::Error::other("openssl made no certificate"));
    }
    let [certificate, key] = [CERTIFICATE, KEY].map(|name| std::fs::read_to_string(folder.join(name)));
    std::fs::write(folder.join(BOTH), certificate? + &key?)
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

const NGINX: &str = "\
  upstream inner { server 127.0.0.1:INNER; keepalive 64; keepalive_requests 1000000000; }
  ssl_protocols TLSv1.3;
  proxy_ssl_protocols TLSv1.3;
  server {
    listen 127.0.0.1:LISTEN;
    proxy_ssl_certificate FOLDER/cert.pem;
    proxy_ssl_certificate_key FOLDER/key.pem;
    proxy_ssl_trusted_certificate FOLDER/cert.pem;
    proxy_ssl_verify on;
    proxy_ssl_name peer;
    location / { proxy_pass https://inner; }
  }
  server {
    listen 127.0.0.1:INNER ssl;
    ssl_certificate FOLDER/cert.pem;
    ssl_certificate_key FOLDER/key.pem;
    ssl_client_certificate FOLDER/cert.pem;
    ssl_verify_client on;
    location / { proxy_pass http://origin; }
  }
";

const HAPROXY: &str = "\
backend inner
  http-reuse always
  server inner 127.0.0.1:INNER ssl verify required ca-file FOLDER/cert.pem crt FOLDER/both.pem
frontend outer
  bind 127.0.0.1:LISTEN
  default_backend inner
frontend inner
  bind 127.0.0.1:INNER ssl crt FOLDER/both.pem ca-file FOLDER/cert.pem verify required
  default_backend origin
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
