//! Delta ADS for the mesh: a session for each side without IO, the cache behind it, and the tasks around it.
#![doc = include_str!("../README.md")]

pub mod cache;
pub mod client;
pub mod generated;
pub mod key;
pub mod lastgood;
pub mod native;
pub mod proto;
pub mod server;
pub mod session;

pub use cache::{Applied, Change, Encoded, Entry, ResourceCache, Snapshot, TooLarge};
pub use key::{Key, TypeUrl, Types, Version};
