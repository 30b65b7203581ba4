//! Kubernetes-style objects to mesh resources: they are read, translated and served to proxies, and their status is
//! written. The only crate that talks to Kubernetes for long.
#![doc = include_str!("../README.md")]

#[cfg(feature = "cluster")]
pub mod cluster;
pub mod controller;
pub mod serve;

pub use mesh_inject::{inject, pods};
pub use mesh_objects::{self as objects, schema};
pub use mesh_provision::{self as provision, names, status};
pub use mesh_source::{self as source, store};
pub use mesh_translate::{self as translate, local};
pub use mesh_yaml as yaml;
