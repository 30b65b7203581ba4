//! The loop that serves a client of HTTP/1, and how long it waits. The connection itself is `mesh-http1-tokio`'s,
//! what a request means lives beside this module.

mod patience;
mod serve;

pub(super) use serve::serve;
