//! `Service` and `EndpointSlice` (Kubernetes 1.36). Nothing is resolved.

use serde::{Deserialize, Serialize};

use super::meta::{Condition, ObjectMeta, TextMap};
use super::scalar::IntOrString;
use super::shape::shapes;

shapes! {
    /// A name with ports and endpoints.
    pub struct Service {
        /// Group and version as written.
        pub api_version: String,
        /// Kind as written.
        pub kind: String,
        /// Name and labels.
        #[serde(default)]
        pub metadata: ObjectMeta,
        /// What the user wants.
        pub spec: ServiceSpec,
        /// What controllers reported.
        pub status: Option<ServiceStatus>,
    }

    /// What a `Service` asks for.
    pub default struct ServiceSpec {
        /// Whether node ports are made for a load balancer.
        pub allocate_load_balancer_node_ports: Option<bool>,
        /// First virtual address; `None` for a headless service.
        #[serde(rename = "clusterIP")]
        pub cluster_ip: Option<String>,
        /// Virtual addresses, at most one per family.
        #[serde(rename = "clusterIPs")]
        pub cluster_ips: Vec<String>,
        /// Further addresses.
        #[serde(rename = "externalIPs")]
        pub external_ips: Vec<String>,
        /// A DNS name, when `kind` is `ExternalName`.
        pub external_name: Option<String>,
        /// Which endpoints external traffic reaches.
        pub external_traffic_policy: Option<TrafficPolicy>,
        /// Port for health checks of load balancers.
        pub health_check_node_port: Option<i32>,
        /// Which endpoints internal traffic reaches.
        pub internal_traffic_policy: Option<TrafficPolicy>,
        /// Address families.
        pub ip_families: Vec<IpFamily>,
        /// How many address families.
        pub ip_family_policy: Option<IpFamilyPolicy>,
        /// Who provides the load balancer.
        pub load_balancer_class: Option<String>,
        /// Obsolete wish for an address.
        #[serde(rename = "loadBalancerIP")]
        pub load_balancer_ip: Option<String>,
        /// Clients that a load balancer admits.
        pub load_balancer_source_ranges: Vec<String>,
        /// The ports.
        pub ports: Vec<ServicePort>,
        /// Whether endpoints count before they are ready.
        pub publish_not_ready_addresses: Option<bool>,
        /// Labels of the workloads; endpoints are written by hand when empty.
        pub selector: TextMap,
        /// Whether clients stay with an endpoint.
        pub session_affinity: Option<SessionAffinity>,
        /// For how long.
        pub session_affinity_config: Option<SessionAffinityConfig>,
        /// Preference for near endpoints.
        pub traffic_distribution: Option<String>,
        /// How the service is exposed; `ClusterIP` by default.
        #[serde(rename = "type")]
        pub kind: ServiceType,
    }

    /// One port of a service.
    pub struct ServicePort {
        /// What is spoken, such as `kubernetes.io/h2c`.
        pub app_protocol: Option<String>,
        /// The name; needed when there are several ports.
        pub name: Option<String>,
        /// The port on every node.
        pub node_port: Option<u16>,
        /// The port of the service.
        pub port: u16,
        /// The transport; TCP by default.
        pub protocol: TransportProtocol,
        /// The port of the workloads; `port` when absent.
        pub target_port: Option<IntOrString>,
    }

    /// A transport.
    pub enum TransportProtocol {
        /// RFC 9260; not carried by this mesh.
        #[serde(rename = "SCTP")]
        Sctp,
        /// RFC 9293.
        #[serde(rename = "TCP")]
        Tcp,
        /// RFC 768.
        #[serde(rename = "UDP")]
        Udp,
    }
}

/// How a service is exposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ServiceType {
    /// By a virtual address inside the cluster.
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// By a DNS name outside the cluster.
    ExternalName,
    /// By a load balancer.
    LoadBalancer,
    /// By a port on every node.
    NodePort,
}

shapes! {
    /// Which endpoints traffic reaches.
    pub enum TrafficPolicy {
        /// All.
        Cluster,
        /// Those of the same node.
        Local,
    }

    /// An address family.
    pub enum IpFamily {
        /// RFC 791.
        IPv4,
        /// RFC 8200.
        IPv6,
    }

    /// How many address families a service has.
    pub enum IpFamilyPolicy {
        /// Both where the cluster has both.
        PreferDualStack,
        /// Both.
        RequireDualStack,
        /// One.
        SingleStack,
    }

    /// Whether clients stay with an endpoint.
    pub enum SessionAffinity {
        /// By the client's address.
        #[serde(rename = "ClientIP")]
        ClientIp,
        /// They do not.
        None,
    }

    /// For how long clients stay.
    pub default struct SessionAffinityConfig {
        /// Settings of affinity by address.
        #[serde(rename = "clientIP")]
        pub client_ip: Option<ClientIpConfig>,
    }

    /// Settings of affinity by address.
    pub default struct ClientIpConfig {
        /// Seconds.
        pub timeout_seconds: Option<i32>,
    }

    /// What controllers reported about a service.
    pub default struct ServiceStatus {
        /// The conditions.
        pub conditions: Vec<Condition>,
        /// The load balancer.
        pub load_balancer: Option<LoadBalancerStatus>,
    }

    /// A load balancer.
    pub default struct LoadBalancerStatus {
        /// Its addresses.
        pub ingress: Vec<LoadBalancerIngress>,
    }

    /// An address of a load balancer.
    pub default struct LoadBalancerIngress {
        /// By name.
        pub hostname: Option<String>,
        /// By number.
        pub ip: Option<String>,
        /// Whether packets keep the address.
        pub ip_mode: Option<String>,
        /// Its ports.
        pub ports: Vec<PortStatus>,
    }

    /// A port of a load balancer.
    pub struct PortStatus {
        /// Why it does not work.
        pub error: Option<String>,
        /// The port.
        pub port: i32,
        /// The transport.
        pub protocol: TransportProtocol,
    }

    /// Addresses behind a service.
    pub struct EndpointSlice {
        /// What the addresses are.
        pub address_type: AddressType,
        /// Group and version as written.
        pub api_version: String,
        /// The endpoints.
        pub endpoints: Vec<Endpoint>,
        /// Kind as written.
        pub kind: String,
        /// Name and labels; `kubernetes.io/service-name` names the service.
        #[serde(default)]
        pub metadata: ObjectMeta,
        /// Ports of every endpoint.
        pub ports: Vec<EndpointPort>,
    }

    /// What the addresses of a slice are.
    pub enum AddressType {
        /// DNS names.
        #[serde(rename = "FQDN")]
        Fqdn,
        /// IPv4 addresses.
        IPv4,
        /// IPv6 addresses.
        IPv6,
    }

    /// One endpoint.
    pub struct Endpoint {
        /// Its addresses; they are equivalent.
        pub addresses: required Vec<String>,
        /// Whether it can serve.
        pub conditions: Option<EndpointConditions>,
        /// Obsolete topology.
        pub deprecated_topology: TextMap,
        /// Who should use it.
        pub hints: Option<EndpointHints>,
        /// Its name in DNS.
        pub hostname: Option<String>,
        /// Its node.
        pub node_name: Option<String>,
        /// The object behind it.
        pub target_ref: Option<TargetReference>,
        /// Its zone.
        pub zone: Option<String>,
    }

    /// Whether an endpoint can serve.
    pub default struct EndpointConditions {
        /// New traffic may go there; yes when absent.
        pub ready: Option<bool>,
        /// It answers, even while it ends; as `ready` when absent.
        pub serving: Option<bool>,
        /// It is ending; no when absent.
        pub terminating: Option<bool>,
    }

    /// Who should use an endpoint.
    pub default struct EndpointHints {
        /// Clients on these nodes.
        pub for_nodes: Vec<HintName>,
        /// Clients in these zones.
        pub for_zones: Vec<HintName>,
    }

    /// A node or zone.
    pub struct HintName {
        /// Its name.
        pub name: String,
    }

    /// The object behind an endpoint.
    pub default struct TargetReference {
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
        /// Version of the object that was seen.
        pub resource_version: Option<String>,
        /// Identity of the object.
        pub uid: Option<String>,
    }

    /// A port of every endpoint of a slice.
    pub struct EndpointPort {
        /// What is spoken.
        pub app_protocol: Option<String>,
        /// Its name; that of the service's port.
        pub name: Option<String>,
        /// The number; any when absent.
        pub port: Option<u16>,
        /// The transport; TCP by default.
        pub protocol: TransportProtocol,
    }
}
