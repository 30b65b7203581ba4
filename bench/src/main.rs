//! Benchmarks: one file each, ratios within one run. Nothing here is a test, and nothing is asserted in time.

use std::process::ExitCode;

mod routes;

const USAGE: &str = "usage: cargo run --release -p bench -- WHAT

  routes   route choice at 1 to 40,000 routes, and one insert at 40,000 routes of one host";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("routes") => routes::run(),
        _ => {
            say(USAGE);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Prints a line of a result.
#[expect(clippy::print_stdout, reason = "a benchmark reports to the terminal")]
fn say(line: &str) {
    println!("{line}");
}
