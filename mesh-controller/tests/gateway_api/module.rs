//! Where the module is. `make test` unpacks it beforehand; without it these tests fail, they do not skip.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

const MODULE: &str = "sigs.k8s.io/gateway-api@v1.7.0";

/// The unpacked module.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let cache = go(&["env", "GOMODCACHE"]).expect("go is installed and names its module cache");
        let folder = Path::new(cache.trim()).join(MODULE);
        if !folder.is_dir() {
            // A Go older than the module asks for unpacks it and then complains, so the folder decides.
            let _ = go(&["mod", "download", MODULE]);
        }
        assert!(folder.is_dir(), "{} is not there; `go mod download {MODULE}` brings it", folder.display());
        folder
    });
    &ROOT
}

fn go(arguments: &[&str]) -> Option<String> {
    let output = Command::new("go").args(arguments).current_dir("/").output().ok()?;
    String::from_utf8(output.stdout).ok()
}

/// Every YAML file below a folder of the module, by its path there.
pub(crate) fn manifests(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the module") {
            let path = entry.expect("an entry of the module").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let name = path.strip_prefix(root()).expect("a path of the module").display().to_string();
                found.push((name, std::fs::read(&path).expect("a file of the module")));
            }
        }
    }
    found.sort();
    found
}
