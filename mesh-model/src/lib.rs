//! The mesh as a value: identities, listeners, routes, services, policies, and the engine that decides.
//!
//! Everything here is pure: no async, no IO, no clock, no environment, no Kubernetes types. A resource is
//! built only by parsing, so a resource that exists is valid.

pub mod finding;
pub mod identity;
pub mod name;
pub mod source;

pub use finding::{Code, FieldPath, Finding, Reason, Severity};
pub use identity::{SpiffeId, TrustDomain};
pub use name::{Kind, ObjectName, ResourceKey};
pub use source::{Origin, Position, SourceRef};
