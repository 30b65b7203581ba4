//! `meshctl completion SHELL`: prints a completion script.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

/// Arguments of `completion`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The shell: bash, elvish, fish, powershell or zsh.
    shell: Shell,
}

/// Prints the script for a shell.
pub(crate) fn run<C: CommandFactory>(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut C::command(), "meshctl", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
