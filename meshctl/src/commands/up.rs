//! `meshctl up PATH`: runs the mesh that files describe, until Ctrl-C.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use mesh_proxy::capture::Launcher;
use mesh_proxy::telemetry::Telemetry;
use mesh_proxy::telemetry::access_log::{AccessLog, Level};
use mesh_proxy::telemetry::otlp::Spans;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::local::ground::Capture;
use crate::local::mesh::{Mesh, Options};
use crate::local::metrics::MetricsPort;
use crate::local::report::Report;
use crate::local::socket::StatusSocket;
use crate::terminal::{Output, is_watched, print, remark};

/// How traffic of the processes is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Wanted {
    /// Namespaces where this machine allows them, else explicit ports.
    #[default]
    Auto,
    /// Namespaces of their own: `http://reviews` just works.
    Namespaces,
    /// Explicit ports, told by the variables that Kubernetes sets for services.
    Ports,
}

/// What to try first, at the end of the help.
const EXAMPLES: &str = "Examples:
  meshctl up examples/bookinfo                  run it; then: curl http://127.0.0.1:8080/productpage
  meshctl up --capture ports examples/bookinfo  the same on a machine without user namespaces
  meshctl status                                what runs, in another terminal
  meshctl why ID                                why it decided so; ID is in the access log";

/// Arguments of `up`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Files to run: a directory, whose files are watched, or one file.
    path: PathBuf,
    /// How traffic is captured.
    #[arg(long, value_enum, default_value_t)]
    capture: Wanted,
    /// Write the access log to this file; - is standard error.
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// Serve metrics for Prometheus at this address, under /metrics.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    /// Send spans to this OTLP/gRPC receiver.
    #[arg(long, value_name = "ADDRESS")]
    otlp: Option<SocketAddr>,
    /// The form of the output. JSON is a report per line, whenever it changes.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Runs the mesh. Exit code 0 after Ctrl-C or SIGTERM.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    arguments.path.try_exists().ok().filter(|there| *there).with_context(|| {
        format!("{} is not there: give a directory or a file with manifests", arguments.path.display())
    })?;
    raise_open_files();
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let socket =
        StatusSocket::open(&config::runtime_folder()).context("the status socket cannot be opened")?;
    let telemetry = telemetry(arguments)?;
    let decisions = Arc::clone(&telemetry.decisions);
    let options =
        Options { path: arguments.path.clone(), capture: capture(arguments.capture).await?, telemetry };
    if let Some(address) = arguments.metrics {
        let port =
            MetricsPort::open(address).with_context(|| format!("metrics cannot be served at {address}"))?;
        remark(&format!("metrics at http://{}/metrics", port.address()?));
        tokio::task::spawn_local(port.serve(options.telemetry.clone()));
    }
    let (sender, report) = watch::channel(Report::default());
    let serving = report.clone();
    let status = tokio::task::spawn_local(async move { socket.serve(serving, decisions).await });
    let shown = tokio::task::spawn_local(show(report, arguments.output));
    let stopping = stop.clone();
    let signals = tokio::task::spawn_local(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if is_watched() {
            remark("stopping; a second Ctrl-C ends at once");
        }
        stopping.cancel();
        interrupt.recv().await;
        std::process::exit(130);
    });
    let outcome = Mesh::run(options, sender, stop).await;
    [status.abort_handle(), signals.abort_handle()].iter().for_each(tokio::task::AbortHandle::abort);
    // They end with the report's sender, or were aborted.
    let _ = (status.await, shown.await);
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Every proxy and program of the mesh shares one limit of open files, whose soft value is often small. It stays
/// as it is where it cannot be raised; then connections are refused sooner.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

async fn capture(wanted: Wanted) -> anyhow::Result<(Capture, String)> {
    let namespaces = (Capture::Namespaces, "namespaces: services are reached by their names".to_owned());
    match wanted {
        Wanted::Ports => Ok((Capture::Ports, "explicit ports, as asked for".to_owned())),
        Wanted::Namespaces | Wanted::Auto => match Launcher::new().is_supported().await {
            Ok(()) => Ok(namespaces),
            Err(error) if wanted == Wanted::Namespaces => bail!("namespaces cannot be used here: {error}"),
            Err(error) => Ok((Capture::Ports, format!("explicit ports, because {error}"))),
        },
    }
}

fn telemetry(arguments: &Arguments) -> anyhow::Result<Telemetry> {
    let access_log = match &arguments.access_log {
        None => AccessLog::default(),
        Some(path) if path.as_os_str() == "-" => AccessLog::to(Level::All, std::io::stderr()),
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            AccessLog::to(Level::All, file.with_context(|| format!("the access log {}", path.display()))?)
        }
    };
    let mut telemetry = Telemetry { access_log, ..Telemetry::default() };
    if let Some(receiver) = arguments.otlp {
        let (spans, task) = Spans::export(receiver, "meshctl");
        telemetry.spans = spans;
        tokio::spawn(task);
    }
    Ok(telemetry)
}

/// Shows how far the start is, the mesh when it is ready, and what goes wrong as it happens.
async fn show(mut report: watch::Receiver<Report>, output: Output) {
    let mut known = BTreeSet::new();
    let (mut announced, mut last) = (false, Arc::new(String::new()));
    let progress = progress(output);
    while report.changed().await.is_ok() {
        let now = report.borrow_and_update().clone();
        let new =
            now.findings.iter().filter(|finding| !known.contains(*finding)).cloned().collect::<Vec<_>>();
        progress.suspend(|| new.iter().for_each(|finding| remark(finding)));
        known = now.findings.iter().cloned().collect();
        progress.set_message(starting(&now));
        if now.ready {
            progress.finish_and_clear();
        }
        match output {
            Output::Json => {
                let text = serde_json::to_string(&now).unwrap_or_default();
                if *last != text {
                    print(&text);
                    last = Arc::new(text);
                }
            }
            Output::Text if now.ready && !announced => {
                announced = true;
                print(&format!("{now}\nready; edit the files to change it, Ctrl-C to stop"));
            }
            Output::Text => {}
        }
    }
    progress.finish_and_clear();
}

/// A moving line while a person waits; nothing where nobody watches.
fn progress(output: Output) -> ProgressBar {
    if output == Output::Json || !is_watched() {
        return ProgressBar::hidden();
    }
    let progress = ProgressBar::new_spinner().with_message("reading the files");
    progress.enable_steady_tick(Duration::from_millis(120));
    progress
}

/// How far the start is.
fn starting(report: &Report) -> String {
    let ready = report.workloads.iter().filter(|workload| workload.state.ends_with(", ready")).count();
    format!("starting: {ready} of {} processes are ready", report.workloads.len())
}
