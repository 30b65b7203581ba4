//! Filters as functions over heads, one idea per file. None knows another one, or in which order they act.
#![doc = include_str!("../README.md")]

pub mod cors;
pub mod grant;
pub mod headers;
pub mod names;
pub mod redirect;
pub mod rewrite;
pub mod session;
