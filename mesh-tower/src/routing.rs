//! Which rule serves a request: the routes of a gateway's listener, asked about every request.

use http::{Method, Response, StatusCode};
use mesh_model::engine::{Place, Routed, listener_filters, route_request};
use mesh_model::{ConnectionFacts, ObjectName, Reason, RequestHead};
use mesh_proxy::http::head::Sender;
use mesh_proxy::snapshot::SharedMesh;
use tower_layer::Layer;

use crate::gate::{Gate, Judge};
use crate::read::{refusal, unreadable};

/// Makes services that are told the rule of each request.
///
/// A request that a rule serves carries it among its extensions, as [`Routed`]: filters, time limits and backends are for
/// the service to carry out. What no rule serves is answered as a gateway answers it, with the [`Reason`] among the
/// answer's extensions. TRACE passes only where a rule names it. A listener with filters of its own, which come before the
/// routes, is not served: 503.
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
        Gate::new(self.clone(), inner)
    }
}

/// A service behind the routes of a gateway.
pub type Routing<S> = Gate<RoutingLayer, S>;

impl Judge for RoutingLayer {
    type Decision = Routed;

    const SENDER: Sender = Sender::Outside;

    fn judge<R: Default>(
        &self,
        facts: &ConnectionFacts,
        head: &RequestHead<'_>,
    ) -> Result<Routed, Box<Response<R>>> {
        let place = Place::Gateway { gateway: &self.gateway, port: self.port, sni: facts.sni.as_deref() };
        let mesh = self.mesh.current();
        // What comes before the routes must be asked first, and only a proxy can.
        if !listener_filters(&mesh, place, head).is_empty() {
            return Err(Box::new(refusal(StatusCode::SERVICE_UNAVAILABLE, Reason::PolicyPending)));
        }
        let routed = route_request(&mesh, place, head);
        let trace = *head.method == Method::TRACE;
        match &routed {
            Routed::Rule(rule) if trace && rule.alternative().method.as_ref() != Some(&Method::TRACE) => {
                Err(Box::new(unreadable(&mesh_proxy::http::Error::Method)))
            }
            Routed::Rule(_) => Ok(routed),
            Routed::Refused { status, reason } => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::NOT_FOUND);
                Err(Box::new(refusal(status, *reason)))
            }
            Routed::Service { .. } => Err(Box::new(refusal(StatusCode::NOT_FOUND, Reason::NoRoute))),
        }
    }
}
