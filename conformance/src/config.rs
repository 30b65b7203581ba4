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
    /// Where a running cluster keeps its state.
    pub(crate) temporary: PathBuf,
    /// The cluster meant when none is named: `SERVICE_MESH_CLUSTER`, else `dev`.
    pub(crate) cluster: String,
    /// The cargo that runs us.
    pub(crate) cargo: PathBuf,
    /// The folder of what cargo builds.
    pub(crate) target: PathBuf,
    /// A Python with the packages of the tests' peers: `SERVICE_MESH_PYTHON`, which xtask sets.
    pub(crate) python: Option<PathBuf>,
    /// Where programs are looked for.
    pub(crate) path: String,
}

impl Config {
    /// Reads the environment.
    pub(crate) fn read() -> Self {
        let given = env::var_os("SERVICE_MESH_CACHE").map(PathBuf::from);
        let user = || folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
        let cache = given.unwrap_or_else(|| user().unwrap_or_else(env::temp_dir).join("service-mesh"));
        let root = workspace_root();
        Self {
            target: folder("CARGO_TARGET_DIR").unwrap_or_else(|| root.join("target")),
            root,
            cache,
            temporary: env::temp_dir(),
            cluster: env::var("SERVICE_MESH_CLUSTER").unwrap_or_else(|_| "dev".to_owned()),
            cargo: env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from),
            python: folder("SERVICE_MESH_PYTHON"),
            path: env::var("PATH").unwrap_or_default(),
        }
    }
}

/// A folder named by a variable; a relative one is not meant, says the XDG specification.
fn folder(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.to_path_buf(), Path::to_path_buf)
}
