//! Which rule serves a request: the routes of a gateway's listener, asked about every request.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Method, Request, Response, StatusCode};
use mesh_model::engine::{Place, Routed, route_request};
use mesh_model::{ConnectionFacts, ObjectName, Reason};
use tower_layer::Layer;
use tower_service::Service;

use crate::read::{Head, refusal, unreadable};
use mesh_proxy::http::head::Sender;
use mesh_proxy::snapshot::SharedMesh;

/// Makes services that are told the rule of each request.
///
/// A request that a rule serves carries it among its extensions, as [`Routed`]: filters, time limits and backends are for
/// the service to carry out. What no rule serves is answered as a gateway answers it, with the [`Reason`] among the
/// answer's extensions. TRACE passes only where a rule names it.
#[derive(Debug, Clone)]
pub struct RoutingLayer {
    mesh: SharedMesh,
    gateway: ObjectName,
    port: u16,
}

impl RoutingLayer {
    /// By the routes of this gateway's port in the snapshot of each moment. The server name comes from the facts.
    pub fn new(mesh: SharedMesh, gateway: ObjectName, port: u16) -> Self {
        Self { mesh, gateway, port }
    }
}

impl<S> Layer<S> for RoutingLayer {
    type Service = Routing<S>;

    fn layer(&self, inner: S) -> Routing<S> {
        Routing { layer: self.clone(), inner }
    }
}

/// A service behind the routes of a gateway.
#[derive(Debug, Clone)]
pub struct Routing<S> {
    layer: RoutingLayer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Routing<S>
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
        match self.layer.route(request) {
            Ok(request) => Either::Left(self.inner.call(request)),
            Err(refusal) => Either::Right(ready(Ok(*refusal))),
        }
    }
}

impl RoutingLayer {
    fn route<B, R: Default>(&self, request: Request<B>) -> Result<Request<B>, Box<Response<R>>> {
        let (mut parts, body) = request.into_parts();
        let facts = parts.extensions.get::<ConnectionFacts>().cloned();
        // Without them a server name that protects a listener would not be asked about.
        let facts =
            facts.ok_or_else(|| Box::new(refusal(StatusCode::FORBIDDEN, Reason::IdentityRequired)))?;
        let failed = |error| Box::new(unreadable(&error));
        let head = Head::read(&mut parts, Sender::Outside).map_err(failed)?;
        let place = Place::Gateway { gateway: &self.gateway, port: self.port, sni: facts.sni.as_deref() };
        let routed = route_request(&self.mesh.current(), place, &head.view());
        let trace = *head.view().method == Method::TRACE;
        match &routed {
            Routed::Rule(rule) if trace && rule.alternative().method.as_ref() != Some(&Method::TRACE) => {
                return Err(failed(mesh_proxy::http::Error::Method));
            }
            Routed::Rule(_) => {}
            Routed::Refused { status, reason } => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::NOT_FOUND);
                return Err(Box::new(refusal(status, *reason)));
            }
            Routed::Service { .. } => return Err(Box::new(refusal(StatusCode::NOT_FOUND, Reason::NoRoute))),
        }
        head.finish().map_err(failed)?;
        parts.extensions.insert(routed);
        Ok(Request::from_parts(parts, body))
    }
}
