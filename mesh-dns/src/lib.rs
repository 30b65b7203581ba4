//! Addresses of DNS names for a proxy: asked for ahead of requests, kept fresh, bounded. No requests, no connections.
#![doc = include_str!("../README.md")]

pub mod endpoints;
pub mod fresh;
pub mod message;
pub mod resolver;

pub use fresh::keep;
pub use resolver::{Found, Lookup, LookupError, Resolver};
