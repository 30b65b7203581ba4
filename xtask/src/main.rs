//! Entry of the workspace's own checks and generators: which task exists and where it lives, nothing else.

use std::process::ExitCode;

mod config;
mod tidy;

const USAGE: &str = "usage: cargo xtask TASK

  tidy     the house style: sizes, names, directions, words";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("tidy") => tidy::run(&config::workspace_root()),
        _ => Err(anyhow::anyhow!("{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line for the person at the terminal.
#[expect(clippy::print_stderr, reason = "a task speaks to the terminal")]
fn say(line: &str) {
    eprintln!("{line}");
}
