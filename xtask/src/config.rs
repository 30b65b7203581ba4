//! What the tasks take from their environment; nothing else reads it.
#![allow(clippy::disallowed_methods, reason = "the one file of this crate that reads the environment")]

use std::env;
use std::path::{Path, PathBuf};

/// The settings of a run.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The top folder of the workspace.
    pub(crate) root: PathBuf,
    /// Where tools are kept between runs: `SERVICE_MESH_CACHE`, else below the user's cache folder.
    pub(crate) cache: PathBuf,
    /// `CI=true`: nothing may be skipped.
    pub(crate) ci: bool,
    /// The cargo that runs us.
    pub(crate) cargo: PathBuf,
    /// Where cargo keeps sources: `CARGO_HOME`, else below the user's folder; `None` when neither is said.
    pub(crate) cargo_home: Option<PathBuf>,
}

impl Config {
    /// Reads the environment.
    pub(crate) fn read() -> Self {
        let given = env::var_os("SERVICE_MESH_CACHE").map(PathBuf::from);
        let user = || folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
        let cache = given.unwrap_or_else(|| user().unwrap_or_else(env::temp_dir).join("service-mesh"));
        Self {
            root: workspace_root(),
            cache,
            ci: env::var("CI").is_ok_and(|value| value == "true"),
            cargo: env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from),
            cargo_home: folder("CARGO_HOME").or_else(|| folder("HOME").map(|home| home.join(".cargo"))),
        }
    }
}

/// A folder named by a variable; a relative one is not meant, says the XDG specification.
fn folder(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The top folder of the workspace.
pub(crate) fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.to_path_buf(), Path::to_path_buf)
}
