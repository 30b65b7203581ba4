//! The command line: which commands exist. What a command does lives in a file of its own name.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

mod commands;
mod config;
mod demo;
mod local;
mod terminal;

#[cfg(feature = "cluster")]
use commands::{check, inject, install, uninstall};
use commands::{completion, explain, status, up, why};

/// A service mesh on this machine and tools to look at it.
#[derive(Debug, Parser)]
#[command(name = "meshctl", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say whether a Kubernetes cluster can take the mesh, and whether the mesh in it works.
    #[cfg(feature = "cluster")]
    Check(check::Arguments),
    /// Print a script that completes the commands of a shell.
    Completion(completion::Arguments),
    /// Run the small service of the examples: it calls its downstreams and echoes what it received.
    Demo(Box<demo::Arguments>),
    /// Say what the mesh would do with a request, and why, without starting anything.
    Explain(explain::Arguments),
    /// Give the workloads of manifests a sidecar, as the webhook would, and print them.
    #[cfg(feature = "cluster")]
    Inject(inject::Arguments),
    /// Install the controller into a Kubernetes cluster.
    #[cfg(feature = "cluster")]
    Install(install::Arguments),
    /// Show the meshes that run on this machine.
    Status(status::Arguments),
    /// Remove the controller from a Kubernetes cluster.
    #[cfg(feature = "cluster")]
    Uninstall(uninstall::Arguments),
    /// Run the mesh that files describe: controller, authority, proxies and processes, until Ctrl-C.
    Up(up::Arguments),
    /// Say why a running mesh decided about a request as it did.
    Why(why::Arguments),
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A helper of captured workloads is this binary too; it must come before any thread.
    if let Some(code) = mesh_proxy::capture::maybe_reexec() {
        return code;
    }
    let filter = tracing_subscriber::EnvFilter::new(config::log_filter());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // A second call finds it installed, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            terminal::remark(&format!("meshctl: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the runtime cannot start")?;
    let local = tokio::task::LocalSet::new();
    match arguments.command {
        #[cfg(feature = "cluster")]
        Command::Check(arguments) => runtime.block_on(check::run(&arguments)),
        Command::Completion(arguments) => completion::run::<Arguments>(&arguments),
        Command::Demo(arguments) => {
            runtime.block_on(demo::run(*arguments))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Explain(arguments) => explain::run(&arguments),
        #[cfg(feature = "cluster")]
        Command::Inject(arguments) => inject::run(&arguments),
        #[cfg(feature = "cluster")]
        Command::Install(arguments) => runtime.block_on(install::run(&arguments)),
        Command::Status(arguments) => local.block_on(&runtime, status::run(&arguments)),
        #[cfg(feature = "cluster")]
        Command::Uninstall(arguments) => runtime.block_on(uninstall::run(&arguments)),
        Command::Up(arguments) => {
            mesh_rt::random::prepare();
            local.block_on(&runtime, up::run(&arguments))
        }
        Command::Why(arguments) => local.block_on(&runtime, why::run(&arguments)),
    }
}
