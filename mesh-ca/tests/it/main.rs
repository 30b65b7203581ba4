//! The tests of this crate through its public API, in one binary.

mod handshake;
mod pki;
