//! DNS for a proxy: addresses of names outside, kept fresh, and answers to its application about names inside. Bounded;
//! no requests, no connections to endpoints.
#![doc = include_str!("../README.md")]

pub mod endpoints;
pub mod fresh;
pub mod message;
pub mod query;
pub mod resolver;
pub mod serve;
pub mod settings;
mod transport;
pub mod zone;

pub use fresh::keep;
pub use resolver::{Found, Lookup, LookupError, Resolver};
pub use settings::Settings;
pub use zone::Zone;
