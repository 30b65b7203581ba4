//! The SPIFFE Workload API for the applications of one workload: their certificate with its key, and whom to trust, as
//! streams that follow every renewal. The TLS of the mesh itself is not made here.
//!
//! Who may open the socket is who is asked (SPIFFE Workload Endpoint, section 5): it must lie where only the workload's
//! own containers or processes see it. The certificate names the workload, under a key that is not the proxy's: an
//! application that loses its key does not lose that of the proxy, and a workload that never asks costs the authority
//! nothing.
//!
//! Served is the X.509-SVID profile (SPIFFE Workload API, section 5). The JWT-SVID profile is disabled, which section 1
//! leaves to operators: its calls are answered with `UNIMPLEMENTED`.

mod answer;
mod application;
mod server;
mod socket;
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
