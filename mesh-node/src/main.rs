//! The binary: one node's proxy against a controller.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use mesh_node::accounts::Accounts;
use mesh_node::config::Config;
use mesh_node::handover::Handover;
use mesh_node::node::Node;
use mesh_node::places::Places;
use mesh_node::pod::Shared;
use mesh_node::report::Report;
use mesh_proxy::admin::{Admin, Probes, Surface, serve};
use mesh_proxy::control::{Connector, Control};
use mesh_proxy::proxy::{Proxy, ProxyOptions};
use mesh_rt::SystemClock;
use mesh_rt::ending::Ending;

/// The part of the connections that one pod may hold.
const PART: u64 = 8;

/// The proxy of a node. SIGTERM drains it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration, in JSON.
    #[arg(long, value_name = "FILE", required_unless_present = "config_text")]
    config: Option<PathBuf>,
    /// The configuration itself, in JSON.
    #[arg(long, value_name = "JSON", conflicts_with = "config")]
    config_text: Option<String>,
    /// What is logged to standard error, such as `info` or `mesh_proxy=debug`.
    #[arg(long, default_value = "info", value_name = "FILTER")]
    log: String,
}

#[expect(clippy::print_stderr, reason = "the last words of a command line program")]
fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("mesh-node: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ending = runtime.block_on(async { Ending::listen() })?;
    mesh_rt::random::prepare();
    let config = match (&arguments.config, &arguments.config_text) {
        (Some(path), _) => Config::read(path)?,
        (None, text) => Config::parse(Path::new("--config-text"), text.as_deref().unwrap_or_default())?,
    };
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(tracing_subscriber::EnvFilter::try_new(&arguments.log).context("--log")?)
        .with_writer(std::io::stderr)
        .init();
    anyhow::ensure!(config.admin.ip().is_loopback(), "the admin port may be on loopback only");
    runtime.block_on(served(&config, ending))
}

async fn served(config: &Config, mut ending: Ending) -> anyhow::Result<()> {
    let telemetry = config.telemetry();
    let control = Control::start(config.control(&telemetry))?;
    let token =
        config.controller.token.clone().context("controller.token is needed: it says which node this is")?;
    let connector = Connector::new(&config.controller(), &control.identity)?;
    let report = Report::new(connector.clone(), token.clone());
    let accounts = Accounts::new(connector, token, control.identity.clone(), SystemClock::shared());
    let shared = Shared {
        mesh: control.mesh.clone(),
        telemetry: telemetry.clone(),
        drain: config.drain(),
        connections: descriptors_part(),
        names: config.names(),
        addresses: config.addresses().map_err(anyhow::Error::msg).context("addresses")?,
    };
    let node = Node::new(config.node.as_str(), shared, Places::of(&config.namespaces), (accounts, report));
    let node = node.with_handover(handover(config.handover.as_deref()).await);
    // It serves nobody, and shows how the link to the controller is.
    let proxy = Proxy::start(ProxyOptions::new("node", control.mesh.clone(), control.identity.clone()))?;
    let admin =
        Admin { mesh: control.mesh, probes: Arc::new(Probes::new()), proxy: proxy.clone(), telemetry };
    open(config.admin, &admin, Surface::Admin);
    let (mut settled, metrics) = (node.settled(), config.metrics);
    tokio::spawn(async move {
        // Who waits until this one is ready may end an earlier process, so that is not said before its pods are served.
        if settled.wait_for(|settled| *settled).await.is_ok() {
            open(metrics, &admin, Surface::Metrics);
        }
    });
    node.run(async {
        ending.asked().await;
        tracing::info!("draining");
        proxy.drain();
    })
    .await;
    Ok(())
}

/// Traffic does not depend on it: without it a replacement may lose what is just being connected.
async fn handover(folder: Option<&Path>) -> Handover {
    let Some(folder) = folder else { return Handover::none() };
    Handover::within(folder).await.unwrap_or_else(|error| {
        tracing::error!(%error, "sockets are neither taken over nor handed on");
        Handover::none()
    })
}

fn open(address: std::net::SocketAddr, admin: &Admin, surface: Surface) {
    match mesh_rt::net::listen_tcp(address, false) {
        Ok(listener) => drop(tokio::spawn(serve(listener, admin.clone(), surface))),
        // Traffic does not depend on it.
        Err(problem) => tracing::error!(%address, %problem, "a port cannot be opened"),
    }
}

/// So many of the descriptors that the process may open that one pod leaves most of them to the others.
fn descriptors_part() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit / PART).unwrap_or(usize::MAX)).max(64)
}
