//! `BackendTLSPolicy` and `ReferenceGrant` (Gateway API v1.7.0, both channels). No attachment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::meta::{Condition, Manifest, TextMap};
use super::route::{LocalObjectReference, ParentReference};

/// How to speak TLS to a backend.
pub type BackendTlsPolicy = Manifest<BackendTlsPolicySpec, PolicyStatus>;

/// Permission to refer across namespaces.
pub type ReferenceGrant = Manifest<ReferenceGrantSpec, NoStatus>;

/// The status of kinds that have none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NoStatus {}

/// What a `BackendTLSPolicy` asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendTlsPolicySpec {
    /// Settings of the implementation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: TextMap,
    /// The backends.
    pub target_refs: Vec<PolicyTargetReference>,
    /// What is expected of their certificates.
    pub validation: BackendTlsValidation,
}

/// A backend, or one port of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyTargetReference {
    /// Group of the object; empty for core.
    pub group: String,
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Only the port with this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// What is expected of a backend's certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendTlsValidation {
    /// Who may have issued it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ca_certificate_refs: Vec<LocalObjectReference>,
    /// Server name that is asked for, and expected unless alternatives are listed.
    pub hostname: String,
    /// Alternative names of which one is expected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<SubjectAltName>,
    /// A known set of issuers; `System` is the host's.
    #[serde(rename = "wellKnownCACertificates", default, skip_serializing_if = "Option::is_none")]
    pub well_known_ca_certificates: Option<String>,
}

/// A name in a certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubjectAltName {
    /// A DNS name, when `kind` is `Hostname`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Which of the two.
    #[serde(rename = "type")]
    pub kind: SubjectAltNameType,
    /// A URI, such as a SPIFFE ID, when `kind` is `URI`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

/// What a name in a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubjectAltNameType {
    /// A DNS name.
    Hostname,
    /// A URI.
    #[serde(rename = "URI")]
    Uri,
}

/// What controllers reported about a policy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicyStatus {
    /// One entry per ancestor and controller.
    pub ancestors: Vec<PolicyAncestorStatus>,
}

/// What one controller reported about one ancestor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyAncestorStatus {
    /// The ancestor.
    pub ancestor_ref: ParentReference,
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// Who reported.
    pub controller_name: String,
}

/// What a `ReferenceGrant` permits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReferenceGrantSpec {
    /// Who may refer.
    pub from: Vec<GrantFrom>,
    /// To what.
    pub to: Vec<GrantTo>,
}

/// Objects that may refer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantFrom {
    /// Their group; empty for core.
    pub group: String,
    /// Their kind.
    pub kind: String,
    /// Their namespace.
    pub namespace: String,
}

/// Objects that may be referred to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantTo {
    /// Their group; empty for core.
    pub group: String,
    /// Their kind.
    pub kind: String,
    /// Only the object with this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
