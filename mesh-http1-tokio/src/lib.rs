//! HTTP/1.1 connections on tokio, polled by whoever uses them. What requests mean, which backend is asked and how
//! long anybody is waited for is not known here.
#![doc = include_str!("../README.md")]

mod client;
mod connection;
mod heads;
mod outgoing;
mod raw;
mod scratch;
mod wire;

pub use client::Client;
pub use connection::{Connection, Problem};
pub use heads::{Asked, Started, Way, request_head, response_head};
pub use mesh_http1::{Error, Framing, RequestReader, Version};
pub use outgoing::{Fault, Outgoing};
pub use raw::{Prefixed, RawIo};
pub use wire::{Broken, Wire};
