//! The command line: which commands exist. What a command does lives in a file of its own name.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

mod config;
mod demo;

/// A service mesh on this machine and tools to look at it.
#[derive(Debug, Parser)]
#[command(name = "meshctl", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the small service of the examples: it calls its downstreams and echoes what it received.
    Demo(demo::Arguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the runtime cannot start")?;
    match arguments.command {
        Command::Demo(arguments) => runtime.block_on(demo::run(arguments))?,
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the last word of a failed command")]
fn complain(error: &anyhow::Error) {
    eprintln!("meshctl: {error:#}");
}
