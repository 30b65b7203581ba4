//! The tests of this crate through its public API, in one binary.
#![allow(clippy::unwrap_used)] // every line here is a test

mod csr;
mod handshake;
mod pki;
mod public_client;
mod refusals;
mod rotation;
mod store;
mod workload_api;
