//! `meshctl why ID`: why a running mesh decided as it did. The id is in the header `x-mesh-decision` of answers that
//! a proxy made itself, and in the access log.

use std::process::ExitCode;

use anyhow::Context;
use mesh_proxy::telemetry::decisions::DecisionId;

use crate::config::runtime_folder;
use crate::local::socket::ask_why;
use crate::terminal::{Output, print, remark};

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Decisions, by the ids in `x-mesh-decision` or the access log. Each proxy keeps its last few thousand.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// The process id of the mesh; left out: whichever knows the decision.
    #[arg(long)]
    pid: Option<u32>,
    /// The form of the output. JSON is a line per decision.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Explains decisions of running meshes. Exit code 1 when one is not known.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    for id in &arguments.ids {
        id.parse::<DecisionId>().with_context(|| format!("{id:?} is not the id of a decision"))?;
    }
    let mut code = ExitCode::SUCCESS;
    for answer in ask_why(&runtime_folder(), arguments.pid, &arguments.ids).await? {
        let (Some(explanation), Some(text)) = (&answer.explanation, &answer.text) else {
            remark(&format!("no running mesh knows decision {} (any more)", answer.decision));
            code = ExitCode::FAILURE;
            continue;
        };
        match arguments.output {
            Output::Json => {
                let line = serde_json::json!({"decision": answer.decision, "explanation": explanation});
                print(&line.to_string());
            }
            Output::Text => print(text),
        }
    }
    Ok(code)
}
