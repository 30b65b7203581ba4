//! The closed list of resources that make up a mesh.

use std::sync::Arc;

use serde::Serialize;

use crate::backend::{EndpointChunk, Service};
use crate::listener::Listener;
use crate::name::ResourceKey;
use crate::policy::AuthorizationPolicy;
use crate::route::Route;
use crate::source::SourceRef;
use crate::tls::{BackendTls, Certificate};
use crate::workload::Workload;

/// One resource. It never knows its neighbours: what it refers to is found when a decision is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Resource {
    /// TLS towards a backend.
    BackendTls(Arc<BackendTls>),
    /// A server certificate.
    Certificate(Arc<Certificate>),
    /// Endpoints of a service port.
    EndpointChunk(Arc<EndpointChunk>),
    /// A listener.
    Listener(Arc<Listener>),
    /// An authorization policy.
    Policy(Arc<AuthorizationPolicy>),
    /// A route.
    Route(Arc<Route>),
    /// A service.
    Service(Arc<Service>),
    /// A workload.
    Workload(Arc<Workload>),
}

impl Resource {
    /// Its key.
    pub fn key(&self) -> &ResourceKey {
        match self {
            Self::BackendTls(r) => &r.key,
            Self::Certificate(r) => &r.key,
            Self::EndpointChunk(r) => &r.key,
            Self::Listener(r) => &r.key,
            Self::Policy(r) => &r.key,
            Self::Route(r) => &r.key,
            Self::Service(r) => &r.key,
            Self::Workload(r) => &r.key,
        }
    }

    /// The object it was made from.
    pub fn source(&self) -> &SourceRef {
        match self {
            Self::BackendTls(r) => &r.source,
            Self::Certificate(r) => &r.source,
            Self::EndpointChunk(r) => &r.source,
            Self::Listener(r) => &r.source,
            Self::Policy(r) => &r.source,
            Self::Route(r) => &r.source,
            Self::Service(r) => &r.source,
            Self::Workload(r) => &r.source,
        }
    }
}
