//! Peers and harnesses for tests: an open-loop load generator, processes that end with their test, and tests
//! that skip themselves aloud. Nothing of the product lives here.

pub mod config;
pub mod container;
pub mod load;
pub mod ports;
pub mod process;
mod skip;

pub use skip::skip;
