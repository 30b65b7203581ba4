//! Kubernetes-style objects to mesh resources: reading, validation, translation and status. The only crate that
//! knows Kubernetes.

pub mod objects;
pub mod schema;
pub mod source;
pub mod store;
pub mod yaml;
