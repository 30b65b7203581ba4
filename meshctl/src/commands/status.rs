//! `meshctl status`: the meshes that run on this machine.

use std::process::ExitCode;

use crate::config::runtime_folder;
use crate::local::socket::ask_all;
use crate::terminal::{Output, print, remark};

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The process id of the mesh, when several run.
    #[arg(long)]
    pid: Option<u32>,
    /// The form of the output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Prints the report of every running mesh. Exit code 1 when none runs.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut all = ask_all(&runtime_folder()).await?;
    all.retain(|(pid, _)| arguments.pid.is_none_or(|wanted| wanted == *pid));
    if all.is_empty() {
        remark("no mesh runs here; start one with: meshctl up PATH");
        return Ok(ExitCode::FAILURE);
    }
    for (pid, report) in &all {
        match arguments.output {
            Output::Json => print(&serde_json::to_string(report)?),
            Output::Text => print(&format!("mesh of {} (process {pid})\n{report}", report.path)),
        }
    }
    Ok(ExitCode::SUCCESS)
}
