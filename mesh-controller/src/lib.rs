//! Kubernetes-style objects to mesh resources: reading, validation, translation and status. The only crate that
//! knows Kubernetes.
#![doc = include_str!("../README.md")]

#[cfg(feature = "cluster")]
pub mod cluster;
pub mod controller;
pub mod local;
pub mod serve;
pub mod translate;

pub use mesh_inject::{inject, pods};
pub use mesh_objects::{self as objects, schema};
pub use mesh_provision::{self as provision, names, status};
pub use mesh_source::{self as source, store};
pub use mesh_yaml as yaml;
