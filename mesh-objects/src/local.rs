//! `local.mesh.io/v1alpha1`: `Process`, a process of the local mesh. Fields are spelled as in a Pod container.

use super::meta::ObjectMeta;
use super::service::TransportProtocol;
use super::shape::shapes;

shapes! {
    /// A process of the local mesh.
    pub struct Process {
        /// Group and version as written.
        pub api_version: String,
        /// Kind as written.
        pub kind: String,
        /// Name, and the labels that services select.
        #[serde(default)]
        pub metadata: ObjectMeta,
        /// What is started.
        pub spec: ProcessSpec,
    }

    /// What is started.
    pub struct ProcessSpec {
        /// Arguments after the command.
        pub args: Vec<String>,
        /// Program and first arguments.
        pub command: required Vec<String>,
        /// Environment variables.
        pub env: Vec<EnvVar>,
        /// Ports that the process listens on.
        pub ports: Vec<ProcessPort>,
        /// How many are started; 1 by default.
        pub replicas: u32,
        /// The account it runs as; `default` by default.
        pub service_account_name: String,
        /// The folder it starts in; relative to the file.
        pub working_dir: Option<String>,
    }

    /// An environment variable.
    pub struct EnvVar {
        /// Its name.
        pub name: String,
        /// Its value; empty by default.
        pub value: String,
    }

    /// A port that a process listens on.
    pub struct ProcessPort {
        /// The number.
        pub container_port: u16,
        /// A name for services.
        pub name: Option<String>,
        /// The transport; TCP by default.
        pub protocol: TransportProtocol,
    }
}
