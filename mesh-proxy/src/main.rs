//! The proxy's binary. The hidden helper of captured workloads comes first, before any thread.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = mesh_proxy::capture::maybe_reexec() {
        return code;
    }
    usage()
}

#[expect(clippy::print_stderr, reason = "the usage of a command line program")]
fn usage() -> ExitCode {
    eprintln!("mesh-proxy is started by meshctl or by a controller; it has no command of its own yet");
    ExitCode::from(2)
}
