//! TLS material: server certificates of listeners, and TLS towards backends. No TLS is spoken here.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::name::{ObjectName, ResourceKey};
use crate::source::SourceRef;

/// A private key. It prints as a placeholder and is never serialised to text.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Arc<[u8]>);

impl PrivateKey {
    /// A key from PKCS#8, SEC1 or PKCS#1 DER.
    pub fn from_der(der: impl Into<Arc<[u8]>>) -> Self {
        Self(der.into())
    }

    /// The DER bytes, for the TLS library and the wire only.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

/// A server certificate of listeners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// The resource's key.
    pub key: ResourceKey,
    /// The object it was made from.
    pub source: SourceRef,
    /// DER of the chain, leaf first.
    pub chain: Vec<Arc<[u8]>>,
    /// The leaf's key.
    #[serde(skip)]
    pub private_key: PrivateKey,
}

/// A name that a backend's certificate must carry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SubjectAltName {
    /// A DNS name.
    Dns(Arc<str>),
    /// A URI.
    Uri(Arc<str>),
}

/// Which roots a backend's certificate must lead to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Roots {
    /// These, in DER.
    Bundle(Vec<Arc<[u8]>>),
    /// None is usable: every connection fails.
    None,
    /// The system's.
    System,
}

/// TLS towards the endpoints of a service (BackendTLSPolicy, GEP-1897).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendTls {
    /// The resource's key.
    pub key: ResourceKey,
    /// The object it was made from.
    pub source: SourceRef,
    /// The service.
    pub service: ObjectName,
    /// One of its ports; `None` is all that have no policy of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The name sent as SNI, and checked when `names` is empty.
    pub hostname: Arc<str>,
    /// Names of which one must be in the certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<SubjectAltName>,
    /// The roots.
    pub roots: Roots,
    /// The certificate that is shown to this backend, in place of one that the gateway shows to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCertificate>,
}

/// A certificate that is shown to one backend (`XBackend`, `tls.clientCertificateRef`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCertificate {
    /// The certificate. It binds late.
    pub certificate: ResourceKey,
    /// The gateways that have it, because a route of theirs leads to the backend.
    pub gateways: Vec<ObjectName>,
}
