//! Names of objects and resources. A resource name is `<cluster>/<namespace>/<Kind>/<name>[/<part>]`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The cluster part of names in a mesh of one cluster.
pub const LOCAL_CLUSTER: &str = "local";

/// What a resource is; the last word of its type URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// TLS towards a backend.
    BackendTls,
    /// A server certificate of a listener.
    Certificate,
    /// At most 100 endpoints of one service port.
    EndpointChunk,
    /// One listener of a gateway.
    Listener,
    /// One authorization policy.
    Policy,
    /// One route object.
    Route,
    /// One service.
    Service,
    /// One workload: labels, account, addresses.
    Workload,
}

impl Kind {
    /// Every kind, in the order in which a proxy needs them (make before break).
    pub const ALL: [Self; 8] = [
        Self::Workload,
        Self::Certificate,
        Self::BackendTls,
        Self::Service,
        Self::EndpointChunk,
        Self::Policy,
        Self::Listener,
        Self::Route,
    ];

    /// The kind as written in names and type URLs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BackendTls => "BackendTls",
            Self::Certificate => "Certificate",
            Self::EndpointChunk => "EndpointChunk",
            Self::Listener => "Listener",
            Self::Policy => "Policy",
            Self::Route => "Route",
            Self::Service => "Service",
            Self::Workload => "Workload",
        }
    }

    /// The xDS type URL: `type.googleapis.com/mesh.v1.<Kind>`.
    pub fn type_url(self) -> String {
        format!("type.googleapis.com/mesh.v1.{}", self.as_str())
    }

    /// The kind of a type URL, if it is one of ours.
    pub fn from_type_url(url: &str) -> Option<Self> {
        url.strip_prefix("type.googleapis.com/mesh.v1.")?.parse().ok()
    }
}

impl FromStr for Kind {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL.into_iter().find(|k| k.as_str() == text).ok_or_else(|| NameError::Kind(text.to_owned()))
    }
}

/// Why a text is not a resource name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The kind is unknown.
    #[error("unknown resource kind {0:?}")]
    Kind(String),
    /// The name does not have four or five parts, or one is empty.
    #[error("{0:?} is not <cluster>/<namespace>/<Kind>/<name>[/<part>]")]
    Shape(String),
}

/// Namespace and name of an object. The namespace of a cluster-scoped object is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl ObjectName {
    /// A name from its two parts.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The key of a resource: unique in a mesh, stable over time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceKey {
    /// What it is.
    pub kind: Kind,
    /// The cluster it comes from.
    pub cluster: Arc<str>,
    /// Namespace and name of the object it was made from.
    pub object: ObjectName,
    /// Which part of the object, when one object yields several resources.
    pub part: Option<Arc<str>>,
}

impl ResourceKey {
    /// The key of a whole object of the local cluster.
    pub fn local(kind: Kind, object: ObjectName) -> Self {
        Self { kind, cluster: Arc::from(LOCAL_CLUSTER), object, part: None }
    }

    /// The key of one part of an object of the local cluster.
    pub fn local_part(kind: Kind, object: ObjectName, part: impl Into<Arc<str>>) -> Self {
        Self { part: Some(part.into()), ..Self::local(kind, object) }
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, cluster, object, part } = self;
        write!(f, "{cluster}/{}/{}/{}", object.namespace, kind.as_str(), object.name)?;
        part.as_ref().map_or(Ok(()), |part| write!(f, "/{part}"))
    }
}

impl FromStr for ResourceKey {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let shape = || NameError::Shape(text.to_owned());
        let mut parts = text.splitn(5, '/');
        let mut next = || parts.next().ok_or_else(shape);
        let (cluster, namespace, kind, name) = (next()?, next()?, next()?, next()?);
        let part = parts.next();
        if cluster.is_empty() || name.is_empty() || part == Some("") {
            return Err(shape());
        }
        let object = ObjectName::new(namespace, name);
        Ok(Self { kind: kind.parse()?, cluster: Arc::from(cluster), object, part: part.map(Arc::from) })
    }
}

impl TryFrom<String> for ResourceKey {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ResourceKey> for String {
    fn from(key: ResourceKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_names_print_and_parse_back() {
        for text in ["local/shop/Route/cart", "local/shop/Listener/edge/http/x", "c1//Workload/w"] {
            assert_eq!(text.parse::<ResourceKey>().map(|k| k.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "a/b/Route", "a/b/Nothing/c", "/b/Route/c", "a/b/Route/c/"] {
            assert!(text.parse::<ResourceKey>().is_err(), "{text:?} was accepted");
        }
    }
}
