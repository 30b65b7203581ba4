//! The proxy's binary. The hidden part for captured workloads comes first, before any thread.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use mesh_proxy::admin::{Admin, Surface, serve};
use mesh_proxy::capture::nft::{Inbound, Names, Rules};
use mesh_proxy::config::Config;
use mesh_proxy::control::{Control, applications};
use mesh_proxy::names::Settings;
use mesh_proxy::proxy::Proxy;
use mesh_rt::ending::Ending;

/// A gateway or sidecar of a service mesh. SIGTERM drains it.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
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

#[derive(Debug, Subcommand)]
enum Task {
    /// Sets the redirect rules of the network namespace that this runs in, in place of any set before, and ends. Needs
    /// the capability NET_ADMIN.
    Init(Init),
}

/// Whose connections go where.
#[derive(Debug, Args)]
struct Init {
    /// The user that the proxy runs as; its own connections are left alone.
    #[arg(long, value_name = "UID")]
    user: u32,
    /// Where the proxy takes what leaves.
    #[arg(long, value_name = "PORT")]
    outbound: u16,
    /// Where the proxy takes what comes in.
    #[arg(long, value_name = "PORT")]
    inbound: u16,
    /// A port at which what comes in is left alone; may be repeated.
    #[arg(long, value_name = "PORT")]
    open: Vec<u16>,
    /// Where the proxy takes questions for names that go to the servers of /etc/resolv.conf, if that names a cluster.
    #[arg(long, value_name = "PORT")]
    names: Option<u16>,
}

#[expect(clippy::print_stderr, reason = "the last words of a command line program")]
fn main() -> ExitCode {
    if let Some(code) = mesh_proxy::capture::maybe_reexec() {
        return code;
    }
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("mesh-proxy: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn init(init: &Init) -> anyhow::Result<()> {
    let inbound = Inbound { exempt: init.open.clone(), probes: Vec::new(), port: init.inbound };
    let settings = Settings::of_system().unwrap_or_default();
    let servers = settings.servers.iter().map(std::net::SocketAddr::ip).collect();
    let names = init.names.filter(|_| settings.is_of_cluster()).map(|port| Names { port, servers });
    let rules = Rules::sidecar(init.user, init.outbound, inbound).with_names(names);
    rules.apply().context("the redirect rules cannot be set")
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(Task::Init(task)) = &arguments.task {
        return init(task);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut ending = runtime.block_on(async { Ending::listen() })?;
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
    let telemetry = config.telemetry();
    runtime.block_on(async {
        let control = Control::start(config.control(&telemetry))?;
        if let Some(socket) = &config.workload_api {
            applications::serve(socket, &config.controller.to_reach(), &control.identity);
        }
        let proxy = Proxy::start(config.proxy(&control, telemetry.clone()))?;
        for finding in proxy.findings() {
            tracing::error!(%finding, "a port cannot be opened");
        }
        let admin = Admin {
            mesh: control.mesh,
            probes: Arc::new(config.probes.clone()),
            proxy: proxy.clone(),
            telemetry,
        };
        for (address, surface) in [(config.admin, Surface::Admin), (config.metrics, Surface::Metrics)] {
            match mesh_rt::net::listen_tcp(address, false) {
                Ok(listener) => drop(tokio::spawn(serve(listener, admin.clone(), surface))),
                // Traffic does not depend on it.
                Err(problem) => tracing::error!(%address, %problem, "a port cannot be opened"),
            }
        }
        ending.asked().await;
        tracing::info!("draining");
        proxy.drain();
        proxy.stopped().await;
        Ok(())
    })
}
