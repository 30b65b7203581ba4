//! The small service that examples and tests run: its arguments, sockets and shutdown. What it answers is in the
//! files below. It echoes whatever it is sent and is no part of a mesh.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod calls;
mod echo;
mod grpc;
mod http;
mod serve;
mod tls;
mod websocket;

#[cfg(test)]
mod tests;

use calls::Call;
use echo::{Behaviour, Relay};
use http::App;

/// The arguments of `meshctl demo`.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Arguments {
    /// Address for HTTP/1.1, HTTP/2 without TLS, gRPC and WebSocket.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address for the same over TLS.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) tls: Option<SocketAddr>,
    /// Certificate chain for `--tls`, PEM; without it one is made for `--name`.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Key of that certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Address of a TCP echo.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) tcp: Option<SocketAddr>,
    /// Copy the bytes of every TCP connection to another service and back, as ADDRESS=HOST:PORT.
    #[arg(long, value_name = "ADDRESS=HOST:PORT")]
    pub(crate) relay: Option<Relay>,
    /// Address of a UDP echo.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) udp: Option<SocketAddr>,
    /// Name in every answer.
    #[arg(long, default_value = "demo")]
    pub(crate) name: String,
    /// Version in every answer.
    #[arg(long, default_value = "v1")]
    pub(crate) version: String,
    /// Said first on a TCP connection, before each UDP echo, and in HTTP answers.
    #[arg(long)]
    pub(crate) greeting: Option<String>,
    /// A downstream to call for every request, as `NAME=http://HOST[:PORT]/PATH`; may be repeated.
    #[arg(long = "call", value_name = "NAME=URL")]
    pub(crate) calls: Vec<Call>,
    /// Another request header to pass on to downstreams; may be repeated.
    #[arg(long, value_name = "HEADER")]
    pub(crate) propagate: Vec<::http::HeaderName>,
    /// Seconds that requests in flight have after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) grace: u64,
}

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// A socket could not be opened.
    #[error("{protocol} cannot listen on {address}: {source}")]
    Listen { protocol: &'static str, address: SocketAddr, source: std::io::Error },
    /// No address was given.
    #[error("nothing to do: give --listen, --tls, --tcp, --udp or --relay")]
    Nothing,
    /// Signals cannot be awaited.
    #[error("signals cannot be awaited: {0}")]
    Signal(std::io::Error),
    /// The certificate or key cannot be used.
    #[error("the certificate for --tls: {0}")]
    Tls(#[from] tls::Error),
}

/// Serves until SIGTERM or SIGINT, then finishes what is in flight.
///
/// # Errors
/// When a socket, a certificate or the signals are not to be had.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    let running = Running::start(arguments)?;
    for (protocol, address) in &running.addresses {
        announce(protocol, *address);
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    running.stop().await;
    Ok(())
}

/// A line for the person or test that started us: with port 0 it is the only place that tells the port.
#[expect(clippy::print_stdout, reason = "the ready line is the command's output")]
fn announce(protocol: &str, address: SocketAddr) {
    println!("listening {protocol} {address}");
}

/// A service that answers.
pub(crate) struct Running {
    /// Protocol and address of every open socket.
    pub(crate) addresses: Vec<(&'static str, SocketAddr)>,
    stop: CancellationToken,
    tasks: TaskTracker,
    grace: Duration,
}

impl Running {
    /// Opens all sockets, or none.
    ///
    /// # Errors
    /// As for [`run`].
    pub(crate) fn start(arguments: Arguments) -> Result<Self, Error> {
        let Sockets { http, tls, tcp, relay, udp, addresses } = Sockets::open(&arguments)?;
        if addresses.is_empty() {
            return Err(Error::Nothing);
        }
        let acceptor = tls.is_some().then(|| tls::acceptor(&arguments)).transpose()?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let greeting: Option<Arc<str>> = arguments.greeting.as_deref().map(Arc::from);
        let grace = Duration::from_secs(arguments.grace);
        let relays = relay.zip(arguments.relay.clone());
        let app = Arc::new(App::new(arguments));
        let served = serve::Served { app, stop: stop.clone(), tasks: tasks.clone() };
        if let Some(listener) = http {
            tasks.spawn(serve::plain(listener, served.clone()));
        }
        if let (Some(listener), Some(acceptor)) = (tls, acceptor) {
            tasks.spawn(serve::secure(listener, acceptor, served.clone()));
        }
        if let Some(listener) = tcp {
            let behaviour = Behaviour::Echo(greeting.clone());
            tasks.spawn(echo::tcp(listener, behaviour, stop.clone(), tasks.clone()));
        }
        if let Some((listener, relay)) = relays {
            let behaviour = Behaviour::Relay(Arc::new(relay));
            tasks.spawn(echo::tcp(listener, behaviour, stop.clone(), tasks.clone()));
        }
        if let Some(socket) = udp {
            tasks.spawn(echo::udp(socket, greeting, stop.clone()));
        }
        Ok(Self { addresses, stop, tasks, grace })
    }

    /// Accepts nothing more and waits for what is in flight, at most for the grace period.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        // What is still in flight after the grace period ends with the process.
        let _ = tokio::time::timeout(self.grace, self.tasks.wait()).await;
    }
}

/// The open sockets.
struct Sockets {
    http: Option<TcpListener>,
    tls: Option<TcpListener>,
    tcp: Option<TcpListener>,
    relay: Option<TcpListener>,
    udp: Option<UdpSocket>,
    addresses: Vec<(&'static str, SocketAddr)>,
}

impl Sockets {
    fn open(arguments: &Arguments) -> Result<Self, Error> {
        let mut addresses = Vec::new();
        let mut listen = |protocol, address: Option<SocketAddr>| {
            let Some(address) = address else { return Ok::<_, Error>(None) };
            let listener = mesh_rt::net::listen_tcp(address, false).and_then(TcpListener::from_std);
            let listener = listener.map_err(|source| Error::Listen { protocol, address, source })?;
            addresses.push((protocol, listener.local_addr().unwrap_or(address)));
            Ok(Some(listener))
        };
        let http = listen("http", arguments.listen)?;
        let tls = listen("tls", arguments.tls)?;
        let tcp = listen("tcp", arguments.tcp)?;
        let relay = listen("relay", arguments.relay.as_ref().map(|relay| relay.listen))?;
        let udp = arguments.udp.map(open_udp).transpose()?;
        if let (Some(socket), Some(address)) = (&udp, arguments.udp) {
            addresses.push(("udp", socket.local_addr().unwrap_or(address)));
        }
        Ok(Self { http, tls, tcp, relay, udp, addresses })
    }
}

fn open_udp(address: SocketAddr) -> Result<UdpSocket, Error> {
    let socket = mesh_rt::net::bind_udp(address, false).and_then(UdpSocket::from_std);
    socket.map_err(|source| Error::Listen { protocol: "udp", address, source })
}
