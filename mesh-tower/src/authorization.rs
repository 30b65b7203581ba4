//! Who may come in: the authorization policies of a workload, asked about every request.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response, StatusCode};
use mesh_model::engine::authorize;
use mesh_model::{ConnectionFacts, Mesh, ObjectName, Reason};
use tower_layer::Layer;
use tower_service::Service;

use crate::read::{Head, refusal, unreadable};
use mesh_proxy::http::head::Sender;
use mesh_proxy::snapshot::SharedMesh;

/// Makes services that let in whom the policies of a workload allow.
///
/// A request that passes carries the [`Verdict`](mesh_model::engine::Verdict) among its extensions and is what was decided about: its path is
/// normalised, and headers are gone that only the mesh may send. A refused one is answered 403, or 503 while the workload
/// is not known, with the verdict or the [`Reason`] among the answer's extensions.
#[derive(Debug, Clone)]
pub struct AuthorizationLayer {
    mesh: SharedMesh,
    workload: ObjectName,
}

impl AuthorizationLayer {
    /// By the policies that select this workload in the snapshot of each moment.
    pub fn new(mesh: SharedMesh, workload: ObjectName) -> Self {
        Self { mesh, workload }
    }
}

impl<S> Layer<S> for AuthorizationLayer {
    type Service = Authorization<S>;

    fn layer(&self, inner: S) -> Authorization<S> {
        Authorization { layer: self.clone(), inner }
    }
}

/// A service behind the policies of a workload.
#[derive(Debug, Clone)]
pub struct Authorization<S> {
    layer: AuthorizationLayer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Authorization<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<R>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.layer.admit(request) {
            Ok(request) => Either::Left(self.inner.call(request)),
            Err(refusal) => Either::Right(ready(Ok(*refusal))),
        }
    }
}

impl AuthorizationLayer {
    fn admit<B, R: Default>(&self, request: Request<B>) -> Result<Request<B>, Box<Response<R>>> {
        let (mut parts, body) = request.into_parts();
        let facts = parts.extensions.get::<ConnectionFacts>().cloned();
        // Who does not say where a request came from cannot have it judged.
        let facts =
            facts.ok_or_else(|| Box::new(refusal(StatusCode::FORBIDDEN, Reason::IdentityRequired)))?;
        let failed = |error| Box::new(unreadable(&error));
        let head = Head::read(&mut parts, Sender::Unverified).map_err(failed)?;
        let mesh: &Mesh = &self.mesh.current();
        let Some(workload) = mesh.workload(&self.workload) else {
            return Err(Box::new(refusal(StatusCode::SERVICE_UNAVAILABLE, Reason::PolicyPending)));
        };
        let verdict = authorize(&mesh.policies_for(workload), &facts, Some(&head.view()));
        if !verdict.allowed {
            let mut response = refusal(StatusCode::FORBIDDEN, verdict.reason);
            response.extensions_mut().insert(verdict);
            return Err(Box::new(response));
        }
        head.finish().map_err(failed)?;
        parts.extensions.insert(verdict);
        Ok(Request::from_parts(parts, body))
    }
}
