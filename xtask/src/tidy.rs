//! The house style as checks: which rules run over which files, and the allow-list. A rule itself lives in
//! its own file below; none of them knows the list.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, bail};

mod allow;
mod layout;
mod lexer;
mod shape;
mod tree;
mod words;

#[cfg(test)]
mod tests;

use allow::AllowList;
use tree::Tree;

/// The crates that are published, lowest first, each with the workspace crates it may depend on.
const PRODUCT: &[(&str, &[&str])] = &[
    ("mesh-rt", &[]),
    ("mesh-capture", &["mesh-rt"]),
    ("mesh-model", &[]),
    ("mesh-http1", &[]),
    ("mesh-http1-tokio", &["mesh-http1"]),
    ("mesh-xds", &["mesh-rt", "mesh-model"]),
    ("mesh-ca", &["mesh-rt", "mesh-model"]),
    ("mesh-telemetry", &["mesh-rt", "mesh-model"]),
    ("mesh-filters", &["mesh-model"]),
    ("mesh-dns", &["mesh-rt", "mesh-model"]),
    ("mesh-balance", &["mesh-rt", "mesh-model"]),
    (
        "mesh-proxy",
        &[
            "mesh-rt",
            "mesh-capture",
            "mesh-http1-tokio",
            "mesh-filters",
            "mesh-dns",
            "mesh-balance",
            "mesh-model",
            "mesh-xds",
            "mesh-ca",
            "mesh-telemetry",
        ],
    ),
    ("mesh-node", &["mesh-rt", "mesh-capture", "mesh-model", "mesh-xds", "mesh-ca", "mesh-proxy"]),
    ("mesh-tower", &["mesh-model", "mesh-proxy"]),
    ("mesh-yaml", &["mesh-model"]),
    ("mesh-objects", &["mesh-model", "mesh-yaml"]),
    ("mesh-source", &["mesh-model", "mesh-yaml", "mesh-objects"]),
    ("mesh-provision", &["mesh-model", "mesh-objects", "mesh-source"]),
    ("mesh-inject", &["mesh-model", "mesh-objects", "mesh-provision"]),
    ("mesh-translate", &["mesh-model", "mesh-objects", "mesh-provision", "mesh-source", "mesh-inject"]),
    (
        "mesh-controller",
        &[
            "mesh-rt",
            "mesh-yaml",
            "mesh-objects",
            "mesh-source",
            "mesh-provision",
            "mesh-inject",
            "mesh-translate",
            "mesh-model",
            "mesh-xds",
            "mesh-ca",
        ],
    ),
    ("mesh-install", &["mesh-yaml", "mesh-objects"]),
    (
        "meshctl",
        &[
            "mesh-rt",
            "mesh-capture",
            "mesh-model",
            "mesh-xds",
            "mesh-ca",
            "mesh-proxy",
            "mesh-controller",
            "mesh-install",
        ],
    ),
];

/// One place that breaks one rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    /// Path below the workspace, with `/`.
    path: String,
    /// First line is 1; 0 is the whole file.
    line: usize,
    /// The rule's name, as the allow-list spells it.
    rule: &'static str,
    /// The function, word or module it is about; empty for the whole file.
    item: String,
    /// What is wrong and what would be right.
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.message)
    }
}

/// Checks the workspace and prints what breaks the style.
///
/// # Errors
/// When a file cannot be read, a rule is broken, or an entry of the allow-list is no longer needed.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let complaints = complaints(root)?;
    for line in &complaints {
        crate::say(line);
    }
    if !complaints.is_empty() {
        bail!("tidy: {} complaints", complaints.len());
    }
    crate::say("tidy: nothing to complain about");
    Ok(())
}

fn complaints(root: &Path) -> anyhow::Result<Vec<String>> {
    let tree = Tree::read(root)?;
    let list = std::fs::read_to_string(root.join(allow::PATH)).context(allow::PATH)?;
    let list = AllowList::parse(&list)?;
    Ok(list.judge(violations(&tree)))
}

fn violations(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut lines = BTreeMap::new();
    for file in tree.files() {
        found.extend(words::check(file));
        if file.is_rust() {
            let shape = shape::Shape::of(file);
            found.extend(shape.violations(file));
            *lines.entry(file.top()).or_insert(0) += shape.product_lines(file);
        }
    }
    found.extend(layout::crate_sizes(&lines));
    found.extend(layout::check(tree));
    found.sort();
    found
}
