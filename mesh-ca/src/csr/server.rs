//! The server of certificate requests: attest, then sign. Add it to a tonic router; the connection puts the
//! verified peer into the request's extensions as [`Caller`] or `SpiffeId`, as [`crate::grpc`] does.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use mesh_model::{Caller, SpiffeId};
use tokio::sync::Semaphore;
use tonic::codegen::{BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::wire::{
    BUNDLES, Bundle, FetchBundlesRequest, FetchBundlesResponse, ISSUE, IssueCertificateRequest,
    IssueCertificateResponse, IssueTokenRequest, IssueTokenResponse, MAX_MESSAGE, SERVICE, TOKEN,
};
use crate::attest::{AttestError, Attestor, Evidence};
use crate::authority::{Authority, AuthorityError, Issued};
use crate::svid::{TrustBundle, TrustBundles};

/// Requests that are worked on at a time; further ones are refused and retried by the client.
const AT_ONCE: usize = 64;

/// The service `mesh.v1.CertificateService`.
#[derive(Clone)]
pub struct CertificateService(Arc<Shared>);

struct Shared {
    authority: Arc<Authority>,
    attestor: Box<dyn Attestor>,
    places: Semaphore,
}

impl CertificateService {
    /// A service that issues from this authority to whom the attestor knows.
    pub fn new(authority: Arc<Authority>, attestor: impl Attestor) -> Self {
        let places = Semaphore::new(AT_ONCE);
        Self(Arc::new(Shared { authority, attestor: Box::new(attestor), places }))
    }
}

impl Shared {
    async fn issue(
        &self,
        Caller { identity: peer, address: from }: Caller,
        asked: IssueCertificateRequest,
    ) -> Result<IssueCertificateResponse, Status> {
        let busy = |_| Status::resource_exhausted("too many certificate requests at once");
        let _place = self.places.try_acquire().map_err(busy)?;
        let key = super::parse(&asked.csr).map_err(|error| {
            audit(peer.as_ref(), &error);
            Status::invalid_argument(error.to_string())
        })?;
        let ttl = Some(asked.ttl_seconds).filter(|ttl| *ttl > 0).map(Duration::from_secs);
        let token = Some(asked.attestation_token.as_str()).filter(|token| !token.is_empty());
        let asked = match asked.identity.as_str() {
            "" => None,
            text => Some(text.parse::<SpiffeId>().map_err(|error| {
                audit(peer.as_ref(), &error);
                Status::invalid_argument(error.to_string())
            })?),
        };
        let evidence = Evidence { token, peer: peer.as_ref(), from, key: &key, asked: asked.as_ref() };
        let id = self.attestor.attest(evidence).await.map_err(|error| {
            audit(peer.as_ref(), &error);
            refused(&error)
        })?;
        let authority = Arc::clone(&self.authority);
        // A rotation that is due writes the store's file.
        let issuing = tokio::task::spawn_blocking(move || authority.issue(&id, &key, ttl));
        let issued = issuing.await.map_err(|_| Status::internal("issuing failed"))?;
        Ok(self.answer(issued.map_err(|error| failed(&error))?))
    }

    /// A token for whom the connection's certificate names, and for nobody else.
    async fn token(
        &self,
        peer: Option<SpiffeId>,
        asked: IssueTokenRequest,
    ) -> Result<IssueTokenResponse, Status> {
        let busy = |_| Status::resource_exhausted("too many certificate requests at once");
        let _place = self.places.try_acquire().map_err(busy)?;
        let id =
            peer.ok_or_else(|| Status::unauthenticated("tokens are given on verified certificates only"))?;
        let authority = Arc::clone(&self.authority);
        let issuing = tokio::task::spawn_blocking(move || authority.issue_token(&id, &asked.audience));
        let token = issuing.await.map_err(|_| Status::internal("issuing failed"))?;
        let token = token.map_err(|error| failed(&error))?;
        let left = token.expires().duration_since(self.authority.clock().wall()).unwrap_or_default();
        Ok(IssueTokenResponse { token: token.expose().to_owned(), ttl_seconds: left.as_secs() })
    }

    fn answer(&self, issued: Issued) -> IssueCertificateResponse {
        let now: SystemTime = self.authority.clock().wall();
        IssueCertificateResponse {
            chain: issued.chain.iter().map(|certificate| certificate.to_vec()).collect(),
            bundles: encoded(&self.authority.trust().current()),
            ttl_seconds: issued.not_after.duration_since(now).unwrap_or_default().as_secs(),
        }
    }
}

/// Every refusal is told, with its reason.
fn audit(peer: Option<&SpiffeId>, error: &dyn std::error::Error) {
    let peer = peer.map(ToString::to_string);
    tracing::warn!(target: "mesh_ca::audit", ?peer, %error, "certificate refused");
}

fn encoded(bundles: &TrustBundles) -> Vec<Bundle> {
    let bundle = |bundle: &TrustBundle| Bundle {
        trust_domain: bundle.trust_domain().to_string(),
        roots: bundle.roots().map(|root| root.to_vec()).collect(),
        sequence: bundle.sequence(),
        jwt_keys: bundle.jwt_keys().iter().map(|key| key.spki().to_vec()).collect(),
    };
    bundles.iter().map(bundle).collect()
}

fn refused(error: &AttestError) -> Status {
    match error {
        AttestError::Busy => Status::resource_exhausted(error.to_string()),
        AttestError::Unavailable(_) => Status::unavailable(error.to_string()),
        AttestError::NoEvidence => Status::unauthenticated(error.to_string()),
        AttestError::Refused(_) | AttestError::Token(_) => Status::permission_denied(error.to_string()),
    }
}

fn failed(error: &AuthorityError) -> Status {
    match error {
        AuthorityError::ForeignTrustDomain { .. } => Status::permission_denied(error.to_string()),
        AuthorityError::Token(_) => Status::invalid_argument(error.to_string()),
        AuthorityError::Store(_) => Status::unavailable(error.to_string()),
        _ => Status::failed_precondition(error.to_string()),
    }
}

fn caller(extensions: &tonic::Extensions) -> Caller {
    let known = extensions.get::<Caller>().cloned();
    known.unwrap_or_else(|| Caller { identity: extensions.get::<SpiffeId>().cloned(), address: None })
}

/// The call that issues.
struct Issue(Arc<Shared>);

impl UnaryService<IssueCertificateRequest> for Issue {
    type Response = IssueCertificateResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<IssueCertificateRequest>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        let caller = caller(request.extensions());
        Box::pin(async move { shared.issue(caller, request.into_inner()).await.map(Response::new) })
    }
}

/// The call that gives tokens.
struct IssueToken(Arc<Shared>);

impl UnaryService<IssueTokenRequest> for IssueToken {
    type Response = IssueTokenResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<IssueTokenRequest>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        let peer = caller(request.extensions()).identity;
        Box::pin(async move { shared.token(peer, request.into_inner()).await.map(Response::new) })
    }
}

/// The call that reads the bundles. They are no secret: whoever got this far has verified the server.
struct Fetch(Arc<Shared>);

impl UnaryService<FetchBundlesRequest> for Fetch {
    type Response = FetchBundlesResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, _: Request<FetchBundlesRequest>) -> Self::Future {
        let bundles = encoded(&self.0.authority.trust().current());
        Box::pin(std::future::ready(Ok(Response::new(FetchBundlesResponse { bundles }))))
    }
}

impl<B> Service<http::Request<B>> for CertificateService
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
        let shared = Arc::clone(&self.0);
        let limits = (Some(MAX_MESSAGE), Some(MAX_MESSAGE));
        match request.uri().path() {
            ISSUE => Box::pin(async move {
                let grpc = Grpc::new(ProstCodec::default());
                let mut grpc = grpc.apply_max_message_size_config(limits.0, limits.1);
                Ok(grpc.unary(Issue(shared), request).await)
            }),
            BUNDLES => Box::pin(async move {
                let grpc = Grpc::new(ProstCodec::default());
                let mut grpc = grpc.apply_max_message_size_config(limits.0, limits.1);
                Ok(grpc.unary(Fetch(shared), request).await)
            }),
            TOKEN => Box::pin(async move {
                let grpc = Grpc::new(ProstCodec::default());
                let mut grpc = grpc.apply_max_message_size_config(limits.0, limits.1);
                Ok(grpc.unary(IssueToken(shared), request).await)
            }),
            _ => Box::pin(async { Ok(Status::unimplemented("there is no such call").into_http()) }),
        }
    }
}

impl NamedService for CertificateService {
    const NAME: &'static str = SERVICE;
}

impl fmt::Debug for CertificateService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CertificateService").field(&self.0.authority).finish()
    }
}
