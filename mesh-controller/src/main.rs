//! The binary `service-mesh-controller`: arguments, signals and printing. The control plane itself is a library.

mod config;

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use mesh_controller::serve::{Event, Standalone};
use mesh_model::{Code, Finding};
use mesh_rt::SystemClock;
use mesh_rt::ending::Ending;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use config::{Arguments, Output};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Translation has the main thread; streams, statuses and calls do not wait for it, nor it for them.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let listening = runtime.context("the runtime").and_then(|runtime| {
        let ending = runtime.block_on(async { Ending::listen() }).context("SIGTERM and SIGINT")?;
        Ok((runtime, ending))
    });
    let arguments = Arguments::parse();
    let colours = std::io::stderr().is_terminal();
    // The Kubernetes client says once more what we say about each failed call.
    let targets = Targets::new().with_default(LevelFilter::INFO).with_target("kube_client", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    tracing_subscriber::registry().with(lines.with_filter(targets)).init();
    let outcome = listening.and_then(|(runtime, ending)| runtime.block_on(run(arguments, ending)));
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let _ = writeln!(std::io::stderr(), "service-mesh-controller: {error:#}");
    ExitCode::FAILURE
}

async fn run(arguments: Arguments, mut ending: Ending) -> anyhow::Result<()> {
    let mut printer = Printer { output: arguments.output, known: BTreeMap::new() };
    let shutdown = async move { ending.asked().await };
    let tell = |event| printer.print(event);
    if arguments.is_kubernetes() {
        return on_kubernetes(arguments, tell, shutdown).await;
    }
    let standalone = Standalone::start(arguments.standalone(), SystemClock::shared())?;
    Ok(standalone.run(tell, shutdown).await?)
}

#[cfg(feature = "cluster")]
async fn on_kubernetes(
    arguments: Arguments,
    tell: impl FnMut(Event),
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut shutdown = std::pin::pin!(shutdown);
    if let Some((controller, deleted)) = arguments.released() {
        for name in mesh_controller::cluster::release_classes(controller, deleted).await? {
            tracing::info!(name, "the class has its finalizer no more");
        }
        return Ok(());
    }
    let cluster = tokio::select! {
        cluster = mesh_controller::cluster::Cluster::start(arguments.cluster(), SystemClock::shared()) => cluster?,
        () = &mut shutdown => return Ok(()),
    };
    Ok(cluster.run(tell, shutdown).await?)
}

#[cfg(not(feature = "cluster"))]
async fn on_kubernetes(
    _: Arguments,
    _: impl FnMut(Event),
    _: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    anyhow::bail!("this binary was built without the feature `cluster`, which knows API servers")
}

/// Prints what is new, and what is no longer wrong.
struct Printer {
    output: Output,
    /// What is wrong, by its text.
    known: BTreeMap<String, Finding>,
}

impl Printer {
    fn print(&mut self, event: Event) {
        match event {
            Event::Findings(now) => {
                let now: BTreeMap<String, Finding> =
                    now.iter().map(|finding| (finding.to_string(), finding.clone())).collect();
                let known = std::mem::take(&mut self.known);
                for (text, finding) in now.iter().filter(|(text, _)| !known.contains_key(*text)) {
                    self.line("finding", &coded(finding), text.clone());
                }
                for (text, finding) in known.iter().filter(|(text, _)| !now.contains_key(*text)) {
                    self.line("resolved", &coded(finding), format!("no longer: {text}"));
                }
                self.known = now;
            }
            Event::Serving { address, readiness } => {
                let shown = readiness.map(|r| format!(", readiness on {r}")).unwrap_or_default();
                let value = serde_json::json!({"address": address, "readiness": readiness});
                self.line("serving", &value, format!("serving on {address}{shown}"));
            }
        }
    }

    /// A reader that has gone away is no reason to stop serving.
    fn line(&self, event: &str, value: &impl serde::Serialize, text: String) {
        let _ = match self.output {
            Output::Json => writeln!(std::io::stdout(), "{}", serde_json::json!({event: value})),
            Output::Text => writeln!(std::io::stderr(), "{text}"),
        };
    }
}

/// A finding with its code.
#[derive(serde::Serialize)]
struct Coded<'a> {
    code: Code,
    #[serde(flatten)]
    finding: &'a Finding,
}

fn coded(finding: &Finding) -> Coded<'_> {
    Coded { code: finding.code(), finding }
}
