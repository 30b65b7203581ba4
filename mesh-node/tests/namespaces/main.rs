//! Pods that are served, in network namespaces of the test's own.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "applications, which know no seams"
)]

mod handover;
mod names;
mod pods;
mod world;
