//! The configuration of the binary: one file in JSON, and what follows from it. The only place that reads files
//! or the environment for it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mesh_model::{ObjectName, SpiffeId, Transport, TrustDomain};
use mesh_rt::SystemClock;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::admin::Probes;
use crate::control::{Control, ControlOptions, ControllerAddress};
use crate::drain::DrainTimes;
use crate::names::{Settings, name_server};
use crate::proxy::{
    BindPorts, GatewayOptions, InboundListener, Listen, NamesListener, OutboundListener, ProxyOptions,
};
use crate::role::HEALTH_PORT;
use crate::role::inbound::{InboundPort, Plaintext};
use crate::role::outbound::{Destination, OutboundPort, Unknown};
use crate::telemetry::Telemetry;
use crate::telemetry::access_log::{AccessLog, Level};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {problem}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: std::io::Error,
    },
    /// The content is not what is expected; line and column are in the text.
    #[error("{path}: {problem}", path = .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: serde_json::Error,
    },
}

/// The binary's configuration.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The proxy's name among those of its controller.
    pub name: String,
    /// The controller.
    pub controller: Controller,
    /// The mesh's trust domain.
    #[serde(default)]
    pub trust_domain: TrustDomain,
    /// The identity that the proxy expects for itself.
    pub identity: Option<SpiffeId>,
    /// What is kept for a start without controller, if anything is.
    pub state: Option<State>,
    /// The gateway that it serves.
    pub gateway: Option<Gateway>,
    /// The workload that it stands before and behind.
    pub sidecar: Option<Sidecar>,
    /// Threads that serve: for a gateway one per processor unless said, else one.
    pub workers: Option<usize>,
    /// The admin port; loopback only.
    #[serde(default = "admin_port")]
    pub admin: SocketAddr,
    /// Metrics and readiness.
    #[serde(default = "metrics_port")]
    pub metrics: SocketAddr,
    /// Questions about the application that are asked for the kubelet, by their place below `/probe/` of the metrics port.
    #[serde(default)]
    pub probes: Probes,
    /// The socket at which applications get the proxy's identity under a key of their own (SPIFFE Workload API), if they
    /// are to. Whoever can open it is taken for the workload.
    pub workload_api: Option<PathBuf>,
    /// Which requests are logged; all at gateways, errors at sidecars unless said.
    pub access_log: Option<Level>,
    /// How the proxy drains.
    #[serde(default)]
    pub drain: Drain,
}

/// Where the controller is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Controller {
    /// Host and port.
    pub address: String,
    /// The identity that must answer.
    pub identity: SpiffeId,
    /// PEM file with roots for the first connection.
    pub roots: PathBuf,
    /// File with the join token.
    pub token: Option<PathBuf>,
}

/// What is kept on disk.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// The directory.
    pub directory: PathBuf,
    /// The key that seals it; by default a file in the directory.
    pub sealing_key: Option<PathBuf>,
}

/// A gateway.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gateway {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The address to bind.
    #[serde(default = "any_address")]
    pub address: IpAddr,
    /// Binds listener ports below 1024 as they are, instead of 10000 above.
    #[serde(default)]
    pub privileged_ports: bool,
}

/// A workload's proxy.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sidecar {
    /// The workload's namespace.
    pub namespace: String,
    /// The workload's name.
    pub name: String,
    /// Towards the application.
    #[serde(default)]
    pub inbound: Vec<Inbound>,
    /// From the application.
    #[serde(default)]
    pub outbound: Vec<Outbound>,
    /// Refuses destinations that the mesh does not know.
    #[serde(default)]
    pub deny_unknown: bool,
    /// The loopback port to which the application's questions for names must be redirected; without it they are not
    /// answered here, nor are they in a pod whose `resolv.conf` names no cluster.
    pub names: Option<u16>,
}

/// An inbound listener.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inbound {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the application listens; without it connections must be redirected here.
    pub application: Option<SocketAddr>,
    /// Lets clients without mesh identity in.
    #[serde(default)]
    pub permissive: bool,
}

/// An outbound listener.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outbound {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The service that is reached here; without it connections must be redirected here.
    pub service: Option<ServicePort>,
}

/// A port of a service.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServicePort {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
}

/// Times of a drain, in seconds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Drain {
    /// From readiness off to the closing of listeners.
    pub lame_duck_seconds: u32,
    /// From the beginning to the cut.
    pub deadline_seconds: u32,
}

impl Default for Drain {
    fn default() -> Self {
        Self { lame_duck_seconds: 2, deadline_seconds: 30 }
    }
}

fn admin_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 15_000))
}

fn metrics_port() -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, HEALTH_PORT))
}

fn any_address() -> IpAddr {
    IpAddr::from(Ipv6Addr::UNSPECIFIED)
}

/// Reads the configuration of a program of the mesh from a file in JSON.
///
/// # Errors
/// When it cannot be read or does not hold such a configuration.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let fail = |problem| ConfigError::File { path: path.to_owned(), problem };
    parse(path, &std::fs::read_to_string(path).map_err(fail)?)
}

/// Reads such a configuration from a text; `from` says in errors where it came from.
///
/// # Errors
/// When it does not hold one.
pub fn parse<T: DeserializeOwned>(from: &Path, text: &str) -> Result<T, ConfigError> {
    let wrong = |problem| ConfigError::Content { path: from.to_owned(), problem };
    serde_json::from_str(text).map_err(wrong)
}

impl Controller {
    /// Where it is, for a link to it.
    pub fn to_reach(&self) -> ControllerAddress {
        ControllerAddress {
            address: self.address.clone(),
            identity: self.identity.clone(),
            roots: self.roots.clone(),
            token: self.token.clone(),
        }
    }
}

impl Drain {
    /// The times of a drain.
    pub fn times(&self) -> DrainTimes {
        DrainTimes {
            lame_duck: Duration::from_secs(self.lame_duck_seconds.into()),
            deadline: Duration::from_secs(self.deadline_seconds.into()),
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or does not hold a configuration.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        read(path)
    }

    /// Reads a text; `from` says in errors where it came from.
    ///
    /// # Errors
    /// When it does not hold a configuration.
    pub fn parse(from: &Path, text: &str) -> Result<Self, ConfigError> {
        parse(from, text)
    }

    /// What the proxy tells of its traffic; the access log goes to standard output.
    pub fn telemetry(&self) -> Telemetry {
        let usual = if self.gateway.is_some() { Level::All } else { Level::Errors };
        let access_log = AccessLog::to(self.access_log.unwrap_or(usual), std::io::stdout());
        Telemetry { access_log, ..Telemetry::default() }
    }

    /// The link to the controller.
    pub fn control(&self, telemetry: &Telemetry) -> ControlOptions {
        ControlOptions {
            name: self.name.clone(),
            trust_domain: self.trust_domain.clone(),
            controller: self.controller.to_reach(),
            expected: self.identity.clone(),
            state: self.state.as_ref().map(|state| state.directory.clone()),
            sealing_key: self.state.as_ref().and_then(|state| state.sealing_key.clone()),
            clock: SystemClock::shared(),
            telemetry: telemetry.clone(),
        }
    }

    /// The proxy behind a control link.
    pub fn proxy(&self, control: &Control, telemetry: Telemetry) -> ProxyOptions {
        let mut options = ProxyOptions::new("proxy", control.mesh.clone(), control.identity.clone());
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        options.telemetry = telemetry;
        options.workers =
            self.workers.unwrap_or_else(|| if self.gateway.is_some() { processors() } else { 1 });
        options.drain = self.drain.times();
        options.gateway = self.gateway.as_ref().map(|gateway| GatewayOptions {
            gateway: ObjectName::new(gateway.namespace.as_str(), gateway.name.as_str()),
            address: gateway.address,
            ports: if gateway.privileged_ports { BindPorts::AsWritten } else { BindPorts::Unprivileged },
        });
        if let Some(sidecar) = &self.sidecar {
            options.names = sidecar.names(control, &options.telemetry).unwrap_or_default();
            options.inbound = sidecar.inbound.iter().map(|inbound| sidecar.inbound(inbound)).collect();
            options.outbound = sidecar.outbound.iter().map(|outbound| sidecar.outbound(outbound)).collect();
        }
        options
    }
}

impl Sidecar {
    fn names(&self, control: &Control, telemetry: &Telemetry) -> Option<Vec<NamesListener>> {
        let (port, settings) = (self.names?, Settings::of_system().ok()?);
        let server = name_server(control.mesh.clone(), &settings, None, telemetry)?;
        Some(NamesListener::of_pod(&server, &settings, port))
    }

    fn inbound(&self, inbound: &Inbound) -> InboundListener {
        let port = InboundPort {
            workload: ObjectName::new(self.namespace.as_str(), self.name.as_str()),
            application: inbound.application,
            plaintext: if inbound.permissive { Plaintext::Permissive } else { Plaintext::Strict },
        };
        InboundListener { listen: Listen::At(Transport::Tcp, inbound.listen), port }
    }

    fn outbound(&self, outbound: &Outbound) -> OutboundListener {
        let destination = outbound.service.as_ref().map_or(Destination::Dialled, |service| {
            let name = ObjectName::new(service.namespace.as_str(), service.name.as_str());
            Destination::Service { service: name, port: service.port }
        });
        let workload = ObjectName::new(self.namespace.as_str(), self.name.as_str());
        let unknown = if self.deny_unknown { Unknown::Deny } else { Unknown::OfWorkload(workload) };
        let port = OutboundPort { namespace: Arc::from(self.namespace.as_str()), destination, unknown };
        OutboundListener { listen: Listen::At(Transport::Tcp, outbound.listen), port }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{
        "name": "reviews-v1",
        "controller": {
            "address": "localhost:15012",
            "identity": "spiffe://cluster.local/ns/service-mesh-system/sa/service-mesh-controller",
            "roots": "/roots.pem", "token": "/token"
        },
        "state": {"directory": "/state"}, "workloadApi": "/run/api.sock",
        "sidecar": {
            "namespace": "shop", "name": "reviews-v1",
            "inbound": [{"listen": "127.0.0.1:9080", "application": "127.0.0.1:8080"}],
            "outbound": [
                {"listen": "127.0.0.1:15001"},
                {"listen": "127.0.0.1:9000", "service": {"namespace": "shop", "name": "ratings", "port": 80}}
            ]
        },
        "drain": {"lameDuckSeconds": 5}
    }"#;

    #[test]
    fn a_whole_configuration_is_read_with_its_defaults() {
        let config: Config = serde_json::from_str(FULL).expect("a good configuration");
        assert_eq!((config.admin, config.metrics), (admin_port(), metrics_port()));
        assert_eq!((config.drain.lame_duck_seconds, config.drain.deadline_seconds), (5, 30));
        let sidecar = config.sidecar.expect("a sidecar");
        assert!(matches!(sidecar.inbound(&sidecar.inbound[0]).port.plaintext, Plaintext::Strict));
        let ports: Vec<_> = sidecar.outbound.iter().map(|o| sidecar.outbound(o).port.destination).collect();
        assert_eq!(ports[0], Destination::Dialled);
        let service = ObjectName::new("shop", "ratings");
        assert_eq!(ports[1], Destination::Service { service, port: 80 });
    }

    #[test]
    fn a_misspelt_field_is_named_with_its_place() {
        let wrong = FULL.replace("\"lameDuckSeconds\"", "\"lameduck\"");
        let problem = serde_json::from_str::<Config>(&wrong).expect_err("an unknown field").to_string();
        assert!(problem.contains("unknown field `lameduck`") && problem.contains("line "), "{problem}");
    }
}
