//! Rules about the workspace as a whole: sizes of crates, the direction of dependencies, the files each
//! published crate has, and that ARCHITECTURE.md names every room.

use std::collections::BTreeMap;

use super::tree::Tree;
use super::{PRODUCT, Violation};

const CRATE_LINES: usize = 12_000;

/// Dependencies that belong to one crate only, with the crates that may have them.
const RESERVED: &[(&str, &[&str])] = &[
    ("envoy-types", &["mesh-xds"]),
    ("gateway-api", &["mesh-controller"]),
    ("k8s-openapi", &["mesh-controller"]),
    ("kube", &["mesh-controller"]),
];

/// Dependencies that the pure model must not have: time, sockets and runtimes.
const IMPURE: &[&str] = &["hyper", "hyper-util", "nix", "rustix", "socket2", "tokio", "tonic", "tower"];

pub(super) fn crate_sizes(lines: &BTreeMap<String, usize>) -> Vec<Violation> {
    let over = lines.iter().filter(|(_, lines)| **lines > CRATE_LINES);
    over.map(|(name, lines)| {
        let message = format!("{lines} lines without tests, at most {CRATE_LINES}");
        violation(name, 0, "crate-lines", "", message)
    })
    .collect()
}

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (name, may) in PRODUCT {
        directions(tree, name, may, &mut found);
        crate_files(tree, name, &mut found);
    }
    architecture(tree, &mut found);
    found
}

fn directions(tree: &Tree, name: &str, may: &[&str], found: &mut Vec<Violation>) {
    let path = format!("{name}/Cargo.toml");
    let Some(text) = tree.text(&path) else { return };
    for (line, section, dependency) in dependencies(text) {
        let ours = PRODUCT.iter().any(|(other, _)| *other == dependency);
        let test_tool =
            matches!(dependency.as_str(), "testkit" | "xtask" | "bench") && section != "dev-dependencies";
        let reserved = RESERVED.iter().find(|(other, _)| *other == dependency);
        let message = if ours && !may.contains(&dependency.as_str()) {
            format!(
                "{name} must not depend on {dependency}: the type belongs in the model, or the function at a root"
            )
        } else if test_tool {
            format!("{dependency} is not published; only tests may use it")
        } else if reserved.is_some_and(|(_, homes)| !homes.contains(&name)) {
            format!("{dependency} belongs to another crate")
        } else if name == "mesh-model" && IMPURE.contains(&dependency.as_str()) && section == "dependencies" {
            format!("the model is pure: no {dependency}")
        } else {
            continue;
        };
        found.push(violation(&path, line, "direction", &dependency, message));
    }
}

/// Line, section and name of each dependency of a manifest.
fn dependencies(text: &str) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    let mut section = String::new();
    for (nth, line) in text.lines().map(str::trim).enumerate() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
            let table = section.rsplit_once('.').filter(|(table, _)| table.ends_with("dependencies"));
            if let Some((table, name)) = table {
                found.push((nth + 1, last_part(table), name.to_owned()));
            }
        } else if section.ends_with("dependencies") && !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default().trim_matches('"');
            found.push((nth + 1, last_part(&section), name.to_owned()));
        }
    }
    found
}

fn last_part(section: &str) -> String {
    section.rsplit('.').next().unwrap_or_default().to_owned()
}

fn crate_files(tree: &Tree, name: &str, found: &mut Vec<Violation>) {
    if tree.text(&format!("{name}/Cargo.toml")).is_none() {
        return;
    }
    for page in ["README.md", "CHANGELOG.md"] {
        if tree.text(&format!("{name}/{page}")).is_none() {
            found.push(violation(&format!("{name}/{page}"), 0, "crate-files", page, "is missing".to_owned()));
        }
    }
}

fn architecture(tree: &Tree, found: &mut Vec<Violation>) {
    let page = "ARCHITECTURE.md";
    let Some(text) = tree.text(page) else {
        return found.push(violation(page, 0, "architecture", "", "is missing".to_owned()));
    };
    for (name, _) in PRODUCT {
        let root = |file: &str| tree.text(&format!("{name}/src/{file}")).unwrap_or_default();
        let modules = modules(root("lib.rs")).chain(modules(root("main.rs")));
        for room in std::iter::once((*name).to_owned()).chain(modules) {
            if !text.contains(&format!("`{room}`")) {
                let message = format!("does not name `{room}` (of {name})");
                found.push(violation(page, 0, "architecture", &room, message));
            }
        }
    }
}

/// The modules that a crate's root declares, test modules aside.
fn modules(root: &str) -> impl Iterator<Item = String> {
    let tree = syn::parse_file(root).map(|tree| tree.items).unwrap_or_default();
    tree.into_iter().filter_map(|item| match item {
        syn::Item::Mod(item) if !item.attrs.iter().any(|a| a.path().is_ident("cfg")) => {
            Some(item.ident.to_string())
        }
        _ => None,
    })
}

fn violation(path: &str, line: usize, rule: &'static str, item: &str, message: String) -> Violation {
    Violation { path: path.to_owned(), line, rule, item: item.to_owned(), message }
}
