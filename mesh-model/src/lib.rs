//! The mesh as a value: identities, listeners, routes, services, policies, and the engine that decides.
//!
//! Everything here is pure: no async, no IO, no clock, no environment, no Kubernetes types. A resource is
//! built only by parsing, so a resource that exists is valid.
#![doc = include_str!("../README.md")]

pub mod authority;
pub mod backend;
pub mod duration;
pub mod facts;
pub mod filter;
pub mod finding;
pub mod hostname;
pub mod identity;
pub mod listener;
pub mod matcher;
pub mod name;
pub mod path;
pub mod policy;
pub mod resource;
pub mod route;
pub mod source;
pub mod tls;
pub mod workload;

pub use authority::Authority;
pub use backend::{AppProtocol, Endpoint, EndpointChunk, Service, ServicePort, Transport};
pub use duration::GatewayDuration;
pub use facts::{ConnectionFacts, RequestHead};
pub use finding::{Code, FieldPath, Finding, Reason, Severity};
pub use hostname::HostPattern;
pub use identity::{SpiffeId, TrustDomain};
pub use listener::{Listener, ListenerProtocol, ListenerTls};
pub use name::{Kind, ObjectName, ResourceKey};
pub use policy::AuthorizationPolicy;
pub use resource::Resource;
pub use route::{Attachment, Route, RouteKind, Rule};
pub use source::{Origin, Position, SourceRef};
pub use tls::{BackendTls, Certificate};
pub use workload::Workload;
