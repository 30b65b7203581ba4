//! The proxy's binary. The hidden part for captured workloads comes first, before any thread.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use mesh_proxy::admin::{Admin, Surface, serve};
use mesh_proxy::config::Config;
use mesh_proxy::control::Control;
use mesh_proxy::proxy::Proxy;
use tokio::signal::unix::{SignalKind, signal};

/// A gateway or sidecar of a service mesh. SIGTERM drains it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration, in JSON.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What is logged to standard error, such as `info` or `mesh_proxy=debug`.
    #[arg(long, default_value = "info", value_name = "FILTER")]
    log: String,
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

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = Config::read(&arguments.config)?;
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(tracing_subscriber::EnvFilter::try_new(&arguments.log).context("--log")?)
        .with_writer(std::io::stderr)
        .init();
    anyhow::ensure!(config.admin.ip().is_loopback(), "the admin port may be on loopback only");
    let telemetry = config.telemetry();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let control = Control::start(config.control(&telemetry))?;
        let proxy = Proxy::start(config.proxy(&control, telemetry.clone()))?;
        for finding in proxy.findings() {
            tracing::error!(%finding, "a port cannot be opened");
        }
        let admin = Admin { mesh: control.mesh, proxy: proxy.clone(), telemetry };
        for (address, surface) in [(config.admin, Surface::Admin), (config.metrics, Surface::Metrics)] {
            match mesh_rt::net::listen_tcp(address, false) {
                Ok(listener) => drop(tokio::spawn(serve(listener, admin.clone(), surface))),
                // Traffic does not depend on it.
                Err(problem) => tracing::error!(%address, %problem, "a port cannot be opened"),
            }
        }
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("draining");
        proxy.drain();
        proxy.stopped().await;
        Ok(())
    })
}
