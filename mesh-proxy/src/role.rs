//! The roles of a proxy: from an accepted connection to HTTP or to copied bytes. One file per role; what they
//! share is here. Each role's function is its stack, read from top to bottom.

mod context;
pub(crate) mod datagrams;
mod flow;
mod forward;
pub mod gateway;
mod http;
pub mod inbound;
pub mod outbound;

pub(crate) use context::Context;
pub use context::Times;

/// Metrics and readiness of every proxy: never captured, and plain.
pub const HEALTH_PORT: u16 = 15_020;
