//! HTTP between a client's connection and the pool: strict reading of heads, the three roles, answers of our
//! own, changed protocols. Sockets, TLS and accepting live elsewhere; filters live in `layers`.
//!
//! [`serve`] takes a connection and the worker's [`Stack`]. Everything here runs on one thread.

pub(crate) mod answer;
mod asking;
pub(crate) mod body;
pub(crate) mod call;
mod connection;
mod destination;
mod downstream;
mod error;
mod exports;
pub(crate) mod facts;
pub mod head;
mod http1;
pub(crate) mod incoming;
pub(crate) mod local;
pub(crate) mod record;
pub(crate) mod revoke;
mod roles;
mod sniff;
mod stack;
mod tunnel;
mod woken;

pub use body::{Body, BodyError};
pub use connection::serve;
pub use downstream::Downstream;
pub use error::{Error, Malformed, Meaning};
pub use facts::{Facts, Unpacked};
pub use head::{MAX_HEAD, MAX_HEADERS};
pub use incoming::{Broken, Incoming};
pub use mesh_filters::names;
pub use stack::{Limits, Parts, Stack};
pub(crate) use woken::Woken;
