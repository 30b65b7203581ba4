//! The work that release builds are optimised for: a build that counts its own branches is given it and writes what it
//! counted when it ends. What is usual weighs most; what is rare is there, so that it is not taken for never.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::http1::{CONNECTIONS, Gateway, spawn_origin};
use crate::load;
use crate::pair::{self, FEW};
use crate::{edits, say};

/// How long each of the steady loads lasts.
const TIME: Duration = Duration::from_secs(8);
/// Requests of each other kind, and how many a second.
const OTHERS: (u32, u32) = (6000, 500);

/// Requests through a gateway, through two proxies with mutual TLS between them, kept busy and now and then, then each
/// way of using connections while routes are edited.
///
/// # Errors
/// When a mesh cannot be started, or any answer is not what the origin gave.
pub(crate) fn run(binary: &Path) -> io::Result<()> {
    let (_origin, origin) = spawn_origin()?;
    let gateway = Gateway::start(&[], binary, origin)?;
    let answers = load::run(gateway.address, CONNECTIONS, TIME)?;
    say(&format!("{answers} requests through a gateway"));
    drop(gateway);
    let (pair, at) = pair::ours(binary)?;
    let answers = load::run(at, CONNECTIONS, TIME)? + load::paced(at, FEW.connections, (FEW.rate, TIME))?;
    say(&format!("{answers} requests through two proxies"));
    drop(pair);
    edits::run(binary, OTHERS.0, OTHERS.1)
}
