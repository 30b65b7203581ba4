//! The proxy of a node: it serves pods that have none of their own, each inside the pod's network namespace.
#![doc = include_str!("../README.md")]

pub mod accounts;
pub mod config;
pub mod handover;
pub mod node;
pub mod places;
pub mod plan;
pub mod pod;
pub mod report;
