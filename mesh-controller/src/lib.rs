//! Kubernetes-style objects to mesh resources: reading, validation, translation and status. The only crate that
//! knows Kubernetes.

pub mod objects;
pub mod yaml;
