//! What a mesh needs to stand in a Kubernetes cluster: values, the objects made from them, and their text. Nothing
//! here runs in the cluster.
#![doc = include_str!("../README.md")]

pub mod access;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod definitions;
pub mod manifest;
pub mod node;
pub mod render;
pub mod values;
mod webhook;

pub use render::{Rendered, render};
pub use values::{Profile, Values, ValuesError};
