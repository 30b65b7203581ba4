//! Peers and harnesses for tests. Not published; product code never depends on it.

pub mod config;
mod skip;

pub use skip::skip;
