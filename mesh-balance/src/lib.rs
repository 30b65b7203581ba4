//! Choices of a proxy that need a memory: which backend, which endpoint, whether to try once more. No IO, no clock.
#![doc = include_str!("../README.md")]

mod balancer;
pub mod budget;
mod wheel;

pub use balancer::{Balancer, InFlight};
pub use budget::Budgets;
pub use wheel::Wheel;
