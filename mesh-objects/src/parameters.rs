//! `gateway.mesh.io/v1alpha1`: `GatewayParameters`, how the proxies of a gateway run. Nothing is created here.

use super::meta::{ObjectMeta, TextMap};
use super::service::ServiceType;
use super::shape::shapes;

shapes! {
    /// How the proxies of gateways run, and how they are reached.
    pub struct GatewayParameters {
        /// Group and version as written.
        pub api_version: String,
        /// Kind as written.
        pub kind: String,
        /// Name and labels.
        #[serde(default)]
        pub metadata: ObjectMeta,
        /// The settings.
        #[serde(default)]
        pub spec: GatewayParametersSpec,
    }

    /// The settings of the proxies of a gateway; each has a default.
    pub default struct GatewayParametersSpec {
        /// Whether the proxies use the network of their node. A listener's port below 1024 is 10000 above there, and
        /// a rollout takes a proxy away before its successor comes, so that one alone means a gap.
        pub host_network: bool,
        /// Labels that a node must have.
        pub node_selector: TextMap,
        /// How many proxies run; one by default.
        pub replicas: Option<u32>,
        /// What a proxy may use of its node.
        pub resources: Option<ProxyResources>,
        /// Annotations of the gateway's service.
        pub service_annotations: TextMap,
        /// How the gateway's service is exposed; by a virtual address inside the cluster by default.
        pub service_type: Option<ServiceType>,
        /// Taints of nodes that the proxies bear.
        pub tolerations: Vec<Toleration>,
    }

    /// What a proxy may use of its node: amounts such as `100m` or `64Mi` by name, such as `cpu` or `memory`.
    pub default struct ProxyResources {
        /// The most that it may use.
        pub limits: TextMap,
        /// What is kept free for it.
        pub requests: TextMap,
    }

    /// A taint that is borne (Kubernetes 1.36, `Toleration`).
    pub default struct Toleration {
        /// The effect of the taint; every effect when absent.
        pub effect: Option<String>,
        /// The key of the taint; every key when absent.
        pub key: Option<String>,
        /// How the value is compared: `Equal` or `Exists`.
        pub operator: Option<String>,
        /// For how long a taint that evicts is borne.
        pub toleration_seconds: Option<i64>,
        /// The value of the taint.
        pub value: Option<String>,
    }
}
