//! Programs that share no code with ours, in the network of the node, and the services that lead to them.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use testkit::process::Process;

use super::scene::Scene;
use crate::cluster::{NODE, inside};

/// How long a program may take to its start on a machine that does much else.
const START: Duration = Duration::from_secs(60);

/// A program; it ends with its owner.
pub(super) struct Guest(Process);

impl Guest {
    /// Starts a script of the peers in Python, at a port of its own, and makes a service of this name whose port 80 leads
    /// to it.
    pub(super) fn start(scene: &Scene<'_>, name: &str, script: &str, more: &[&str]) -> anyhow::Result<Self> {
        let python = scene.python.context("SERVICE_MESH_PYTHON names no Python; xtask sets it")?;
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/peers");
        let mut call = inside(scene.place)?;
        call.arg(python).arg(peers.join(script)).arg(format!("{NODE}:0")).args(more);
        let mut process = Process::start(&mut call)?;
        let said = process.wait_for("port ", START)?;
        let port = said.trim_start_matches("port ").trim().parse().with_context(|| said.clone())?;
        scene.apply(&service(name, port))?;
        Ok(Self(process))
    }

    /// Waits for a line that holds a text.
    pub(super) fn says(&mut self, text: &str, limit: Duration) -> anyhow::Result<String> {
        self.0.wait_for(text, limit)
    }
}

fn service(name: &str, port: u16) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{ports: [{{name: main, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: main, port: {port}, protocol: TCP}}]
endpoints: [{{addresses: [{NODE}], conditions: {{ready: true}}}}]
"
    )
}
