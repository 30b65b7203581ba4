//! Decisions: which rule serves a request, who may enter, and why. Pure; no state is kept between calls.
//!
//! The hot path calls [`route_request`], [`route_connection`] and [`authorize`]. [`explain_route`] and
//! [`explain_authorization`] make the same decision and say why everything else was passed over.

mod authorize;
mod decision;
mod journey;
pub(crate) mod query;
mod route;

pub use authorize::{Miss, Verdict, authorize, explain_authorization};
pub use decision::{Authorization, BackendShare, Decision, PassedOver, PolicyStep, RouteRef};
pub use journey::{Journey, explain_journey};
pub use route::{Place, Routed, explain_route, listener_filters, route_connection, route_request};
