//! The gRPC service `SpiffeWorkloadAPI`: which call is answered by what, and who is refused.

use std::convert::Infallible;
use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::codegen::{BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::answer;
use super::application::Application;
use super::claims;
use super::socket::Caller;
use super::watching::{Messages, NOBODY, Watching};
use super::wire::{
    FETCH_JWT_BUNDLES, FETCH_JWT_SVID, FETCH_X509_BUNDLES, FETCH_X509_SVID, JwtBundlesRequest,
    JwtBundlesResponse, JwtSvid, JwtSvidRequest, JwtSvidResponse, SERVICE, VALIDATE_JWT_SVID,
    ValidateJwtSvidRequest, ValidateJwtSvidResponse, X509BundlesRequest, X509BundlesResponse,
    X509SvidRequest, X509SvidResponse,
};
use crate::jwt::{self, LONGEST_TOKEN, MAX_AUDIENCES};
use crate::rotate::Issuance;
use crate::tls::PeerTls;

/// The metadata that every request carries, so that nobody is tricked into asking (SPIFFE Workload Endpoint, section 3).
const MARK: &str = "workload.spiffe.io";
/// Calls under way at a time, streams among them; further ones are refused and tried again by the client.
const CALLS: usize = 64;
/// Longest request in bytes: a token and its audience, or all audiences of one.
const LONGEST: usize = LONGEST_TOKEN + 1024 * MAX_AUDIENCES;

/// The service `SpiffeWorkloadAPI` for the applications of one workload. Cloning shares it.
#[derive(Clone)]
pub struct WorkloadApi(Arc<Shared>);

struct Shared {
    application: Application,
    places: Arc<Semaphore>,
}

impl WorkloadApi {
    /// A service that gives applications the identity of `proxy` under a key of their own, which `issuance` is asked
    /// for as soon as somebody wants it, and the bundles that the proxy trusts.
    pub fn new(proxy: PeerTls, issuance: impl Issuance) -> Self {
        let places = Arc::new(Semaphore::new(CALLS));
        Self(Arc::new(Shared { application: Application::new(proxy, issuance), places }))
    }
}

impl Shared {
    /// A stream that follows the certificate.
    fn svids(self: &Arc<Self>) -> Result<Messages<X509SvidResponse>, Status> {
        let place = self.place()?;
        let (shared, trust) = (Arc::clone(self), Arc::clone(&self.application.proxy().trust));
        let changes = vec![self.application.identity().subscribe(), trust.subscribe()];
        let look = move || {
            let source = shared.application.identity();
            let svid = source.current()?;
            answer::x509_svid(&svid, &trust.current(), source.clock().wall())
        };
        Ok(Watching { look: Box::new(look), changes, _place: place }.messages())
    }

    /// A stream that follows the bundles.
    fn bundles(self: &Arc<Self>) -> Result<Messages<X509BundlesResponse>, Status> {
        let place = self.place()?;
        let PeerTls { source, trust } = self.application.proxy().clone();
        let changes = vec![source.subscribe(), trust.subscribe()];
        let look = move || {
            // Whose bundles these are follows from who is asked.
            let svid = source.current()?;
            answer::x509_bundles(svid.id().trust_domain(), &trust.current(), source.clock().wall())
        };
        Ok(Watching { look: Box::new(look), changes, _place: place }.messages())
    }

    /// A stream that follows the keys of tokens.
    fn jwt_bundles(self: &Arc<Self>) -> Result<Messages<JwtBundlesResponse>, Status> {
        let place = self.place()?;
        let PeerTls { source, trust } = self.application.proxy().clone();
        let changes = vec![source.subscribe(), trust.subscribe()];
        let look = move || answer::jwt_bundles(source.current()?.id().trust_domain(), &trust.current());
        Ok(Watching { look: Box::new(look), changes, _place: place }.messages())
    }

    /// A token for the workload (SPIFFE Workload API, section 6.2.1).
    async fn token(&self, asked: JwtSvidRequest) -> Result<JwtSvidResponse, Status> {
        let _place = self.place()?;
        let JwtSvidRequest { mut audience, spiffe_id } = asked;
        jwt::checked_audience(&audience).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let source = &self.application.proxy().source;
        let svid = source.current().filter(|_| !source.remaining().is_zero());
        let svid = svid.ok_or_else(|| Status::permission_denied(NOBODY))?;
        if !spiffe_id.is_empty() && spiffe_id != svid.id().to_string() {
            return Err(Status::permission_denied("the workload has another identity"));
        }
        // The order means nothing.
        audience.sort();
        audience.dedup();
        let token = self.application.token(svid.id(), audience).await;
        let token = token.map_err(|error| Status::unavailable(error.to_string()))?;
        let svid = JwtSvid { spiffe_id: svid.id().to_string(), svid: token.expose().to_owned() };
        Ok(JwtSvidResponse { svids: vec![svid] })
    }

    /// Judges a token (SPIFFE Workload API, section 6.2.3).
    fn validate(&self, asked: &ValidateJwtSvidRequest) -> Result<ValidateJwtSvidResponse, Status> {
        let PeerTls { source, trust } = self.application.proxy();
        let claims = jwt::validate(&asked.svid, &asked.audience, &trust.current(), source.clock().wall());
        let claims = claims.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let spiffe_id = claims.subject.to_string();
        Ok(ValidateJwtSvidResponse { spiffe_id, claims: Some(claims::of_object(claims.all)) })
    }

    /// Refused with the code that the standard has for a server that sheds load (SPIFFE Workload Endpoint, section 6).
    fn place(&self) -> Result<OwnedSemaphorePermit, Status> {
        let full = |_| Status::unavailable("too many calls on this socket");
        Arc::clone(&self.places).try_acquire_owned().map_err(full)
    }
}

/// An answer, or a refusal. Who asked is told, with the process as the kernel knows it.
fn opened<Q, A>(asked: &Request<Q>, answer: Result<A, Status>) -> Result<Response<A>, Status> {
    let caller = asked.extensions().get::<Option<Caller>>().copied().flatten();
    let (user, process) = (caller.map(|c| c.user), caller.and_then(|c| c.process));
    let (call, refusal) = (std::any::type_name::<Q>(), answer.as_ref().err().map(Status::message));
    // An application may ask often.
    tracing::debug!(target: "mesh_ca::audit", call, ?user, ?process, ?refusal, "the workload API was asked");
    answer.map(Response::new)
}

/// Whether a request carries the mark, and nothing that contradicts it.
fn is_marked(headers: &http::HeaderMap) -> bool {
    let mut values = headers.get_all(MARK).iter().peekable();
    values.peek().is_some() && values.all(|value| value == "true")
}

impl<B> Service<http::Request<B>> for WorkloadApi
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if !is_marked(request.headers()) {
            let refusal = Status::invalid_argument(format!("the metadata {MARK}: true is missing"));
            return Box::pin(async move { Ok(refusal.into_http()) });
        }
        let shared = Arc::clone(&self.0);
        match request.uri().path() {
            FETCH_X509_SVID => Box::pin(async move {
                let call =
                    service_fn(|asked: Request<X509SvidRequest>| ready(opened(&asked, shared.svids())));
                Ok(grpc().server_streaming(call, request).await)
            }),
            FETCH_X509_BUNDLES => Box::pin(async move {
                let call =
                    service_fn(|asked: Request<X509BundlesRequest>| ready(opened(&asked, shared.bundles())));
                Ok(grpc().server_streaming(call, request).await)
            }),
            FETCH_JWT_SVID => Box::pin(async move {
                let call = service_fn(|asked: Request<JwtSvidRequest>| {
                    let (shared, message) = (Arc::clone(&shared), asked.get_ref().clone());
                    async move { opened(&asked, shared.token(message).await) }
                });
                Ok(grpc().unary(call, request).await)
            }),
            FETCH_JWT_BUNDLES => Box::pin(async move {
                let call = service_fn(|asked: Request<JwtBundlesRequest>| {
                    ready(opened(&asked, shared.jwt_bundles()))
                });
                Ok(grpc().server_streaming(call, request).await)
            }),
            VALIDATE_JWT_SVID => Box::pin(async move {
                let call = service_fn(|asked: Request<ValidateJwtSvidRequest>| {
                    ready(opened(&asked, shared.validate(asked.get_ref())))
                });
                Ok(grpc().unary(call, request).await)
            }),
            _ => Box::pin(async { Ok(Status::unimplemented("there is no such call").into_http()) }),
        }
    }
}

/// One call, with the limit of its request.
fn grpc<A, Q>() -> Grpc<ProstCodec<A, Q>>
where
    A: prost::Message + Send + 'static,
    Q: prost::Message + Default + Send + 'static,
{
    Grpc::new(ProstCodec::default()).apply_max_message_size_config(Some(LONGEST), None)
}

impl NamedService for WorkloadApi {
    const NAME: &'static str = SERVICE;
}

impl fmt::Debug for WorkloadApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkloadApi").field(self.0.application.proxy()).finish()
    }
}
