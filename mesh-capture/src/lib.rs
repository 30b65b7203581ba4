//! Local capture: a workload in namespaces of its own, its connections redirected to our listeners, and sockets of
//! its namespace handed to us. No root, no program but our own. What is done with the connections is not decided here.
//!
//! Three processes belong to a workload, all of them this binary or started by it:
//! - the *broker* makes the namespaces (as a single-threaded process may), sets the rules, opens the listeners, and
//!   afterwards makes sockets on demand ([`init`]);
//! - the *supervisor* is process 1 of the workload's process namespace: it starts the application, reaps, and takes
//!   every process of the namespace along when it ends;
//! - the *application*.
//!
//! Both of ours end when the socket to the process that launched them closes, whatever the reason. Nothing is put on
//! the disk: the hosts file lives in a file system of memory that only the workload's mount namespace has.
//!
//! ```no_run
//! use mesh_capture::{Launcher, Program, WorkloadSpec};
//!
//! fn main() -> std::process::ExitCode {
//!     if let Some(code) = mesh_capture::maybe_reexec() {
//!         return code;
//!     }
//!     let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
//!     runtime.block_on(async {
//!         let program = Program { argv: vec!["curl".into(), "http://reviews".into()], cwd: "/".into(), env: [("PATH".into(), "/usr/bin".into())].into() };
//!         let hosts = vec![([240, 0, 0, 10].into(), vec!["reviews".to_owned()])];
//!         let spec = WorkloadSpec { hidden: Vec::new(), hosts, listeners: 1, name: "client".to_owned(), program, shown: Vec::new() };
//!         let mut launched = Launcher::new().spawn(spec).await.expect("namespaces are allowed");
//!         let listener = tokio::net::TcpListener::from_std(launched.outbound.remove(0)).expect("a runtime");
//!         let (stream, _) = listener.accept().await.expect("the connection that curl makes");
//!         assert_eq!(mesh_capture::destination(&stream).expect("captured"), ([240, 0, 0, 10], 80).into());
//!     });
//!     std::process::ExitCode::SUCCESS
//! }
//! ```

pub mod broker;
pub mod destination;
pub mod hosts;
pub mod init;
pub mod launcher;
pub mod link;
pub mod namespace;
pub mod netlink;
pub mod nft;
pub mod process;
pub mod spec;
mod wire;

use std::process::ExitCode;

pub use broker::{BrokerError, SocketBroker};
pub use destination::{DestinationError, destination};
pub use hosts::HostsFile;
pub use launcher::{LaunchError, Launched, Launcher, OUTBOUND_PORT};
pub use namespace::{Namespace, NamespaceId};
pub use process::{Exit, Process};
pub use spec::{Program, WorkloadSpec};

/// Runs the hidden part of this binary, when it was started as a helper of [`Launcher`].
///
/// Must be the first call in `main`, before a thread or a runtime is started: only a process with one thread can
/// enter a new user namespace.
pub fn maybe_reexec() -> Option<ExitCode> {
    init::main(std::env::args_os().skip(1))
}
