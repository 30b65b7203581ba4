//! `meshctl check`: whether a cluster can take the mesh, and whether the mesh in it works.

use std::process::ExitCode;

use mesh_install::Values;
use mesh_install::cluster::{Outcome, Stage, Subject, Verdict, check};
use mesh_rt::{Clock as _, SystemClock};

use super::install::Cluster;
use crate::terminal::{Output, print};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// The class of the mesh's gateways.
    #[arg(long, default_value = "mesh", value_name = "NAME")]
    gateway_class: String,
    /// What is checked; left out: whether the mesh can be installed and, where it is installed, whether it works.
    #[arg(long, value_enum, value_name = "STAGE")]
    stage: Option<Wanted>,
    /// The form of the output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// A stage by name.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Wanted {
    /// Whether the mesh can be installed.
    Before,
    /// Whether the mesh is there and works.
    After,
}

/// Prints each check. Exit code 1 when one failed; warnings are none.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let api = arguments.cluster.api()?;
    let subject = Subject {
        namespace: arguments.cluster.namespace.clone(),
        class: arguments.gateway_class.clone(),
        controller: Values::default().controller_name,
    };
    let stage = match arguments.stage {
        None => Stage::Either,
        Some(Wanted::Before) => Stage::Before,
        Some(Wanted::After) => Stage::After,
    };
    let verdicts = check(&api, &subject, stage, SystemClock.wall()).await;
    let passed = verdicts.iter().all(|verdict| verdict.outcome != Outcome::Failed);
    match arguments.output {
        Output::Json => print(&serde_json::json!({"passed": passed, "checks": verdicts}).to_string()),
        Output::Text => verdicts.iter().for_each(|verdict| print(&line(verdict))),
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(verdict: &Verdict) -> String {
    let Verdict { check, outcome, message, hint } = verdict;
    let outcome = match outcome {
        Outcome::Passed => "ok",
        Outcome::Warned => "warning",
        Outcome::Failed => "FAILED",
    };
    let hint = hint.as_ref().map(|hint| format!("\n{:22}{hint}", "")).unwrap_or_default();
    format!("{outcome:8} {check:12} {message}{hint}")
}
