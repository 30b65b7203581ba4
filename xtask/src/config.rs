//! What the tasks take from their environment; nothing else reads it.
#![allow(clippy::disallowed_methods, reason = "the one file of this crate that reads the environment")]

use std::path::{Path, PathBuf};

/// The top folder of the workspace.
pub(crate) fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.to_path_buf(), Path::to_path_buf)
}
