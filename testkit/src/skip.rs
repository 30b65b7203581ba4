//! How a test that cannot run on this machine says so: counted by `xtask test`, forbidden under CI.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::thread;

use crate::config;

/// Records that the running test is skipped. The test returns after it:
///
/// ```no_run
/// # fn namespaces_allowed() -> bool { false }
/// if !namespaces_allowed() {
///     return testkit::skip("user namespaces are forbidden here");
/// }
/// ```
///
/// # Panics
/// Under `CI=true`, where every test has to run.
pub fn skip(why: &str) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    assert!(!config::ci(), "{name} cannot run: {why}; CI skips nothing");
    let Some(path) = config::skips() else { return };
    let file = OpenOptions::new().append(true).create(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(format!("{name}: {why}\n").as_bytes()));
    assert!(written.is_ok(), "{} cannot be written: {written:?}", path.display());
}
