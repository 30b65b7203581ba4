//! The configuration of the binary: one text in JSON, and what follows from it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use mesh_model::{SpiffeId, TrustDomain};
use mesh_proxy::config::{self, ConfigError, Controller, Drain, State};
use mesh_proxy::control::{ControlOptions, ControllerAddress};
use mesh_proxy::drain::DrainTimes;
use mesh_proxy::names::Settings;
use mesh_proxy::telemetry::Telemetry;
use mesh_proxy::telemetry::access_log::{AccessLog, Level};
use mesh_rt::SystemClock;
use serde::Deserialize;

/// The binary's configuration.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The node's name, as pods carry it.
    pub node: String,
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
    /// The folder with a file for each network namespace.
    #[serde(default = "namespaces")]
    pub namespaces: PathBuf,
    /// The folder in which this process meets the one before it and the one after it; without it nothing is handed over.
    pub handover: Option<PathBuf>,
    /// The loopback port at which questions for names are taken in each pod; they are left alone without it, and where this
    /// program's own `resolv.conf` names no cluster.
    pub names: Option<u16>,
    /// The node's own addresses, with commas between them.
    #[serde(default)]
    pub addresses: String,
    /// The admin port; loopback only.
    #[serde(default = "admin_port")]
    pub admin: SocketAddr,
    /// Metrics and readiness.
    #[serde(default = "metrics_port")]
    pub metrics: SocketAddr,
    /// How it drains.
    #[serde(default)]
    pub drain: Drain,
}

fn namespaces() -> PathBuf {
    PathBuf::from("/run/netns")
}

fn admin_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 15_000))
}

fn metrics_port() -> SocketAddr {
    SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, mesh_proxy::role::HEALTH_PORT))
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or does not hold a configuration.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        config::read(path)
    }

    /// Reads a text; `from` says in errors where it came from.
    ///
    /// # Errors
    /// When it does not hold a configuration.
    pub fn parse(from: &Path, text: &str) -> Result<Self, ConfigError> {
        config::parse(from, text)
    }

    /// What all proxies tell of their traffic; the access log goes to standard output.
    pub fn telemetry(&self) -> Telemetry {
        let access_log = AccessLog::to(Level::Errors, std::io::stdout());
        Telemetry { access_log, ..Telemetry::default() }
    }

    /// Where the controller is.
    pub fn controller(&self) -> ControllerAddress {
        self.controller.to_reach()
    }

    /// The link to the controller.
    pub fn control(&self, telemetry: &Telemetry) -> ControlOptions {
        ControlOptions {
            name: self.name.clone(),
            trust_domain: self.trust_domain.clone(),
            controller: self.controller(),
            expected: self.identity.clone(),
            state: self.state.as_ref().map(|state| state.directory.clone()),
            sealing_key: self.state.as_ref().and_then(|state| state.sealing_key.clone()),
            clock: SystemClock::shared(),
            telemetry: telemetry.clone(),
        }
    }

    /// Where questions for names are taken, and who is asked about the rest.
    pub fn names(&self) -> Option<(u16, Settings)> {
        let settings = Settings::of_system().ok().filter(Settings::is_of_cluster);
        self.names.zip(settings)
    }

    /// How each pod's proxy drains.
    pub fn drain(&self) -> DrainTimes {
        self.drain.times()
    }

    /// The node's own addresses.
    ///
    /// # Errors
    /// Names the text that is none.
    pub fn addresses(&self) -> Result<BTreeSet<IpAddr>, String> {
        let texts = self.addresses.split(',').map(str::trim).filter(|text| !text.is_empty());
        texts.map(|text| text.parse().map_err(|_| format!("{text:?} is no address"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TEXT: &str = r#"{
        "name": "node.n1", "node": "n1", "addresses": "10.0.0.1, fd00::1",
        "controller": {"address": "c:15012", "identity": "spiffe://cluster.local/ns/s/sa/c", "roots": "/r", "token": "/t"},
        "drain": {"deadlineSeconds": 60}
    }"#;

    #[test]
    fn a_configuration_is_read_with_its_defaults() {
        let config = Config::parse(Path::new("x"), TEXT).unwrap();
        assert_eq!(config.namespaces, Path::new("/run/netns"));
        assert!(config.handover.is_none());
        assert_eq!(config.addresses().unwrap().len(), 2);
        assert_eq!(config.drain().deadline, Duration::from_secs(60));
        assert!(Config::parse(Path::new("x"), &TEXT.replace("\"node\"", "\"nod\"")).is_err());
        let odd = Config::parse(Path::new("x"), &TEXT.replace("fd00::1", "here")).unwrap();
        assert_eq!(odd.addresses().unwrap_err(), "\"here\" is no address");
    }
}
