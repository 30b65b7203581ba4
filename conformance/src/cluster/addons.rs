//! What a cluster has beside its control plane: DNS, and the upstream definitions.

use std::path::Path;

use anyhow::Context;

use super::{Place, apply as apply_text, kubectl};
use crate::images;

/// Applies the cluster's DNS at this address.
///
/// # Errors
/// What kubectl says.
pub(super) fn apply(place: &Place, address: &str) -> anyhow::Result<()> {
    let text = include_str!("addons/dns.yaml");
    apply_text(place, &text.replace("$IMAGE", images::COREDNS).replace("$ADDRESS", address))
}

/// Applies every definition of a channel, and last what guards them; the folder's own list for another tool is none.
///
/// # Errors
/// What kubectl says.
pub(super) fn crds(place: &Place, folder: &Path) -> anyhow::Result<()> {
    let mut files = [Vec::new(), Vec::new()];
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("gateway") && path.extension().is_some_and(|extension| extension == "yaml") {
            files[usize::from(name.contains("_vap_"))].push(format!("--filename={}", path.display()));
        }
    }
    for files in files.iter().filter(|files| !files.is_empty()) {
        let mut arguments = vec!["apply", "--server-side"];
        arguments.extend(files.iter().map(String::as_str));
        kubectl(place, &arguments)?;
    }
    kubectl(place, &["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).map(drop)
}
