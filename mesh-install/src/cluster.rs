//! The cluster that is installed into: a small client of its API server, and what is done through it. JSON in,
//! JSON out; what the objects are is decided elsewhere.

mod api;
mod apply;
mod check;
mod kubeconfig;

pub use api::{Answer, Api, CallError};
pub use apply::{Change, ClusterError, Left, Progress, install, uninstall, wait};
pub use check::{Outcome, Stage, Subject, Verdict, check};
pub use kubeconfig::{Connection, KubeconfigError};
