//! The mesh as a value: identities, listeners, routes, services, policies, and the engine that decides.
//!
//! Everything here is pure: no async, no IO, no clock, no environment, no Kubernetes types. A resource is
//! built only by parsing, so a resource that exists is valid. A [`Mesh`] is an immutable snapshot;
//! [`Mesh::apply`] makes the next one by copying only what changed. The [`engine`] takes a snapshot and the
//! head of a request and returns a decision that names its rule, its source object and its reason.
#![doc = include_str!("../README.md")]

pub mod authority;
pub mod backend;
pub mod duration;
pub mod engine;
pub mod facts;
pub mod filter;
pub mod finding;
pub mod hostname;
pub mod identity;
pub mod listener;
pub mod matcher;
pub mod mesh;
pub mod name;
pub mod named;
pub mod path;
pub mod policy;
pub mod resource;
pub mod route;
pub mod session;
pub mod source;
pub mod tls;
pub mod tracing;
pub mod workload;

pub use authority::Authority;
pub use backend::{AppProtocol, Endpoint, EndpointChunk, RetryBudget, Service, ServicePort, Transport};
pub use duration::GatewayDuration;
pub use facts::{ConnectionFacts, RequestHead};
pub use finding::{Code, FieldPath, Finding, Reason, Severity};
pub use hostname::HostPattern;
pub use identity::{Caller, SpiffeId, TrustDomain};
pub use listener::{Listener, ListenerProtocol, ListenerTls};
pub use mesh::{Delta, Mesh};
pub use name::{Kind, ObjectName, ResourceKey};
pub use policy::AuthorizationPolicy;
pub use resource::Resource;
pub use route::{Attachment, Route, RouteKind, Rule};
pub use session::{Session, SessionCarrier, SessionKey};
pub use source::{Origin, Position, SourceRef};
pub use tls::{BackendTls, Certificate};
pub use workload::{OnNode, Outside, Plaintext, Workload};
