//! The seam to the machine: clock, randomness, sockets, spawning. Nothing here knows what a mesh is.
//!
//! The other crates take time and chance from here only, so that the same code runs under virtual time.
#![doc = include_str!("../README.md")]

pub mod clock;
pub mod drain;
pub mod ending;
pub mod net;
pub mod passing;
pub mod random;

pub use clock::{Clock, ManualClock, SharedClock, SystemClock};
