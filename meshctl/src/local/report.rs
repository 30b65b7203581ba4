//! What a running mesh says of itself: services, workloads, gateways, findings. A value, printed or sent.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::terminal::table;

/// A running mesh.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// Whether everything runs or says why not, and every proxy has the configuration of the files.
    pub(crate) ready: bool,
    /// The files it was started with.
    pub(crate) path: String,
    /// How traffic is captured.
    pub(crate) capture: String,
    /// Its gateways.
    pub(crate) gateways: Vec<Gateway>,
    /// Its services.
    pub(crate) services: Vec<Service>,
    /// Its workloads.
    pub(crate) workloads: Vec<Workload>,
    /// What is wrong with the files, and with what runs.
    pub(crate) findings: Vec<String>,
}

/// A listener of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gateway {
    /// Namespace and name.
    pub(crate) name: String,
    /// The listener.
    pub(crate) listener: String,
    /// Where it is reached: a URL for HTTP, else protocol and address.
    pub(crate) url: String,
    /// The identity of its proxies.
    pub(crate) identity: String,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Service {
    /// Namespace and name.
    pub(crate) name: String,
    /// Virtual addresses.
    pub(crate) addresses: Vec<String>,
    /// Ports.
    pub(crate) ports: Vec<String>,
    /// Endpoints that take requests, and all.
    pub(crate) ready: String,
}

/// A workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Workload {
    /// Namespace and name.
    pub(crate) name: String,
    /// Where other proxies reach it.
    pub(crate) address: String,
    /// Its identity.
    pub(crate) identity: String,
    /// What its process does now.
    pub(crate) state: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "capture: {}\n", self.capture)?;
        let head = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let mut rows = vec![head(&["GATEWAY", "LISTENER", "URL", "IDENTITY"])];
        rows.extend(
            self.gateways
                .iter()
                .map(|g| vec![g.name.clone(), g.listener.clone(), g.url.clone(), g.identity.clone()]),
        );
        section(f, &rows)?;
        let mut rows = vec![head(&["SERVICE", "ADDRESS", "PORTS", "READY"])];
        rows.extend(
            self.services
                .iter()
                .map(|s| vec![s.name.clone(), s.addresses.join(","), s.ports.join(","), s.ready.clone()]),
        );
        section(f, &rows)?;
        let mut rows = vec![head(&["WORKLOAD", "ADDRESS", "IDENTITY", "STATE"])];
        rows.extend(
            self.workloads
                .iter()
                .map(|w| vec![w.name.clone(), w.address.clone(), w.identity.clone(), w.state.clone()]),
        );
        section(f, &rows)?;
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))
    }
}

fn section(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    if rows.len() > 1 { writeln!(f, "{}", table(rows)) } else { Ok(()) }
}
