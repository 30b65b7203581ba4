//! The task that keeps a client's configuration fresh: connects, speaks, reconnects. What a message means is
//! decided in `session::client`; what a resource means, by the caller's [`Consumer`].

mod backoff;
mod state;

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use self::backoff::Backoff;
pub use self::state::{ClientState, Connection};
use crate::key::{Key, TypeUrl, Types, Version};
use crate::proto::{DELTA_PATH, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node};
use crate::session::client::ClientSession;
pub use crate::session::client::{Rejected, Update};

/// The largest response that is read, in bytes.
pub const MAX_RESPONSE: usize = 16 << 20;
/// How long connecting may take, and then opening the stream.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// Opens connections to the server; TLS, if any, is finished when one is returned. Every
/// `Fn() -> impl Future<Output = io::Result<IO>>` is a `Connect`.
pub trait Connect: Send + Sync + 'static {
    /// The connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Opens a connection.
    fn connect(&self) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

impl<F, Opening, IO> Connect for F
where
    F: Fn() -> Opening + Send + Sync + 'static,
    Opening: Future<Output = io::Result<IO>> + Send,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Io = IO;

    fn connect(&self) -> impl Future<Output = io::Result<IO>> + Send {
        self()
    }
}

/// Turns payloads into resources and takes what changed.
pub trait Consumer: Send + 'static {
    /// A valid resource.
    type Item: Send;

    /// Parses a payload in full; the reason why it is not valid goes back to the server.
    ///
    /// # Errors
    /// One line for the object's status.
    fn decode(&mut self, type_url: &TypeUrl, name: &str, body: &Bytes) -> Result<Self::Item, String>;

    /// Takes the changes of one response, as one step. Must not block.
    fn apply(&mut self, update: Update<Self::Item>);
}

/// How a client connects and what it wants.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The types of the service, in order; the client subscribes to all resources of each.
    pub types: Types,
    /// Who the client is.
    pub node: Node,
    /// The first pause after a failure; doubled for each further one, with jitter.
    pub shortest_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// What is held from an earlier life.
    pub restored: Vec<(Key, Version)>,
    /// How old the restored configuration is.
    pub restored_age: Option<Duration>,
}

impl ClientConfig {
    /// A client of the mesh's types.
    pub fn new(node: Node) -> Self {
        Self {
            types: Types::mesh(),
            node,
            shortest_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(5),
            restored: Vec::new(),
            restored_age: None,
        }
    }
}

/// Why a stream ended or could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The connector failed.
    #[error("connecting failed: {0}")]
    Connect(#[from] io::Error),
    /// The server ended the stream without an error.
    #[error("the server ended the stream")]
    Ended,
    /// The server refused or broke the stream.
    #[error("{} ({:?})", .0.message(), .0.code())]
    Status(#[from] tonic::Status),
    /// The HTTP/2 handshake failed.
    #[error("the transport failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// Connecting or opening took longer than 10 s.
    #[error("no answer within {} s", OPEN_WITHIN.as_secs())]
    Timeout(#[from] tokio::time::error::Elapsed),
}

/// The client's task. Run it on a runtime; watch its state from anywhere.
pub struct Client<C, A> {
    connector: C,
    consumer: A,
    session: ClientSession,
    state: watch::Sender<ClientState>,
    backoff: Backoff,
    types: usize,
}

impl<C: Connect, A: Consumer> Client<C, A> {
    /// A client, not yet running, and a watch on its state.
    pub fn new(config: ClientConfig, connector: C, consumer: A) -> (Self, watch::Receiver<ClientState>) {
        let mut session = ClientSession::new(config.types.clone(), config.node);
        for (key, version) in config.restored {
            session.restore(&key.type_url, key.name, version);
        }
        for type_url in config.types.iter() {
            session.subscribe_all(type_url);
        }
        let state = watch::Sender::new(ClientState::restored(config.restored_age));
        let watch = state.subscribe();
        let backoff = Backoff::new(config.shortest_pause, config.longest_pause);
        let types = config.types.iter().count();
        (Self { connector, consumer, session, state, backoff, types }, watch)
    }

    /// Runs until `shutdown` resolves; reconnects for ever.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = shutdown => {}
            () = self.keep_connected() => {}
        }
    }

    async fn keep_connected(&mut self) {
        loop {
            self.state.send_modify(ClientState::connecting);
            let Err(error) = self.stream().await;
            self.session.close();
            let pause = self.backoff.next();
            tracing::info!(%error, ?pause, "configuration stream ended");
            self.state.send_modify(|state| state.waiting(&error.to_string(), pause, Instant::now()));
            sleep(pause).await;
        }
    }

    async fn stream(&mut self) -> Result<std::convert::Infallible, StreamError> {
        let io = timeout(OPEN_WITHIN, self.connector.connect()).await??;
        let channel = timeout(OPEN_WITHIN, http2(io)).await??;
        // Room for the first requests and for the answer to the one response that can be under way.
        let (requests, outgoing) = mpsc::channel(self.types + 1);
        for request in self.session.open() {
            _ = requests.try_send(request); // there is room, and the receiver is still here
        }
        let mut responses = timeout(OPEN_WITHIN, open(channel, ReceiverStream::new(outgoing))).await??;
        self.state.send_modify(ClientState::connected);
        while let Some(response) = responses.message().await? {
            self.backoff.reset();
            let answer = self.take(response);
            requests.send(answer).await.map_err(|_| StreamError::Ended)?;
        }
        Err(StreamError::Ended)
    }

    fn take(&mut self, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
        let Self { consumer, session, .. } = self;
        let (update, answer) = session.response(response, |t, name, body| consumer.decode(t, name, body));
        consumer.apply(update);
        let rejected = self.session.rejected();
        let rejected =
            rejected.map(|(t, r)| (Key { type_url: t.clone(), name: r.name.clone() }, r.clone())).collect();
        let synced = self.session.is_synced();
        self.state.send_modify(|state| state.answered(synced, rejected));
        answer
    }
}

async fn http2<IO>(io: IO) -> Result<Channel, tonic::transport::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The channel may ask once: a second connection would be a second stream, which is the caller's to open.
    let once = Mutex::new(Some(TokioIo::new(io)));
    let connector = tower::service_fn(move |_: http::Uri| {
        let io = once.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        async move { io.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    Endpoint::from_static("http://ads.mesh")
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await
}

type Outgoing = ReceiverStream<DeltaDiscoveryRequest>;

async fn open(
    channel: Channel,
    outgoing: Outgoing,
) -> Result<tonic::Streaming<DeltaDiscoveryResponse>, StreamError> {
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(MAX_RESPONSE);
    let codec = tonic_prost::ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
    let path = http::uri::PathAndQuery::from_static(DELTA_PATH);
    grpc.ready().await?;
    let response = grpc.streaming(tonic::Request::new(outgoing), path, codec).await?;
    Ok(response.into_inner())
}
