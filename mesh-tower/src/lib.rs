//! The mesh's decisions as tower layers for HTTP services of one's own. Nothing here opens a connection or waits.
#![doc = include_str!("../README.md")]

mod authorization;
mod read;
mod routing;

pub use authorization::{Authorization, AuthorizationLayer};
pub use routing::{Routing, RoutingLayer};
