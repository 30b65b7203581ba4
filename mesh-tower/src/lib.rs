//! The mesh's decisions as tower layers for HTTP services of one's own. Nothing here opens a connection or waits.
#![doc = include_str!("../README.md")]

mod authorization;
mod gate;
mod read;
mod routing;

pub use authorization::{Authorization, AuthorizationLayer};
pub use gate::{Gate, Judge};
pub use routing::{Routing, RoutingLayer};
