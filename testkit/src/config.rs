//! What tests take from their environment.
#![allow(clippy::disallowed_methods, reason = "the one file of this crate that reads the environment")]

use std::env;
use std::path::PathBuf;

/// Whether this is a run in which nothing may be skipped (`CI=true`).
pub fn ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true")
}

/// The Python that `xtask setup` gave the PyPI packages of the tests (`SERVICE_MESH_PYTHON`).
pub fn python() -> Option<PathBuf> {
    env::var_os("SERVICE_MESH_PYTHON").map(PathBuf::from)
}

/// The program `h2spec` that `xtask test` had built (`SERVICE_MESH_H2SPEC`).
pub fn h2spec() -> Option<PathBuf> {
    env::var_os("SERVICE_MESH_H2SPEC").map(PathBuf::from)
}

/// Where a test that skips itself leaves a line (`SERVICE_MESH_SKIPS`).
pub(crate) fn skips() -> Option<PathBuf> {
    env::var_os("SERVICE_MESH_SKIPS").map(PathBuf::from)
}
