//! The SPIFFE Workload API for the applications of one workload: their certificate with its key, tokens, and whom to
//! trust, as streams that follow every renewal. The TLS of the mesh itself is not made here.
//!
//! Who may open the socket is who is asked (SPIFFE Workload Endpoint, section 5): it must lie where only the workload's
//! own containers or processes see it. The certificate names the workload, under a key that is not the proxy's: an
//! application that loses its key does not lose that of the proxy, and a workload that never asks costs the authority
//! nothing.
//!
//! Served are both mandatory profiles (SPIFFE Workload API, sections 5 and 6). A token (JWT-SVID) is signed by the
//! authority for each audience; it is asked for on the proxy's certificate and lives for minutes.

mod answer;
mod application;
mod claims;
mod server;
mod socket;
mod tokens;
mod watching;
mod wire;

pub use server::WorkloadApi;
pub use socket::{Callers, Endpoint};

/// The name that a socket should have. The C library of gRPC, with Python's and others above it, sends the socket's path
/// in percent-encoding as the authority of its requests, and our HTTP/2 takes percent signs only ahead of an `@`.
pub const SOCKET_NAME: &str = "workload@api.sock";

/// The variable that tells applications where the endpoint is, as [`Endpoint::uri`] writes it (SPIFFE Workload Endpoint,
/// section 4).
pub const ENDPOINT_VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";
