//! Gateway, outbound and inbound proxies made of small layers around one engine.
#![doc = include_str!("../README.md")]

pub mod admin;
pub mod config;
pub mod control;
pub mod detect;
pub mod dialer;
mod hashed;
pub mod http;
pub mod layers;
pub mod names;
pub mod pool;
pub mod proxy;
pub mod role;
pub mod scope;
pub mod snapshot;
pub mod tcp;
pub mod tls;
pub mod udp;
pub mod upstream;
mod worker;

pub use mesh_capture as capture;
pub use mesh_rt::drain;
pub use mesh_telemetry as telemetry;
