//! The gRPC service around the server's session: one task per stream, and the fleet's state for status. What a
//! stream is told is decided in `session::server`.

mod fleet;
mod identified;
mod places;
mod stream;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use mesh_model::{Caller, SpiffeId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::StreamingService;
use tonic::transport::server::Connected;

pub use self::fleet::{Fleet, Progress, ProxyState, Reach, Refusal, Report, ReportKind, StreamId};
pub use self::identified::Identified;
use self::places::Places;
use crate::cache::ResourceCache;
use crate::key::Types;
use crate::proto::{DELTA_PATH, DeltaDiscoveryRequest, DeltaDiscoveryResponse, SERVICE_NAME};
use crate::session::server::{Limits, Scope, ServerSession};

/// The largest request that is read, in bytes; it may list every resource that a client holds.
pub const MAX_REQUEST: usize = 16 << 20;

/// Whose streams are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peers {
    /// Everyone, also over connections without a verified identity. For tests and private sockets only.
    Anyone,
    /// Connections with a verified identity.
    Identified,
}

/// How the service serves.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The types on offer, in order.
    pub types: Types,
    /// Who may have which resource.
    pub scope: Scope,
    /// Limits of each stream.
    pub limits: Limits,
    /// Whose streams are served.
    pub peers: Peers,
    /// The most streams at a time; further ones are refused. Those of one peer at one address are at most about a
    /// ninth of them.
    pub max_streams: usize,
}

impl Default for ServerConfig {
    /// The mesh's types, to every verified identity.
    fn default() -> Self {
        Self {
            types: Types::mesh(),
            scope: Scope::default(),
            limits: Limits::default(),
            peers: Peers::Identified,
            max_streams: 10_000,
        }
    }
}

/// The aggregated discovery service over a cache. Add it to a tonic router beside other services, or serve it
/// alone with [`AdsService::serve`].
///
/// The peer's identity is taken from the request's extensions, where the connection puts it: a `SpiffeId` or a
/// [`Caller`], such as [`Identified`] provides.
#[derive(Debug, Clone)]
pub struct AdsService(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    cache: ResourceCache,
    config: ServerConfig,
    fleet: Fleet,
    places: Places,
    closing: watch::Sender<bool>,
}

impl AdsService {
    /// A service over a cache.
    pub fn new(cache: ResourceCache, config: ServerConfig) -> Self {
        let places = Places::new(config.max_streams);
        let closing = watch::Sender::new(false);
        Self(Arc::new(Shared { cache, config, fleet: Fleet::default(), places, closing }))
    }

    /// Who is connected, what they acknowledged and what they refused.
    pub fn fleet(&self) -> &Fleet {
        &self.0.fleet
    }

    /// Ends all streams with `UNAVAILABLE`, now and from now on.
    pub fn close(&self) {
        self.0.closing.send_replace(true);
    }

    /// A tonic server with the timeouts this service needs: dead peers are noticed within 30 s.
    pub fn transport() -> tonic::transport::Server {
        tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(10)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)))
            .max_concurrent_streams(Some(64))
    }

    /// Serves connections until `shutdown` resolves, then ends every stream. TLS, if any, is finished before a
    /// connection arrives here.
    ///
    /// # Errors
    /// When the transport fails as a whole; a broken connection is not an error.
    pub async fn serve<IO, IE>(
        self,
        incoming: impl Stream<Item = Result<IO, IE>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error>
    where
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
        IE: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let closing = self.clone();
        let shutdown = async move {
            shutdown.await;
            closing.close();
        };
        // The transport takes the end of `incoming` for a shutdown; the connections that are open go on.
        let incoming = incoming.chain(tokio_stream::pending());
        Self::transport().add_service(self).serve_with_incoming_shutdown(incoming, shutdown).await
    }

    fn open(
        &self,
        request: tonic::Request<tonic::Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<tonic::Response<Responses>, Status> {
        let shared = &self.0;
        let caller = caller(request.extensions());
        let peer = caller.identity.clone();
        let refused = |status: Status| {
            let who = peer.as_ref().map(ToString::to_string);
            tracing::warn!(peer = ?who, reason = status.message(), "a discovery stream was refused");
            status
        };
        if peer.is_none() && shared.config.peers == Peers::Identified {
            return Err(refused(Status::unauthenticated("a verified SPIFFE identity is needed")));
        }
        let full = |why: places::Refused| refused(Status::resource_exhausted(why.to_string()));
        let place = shared.places.take(&caller).map_err(full)?;
        let ServerConfig { types, scope, limits, .. } = &shared.config;
        let session = ServerSession::new(types.clone(), scope.clone(), *limits, peer);
        let task = stream::Task {
            snapshots: shared.cache.watch(),
            closing: shared.closing.subscribe(),
            member: shared.fleet.join(session.node()),
            session,
            _place: place,
        };
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(task.run(request.into_inner(), sender));
        Ok(tonic::Response::new(ReceiverStream::new(receiver)))
    }
}

type Responses = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

fn caller(extensions: &tonic::Extensions) -> Caller {
    let mut caller = extensions.get::<Caller>().cloned().unwrap_or_default();
    caller.identity = caller.identity.or_else(|| extensions.get::<SpiffeId>().cloned());
    caller
}

impl StreamingService<DeltaDiscoveryRequest> for AdsService {
    type Response = DeltaDiscoveryResponse;
    type ResponseStream = Responses;
    type Future = BoxFuture<tonic::Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: tonic::Request<tonic::Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let opened = self.open(request);
        Box::pin(async move { opened })
    }
}

impl<B> Service<http::Request<B>> for AdsService
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<tonic::codegen::StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path() != DELTA_PATH {
            let status = Status::unimplemented("only delta aggregated discovery is served");
            return Box::pin(async move { Ok(status.into_http()) });
        }
        let service = self.clone();
        let codec = tonic_prost::ProstCodec::<DeltaDiscoveryResponse, DeltaDiscoveryRequest>::default();
        let grpc = tonic::server::Grpc::new(codec);
        let mut grpc = grpc.apply_max_message_size_config(Some(MAX_REQUEST), None);
        Box::pin(async move { Ok(grpc.streaming(service, request).await) })
    }
}

impl tonic::server::NamedService for AdsService {
    const NAME: &'static str = SERVICE_NAME;
}
