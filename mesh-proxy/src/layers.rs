//! What happens to a request between its decision and its connection, one idea per file. A layer knows its
//! filter and the head it changes; none knows another layer or the order of the stack.

pub(crate) mod authorization;
pub mod budget;
pub mod cors;
pub mod forward;
pub mod headers;
pub mod mirror;
pub mod redirect;
pub mod retry;
pub mod rewrite;
