//! What happens to a request between its decision and its connection, one idea per file. A layer knows its
//! filter and the head it changes; none knows another layer or the order of the stack. What only edits heads is in
//! mesh-filters, what chooses in mesh-balance.

pub(crate) mod authorization;
pub(crate) mod exchange;
pub mod forward;
pub(crate) mod limits;
pub mod mirror;
pub mod retry;

pub use mesh_filters::{cors, headers, redirect, rewrite, session};
