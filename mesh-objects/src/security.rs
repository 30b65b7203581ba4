//! `security.mesh.io/v1beta1`: `AuthorizationPolicy` and `PeerAuthentication`. No evaluation.

use std::collections::BTreeMap;

use super::meta::{ObjectMeta, TextMap};
use super::shape::shapes;

shapes! {
    /// Who may call what.
    pub struct AuthorizationPolicy {
        /// Group and version as written.
        pub api_version: String,
        /// Kind as written.
        pub kind: String,
        /// Name and labels.
        #[serde(default)]
        pub metadata: ObjectMeta,
        /// What is permitted or refused.
        pub spec: AuthorizationPolicySpec,
    }

    /// What a policy permits or refuses.
    pub struct AuthorizationPolicySpec {
        /// What a match means; `ALLOW` by default.
        pub action: PolicyAction,
        /// Alternatives; a policy without rules matches nothing.
        pub rules: Vec<PolicyRule>,
        /// Workloads the policy is for; all of the namespace when absent.
        pub selector: Option<WorkloadSelector>,
    }

    /// What a match means.
    pub enum PolicyAction {
        /// The request is let through.
        #[serde(rename = "ALLOW")]
        Allow,
        /// The request is noted.
        #[serde(rename = "AUDIT")]
        Audit,
        /// The request is refused.
        #[serde(rename = "DENY")]
        Deny,
    }

    /// Whether workloads let clients in that prove no identity.
    pub struct PeerAuthentication {
        /// Group and version as written.
        pub api_version: String,
        /// Kind as written.
        pub kind: String,
        /// Name and labels.
        #[serde(default)]
        pub metadata: ObjectMeta,
        /// What is asked of clients.
        pub spec: PeerAuthenticationSpec,
    }

    /// What is asked of clients.
    pub default struct PeerAuthenticationSpec {
        /// At every port.
        pub mtls: Option<MutualTls>,
        /// At ports of the workload, by their numbers; they win. Only beside a selector.
        pub port_level_mtls: BTreeMap<String, MutualTls>,
        /// Workloads that it is for; all of the namespace when absent, and in the mesh's own namespace all there are.
        pub selector: Option<WorkloadSelector>,
    }

    /// What is asked of clients at some ports.
    pub default struct MutualTls {
        /// The mode; as elsewhere when absent.
        pub mode: Option<TlsMode>,
    }

    /// Whether clients must prove who they are.
    pub enum TlsMode {
        /// Never; not supported.
        #[serde(rename = "DISABLE")]
        Disable,
        /// They may come without.
        #[serde(rename = "PERMISSIVE")]
        Permissive,
        /// Always.
        #[serde(rename = "STRICT")]
        Strict,
        /// As elsewhere.
        #[serde(rename = "UNSET")]
        Unset,
    }

    /// A choice of workloads.
    pub default struct WorkloadSelector {
        /// Labels with exactly these values.
        pub match_labels: TextMap,
    }

    /// Conditions that must hold together; a rule without any matches everything.
    pub default struct PolicyRule {
        /// Alternatives for the caller.
        pub from: Vec<RuleFrom>,
        /// Alternatives for the operation.
        pub to: Vec<RuleTo>,
        /// Further conditions, all of which must hold.
        pub when: Vec<RuleCondition>,
    }

    /// One alternative for the caller.
    pub struct RuleFrom {
        /// The caller.
        pub source: Source,
    }

    /// A caller: all lists that are set must hold.
    pub default struct Source {
        /// Addresses or ranges of which one contains the peer.
        pub ip_blocks: Vec<String>,
        /// Namespaces of the peer's identity.
        pub namespaces: Vec<String>,
        /// Ranges of which none contains the peer.
        pub not_ip_blocks: Vec<String>,
        /// Namespaces that the peer's identity is not of.
        pub not_namespaces: Vec<String>,
        /// Identities that the peer does not have.
        pub not_principals: Vec<String>,
        /// Identities of the peer.
        pub principals: Vec<String>,
        /// Accounts of the peer: `name`, or `namespace/name`.
        pub service_accounts: Vec<String>,
    }

    /// One alternative for the operation.
    pub struct RuleTo {
        /// The operation.
        pub operation: Operation,
    }

    /// An operation: all lists that are set must hold.
    pub default struct Operation {
        /// Hosts.
        pub hosts: Vec<String>,
        /// Methods.
        pub methods: Vec<String>,
        /// Hosts that it is not for.
        pub not_hosts: Vec<String>,
        /// Methods that it does not have.
        pub not_methods: Vec<String>,
        /// Paths that it does not have.
        pub not_paths: Vec<String>,
        /// Ports that it is not for.
        pub not_ports: Vec<String>,
        /// Paths.
        pub paths: Vec<String>,
        /// Ports.
        pub ports: Vec<String>,
    }

    /// A condition on an attribute. One of the two lists is set.
    pub struct RuleCondition {
        /// The attribute, such as `request.headers[x-role]`.
        pub key: String,
        /// Values that it does not have.
        pub not_values: Vec<String>,
        /// Values of which it has one.
        pub values: Vec<String>,
    }
}
