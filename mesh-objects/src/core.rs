//! Core objects beside services: `Namespace`, `Secret`, `ConfigMap`, `ServiceAccount`, and `ClusterTrustBundle` of
//! `certificates.k8s.io` (Kubernetes 1.36).

use std::collections::BTreeMap;

use super::meta::{ConditionStatus, ObjectMeta, TextMap};
use super::scalar::{SecretBytes, SecretText, Timestamp};
use super::shape::shapes;

shapes! {
    /// A namespace and its labels.
    pub struct Namespace {
        /// Group and version as written.
        pub api_version: String,
        /// Kind as written.
        pub kind: String,
        /// Name and labels.
        #[serde(default)]
        pub metadata: ObjectMeta,
        /// What the user wants.
        pub spec: Option<NamespaceSpec>,
        /// What controllers reported.
        pub status: Option<NamespaceStatus>,
    }

    /// What a namespace asks for.
    pub default struct NamespaceSpec {
        /// Who must agree before removal.
        pub finalizers: Vec<String>,
    }

    /// What controllers reported about a namespace.
    pub default struct NamespaceStatus {
        /// The conditions.
        pub conditions: Vec<NamespaceCondition>,
        /// Whether it is being removed.
        pub phase: Option<NamespacePhase>,
    }

    /// One condition of a namespace.
    pub struct NamespaceCondition {
        /// When `status` changed last.
        pub last_transition_time: Option<Timestamp>,
        /// A sentence for people.
        pub message: Option<String>,
        /// A word for programs.
        pub reason: Option<String>,
        /// Whether it holds.
        pub status: ConditionStatus,
        /// Which condition.
        #[serde(rename = "type")]
        pub kind: String,
    }

    /// Whether a namespace is being removed.
    pub enum NamespacePhase {
        /// In use.
        Active,
        /// Being removed.
        Terminating,
    }

    /// Keys and certificates.
    pub struct Secret {
        /// Group and version as written.
        pub api_version: String,
        /// Bytes by name.
        pub data: BTreeMap<String, SecretBytes>,
        /// Whether it may change.
        pub immutable: Option<bool>,
        /// Kind as written.
        pub kind: String,
        /// Name and labels.
        #[serde(default)]
        pub metadata: ObjectMeta,
        /// Texts by name; they win over `data`.
        pub string_data: BTreeMap<String, SecretText>,
        /// What the secret is for; `Opaque` when absent.
        #[serde(rename = "type")]
        pub secret_type: Option<String>,
    }

    /// Plain configuration.
    pub struct ConfigMap {
        /// Group and version as written.
        pub api_version: String,
        /// Bytes by name.
        pub binary_data: BTreeMap<String, SecretBytes>,
        /// Texts by name.
        pub data: TextMap,
        /// Whether it may change.
        pub immutable: Option<bool>,
        /// Kind as written.
        pub kind: String,
        /// Name and labels.
        #[serde(default)]
        pub metadata: ObjectMeta,
    }

    /// CA certificates that a cluster shares.
    pub struct ClusterTrustBundle {
        /// Group and version as written.
        pub api_version: String,
        /// Kind as written.
        pub kind: String,
        /// Name and labels.
        #[serde(default)]
        pub metadata: ObjectMeta,
        /// The certificates.
        pub spec: TrustBundle,
    }

    /// CA certificates.
    pub struct TrustBundle {
        /// Who signs with them; nobody in particular when absent.
        pub signer_name: Option<String>,
        /// The certificates in PEM.
        pub trust_bundle: String,
    }

    /// The account that a workload runs as.
    pub struct ServiceAccount {
        /// Group and version as written.
        pub api_version: String,
        /// Whether its token is put into pods.
        pub automount_service_account_token: Option<bool>,
        /// Secrets for image registries.
        pub image_pull_secrets: Vec<LocalReference>,
        /// Kind as written.
        pub kind: String,
        /// Name and labels.
        #[serde(default)]
        pub metadata: ObjectMeta,
        /// Secrets that its pods may use.
        pub secrets: Vec<AccountSecret>,
    }

    /// An object of the same namespace and a kind that is clear.
    pub default struct LocalReference {
        /// Its name.
        pub name: Option<String>,
    }

    /// A secret of an account.
    pub default struct AccountSecret {
        /// Version of the object.
        pub api_version: Option<String>,
        /// A part of the object.
        pub field_path: Option<String>,
        /// Kind of the object.
        pub kind: Option<String>,
        /// Name of the object.
        pub name: Option<String>,
        /// Namespace of the object.
        pub namespace: Option<String>,
        /// Version of the object that is meant.
        pub resource_version: Option<String>,
        /// Identity of the object.
        pub uid: Option<String>,
    }
}

impl Secret {
    /// The bytes under a name. A text under the same name wins, as it does in Kubernetes.
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        let text = self.string_data.get(name).map(|text| text.expose().as_bytes());
        text.or_else(|| self.data.get(name).map(SecretBytes::expose))
    }
}
