//! The delta protocol as state machines without IO: messages and snapshots in, messages and events out.
//! Sockets, tasks and clocks live in `server` and `client`.

pub mod client;
pub mod rejection;
pub mod server;
