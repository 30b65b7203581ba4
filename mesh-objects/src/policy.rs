//! `BackendTLSPolicy` and `ReferenceGrant` (Gateway API v1.7.0, both channels). No attachment.

use serde::{Deserialize, Serialize};

use super::meta::{Condition, Manifest, TextMap};
use super::route::{LocalObjectReference, ParentReference};
use super::shape::shapes;

/// How to speak TLS to a backend.
pub type BackendTlsPolicy = Manifest<BackendTlsPolicySpec, PolicyStatus>;

/// Permission to refer across namespaces.
pub type ReferenceGrant = Manifest<ReferenceGrantSpec, NoStatus>;

/// The status of kinds that have none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NoStatus {}

shapes! {
    /// What a `BackendTLSPolicy` asks for.
    pub struct BackendTlsPolicySpec {
        /// Settings of the implementation.
        pub options: TextMap,
        /// The backends.
        pub target_refs: required Vec<PolicyTargetReference>,
        /// What is expected of their certificates.
        pub validation: BackendTlsValidation,
    }

    /// A backend, or one port of it.
    pub struct PolicyTargetReference {
        /// Group of the object; empty for core.
        pub group: String,
        /// Kind of the object.
        pub kind: String,
        /// Name of the object.
        pub name: String,
        /// Only the port with this name.
        pub section_name: Option<String>,
    }

    /// What is expected of a backend's certificate.
    pub struct BackendTlsValidation {
        /// Who may have issued it.
        pub ca_certificate_refs: Vec<LocalObjectReference>,
        /// Server name that is asked for, and expected unless alternatives are listed.
        pub hostname: String,
        /// Alternative names of which one is expected.
        pub subject_alt_names: Vec<SubjectAltName>,
        /// A known set of issuers; `System` is the host's.
        #[serde(rename = "wellKnownCACertificates")]
        pub well_known_ca_certificates: Option<String>,
    }

    /// A name in a certificate.
    pub struct SubjectAltName {
        /// A DNS name, when `kind` is `Hostname`.
        pub hostname: Option<String>,
        /// Which of the two.
        #[serde(rename = "type")]
        pub kind: SubjectAltNameType,
        /// A URI, such as a SPIFFE ID, when `kind` is `URI`.
        pub uri: Option<String>,
    }

    /// What a name in a certificate is.
    pub enum SubjectAltNameType {
        /// A DNS name.
        Hostname,
        /// A URI.
        #[serde(rename = "URI")]
        Uri,
    }

    /// What controllers reported about a policy.
    pub default struct PolicyStatus {
        /// One entry per ancestor and controller.
        pub ancestors: required Vec<PolicyAncestorStatus>,
    }

    /// What one controller reported about one ancestor.
    pub struct PolicyAncestorStatus {
        /// The ancestor.
        pub ancestor_ref: ParentReference,
        /// The conditions.
        pub conditions: required Vec<Condition>,
        /// Who reported.
        pub controller_name: String,
    }

    /// What a `ReferenceGrant` permits.
    pub struct ReferenceGrantSpec {
        /// Who may refer.
        pub from: required Vec<GrantFrom>,
        /// To what.
        pub to: required Vec<GrantTo>,
    }

    /// Objects that may refer.
    pub struct GrantFrom {
        /// Their group; empty for core.
        pub group: String,
        /// Their kind.
        pub kind: String,
        /// Their namespace.
        pub namespace: String,
    }

    /// Objects that may be referred to.
    pub struct GrantTo {
        /// Their group; empty for core.
        pub group: String,
        /// Their kind.
        pub kind: String,
        /// Only the object with this name.
        pub name: Option<String>,
    }
}
