//! The files that the rules look at: what counts as text, as product code and as a test. Reads the disk; no
//! rule lives here.

use std::path::Path;

use anyhow::Context;

/// Folders without hand-written text of ours.
const SKIPPED_FOLDERS: &[&str] = &["target", "generated", "corpus", "artifacts", "coverage", "node_modules"];

/// File endings that are read.
const ENDINGS: &[&str] = &["go", "md", "proto", "py", "rs", "sh", "toml", "yaml", "yml"];

/// Files without such an ending that are read all the same.
const NAMES: &[&str] = &["LICENSE", "Makefile", "run"];

/// A text file of the workspace.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// Path below the workspace, with `/`.
    pub(super) path: String,
    /// Its whole text.
    pub(super) text: String,
}

impl File {
    /// The first folder of the path, which for a crate is its name.
    pub(super) fn top(&self) -> String {
        self.path.split('/').next().unwrap_or_default().to_owned()
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the file is the source of a published crate.
    pub(super) fn is_product(&self) -> bool {
        let mut parts = self.path.split('/');
        let top = parts.next().unwrap_or_default();
        super::PRODUCT.iter().any(|(name, _)| *name == top) && parts.next() == Some("src") && !self.is_test()
    }

    /// Whether the whole file is test code.
    pub(super) fn is_test(&self) -> bool {
        let mut folders = self.path.split('/').rev();
        let name = folders.next().unwrap_or_default();
        name == "tests.rs"
            || name.ends_with("_tests.rs")
            || folders.any(|folder| matches!(folder, "tests" | "testkit" | "benches" | "bench" | "fuzz"))
    }
}

/// All text files, ordered by path.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: Vec<File>,
}

impl Tree {
    /// Reads every text file below `root`.
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        tree.descend(root, "")?;
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: (*text).to_owned() };
        Self { files: files.iter().map(file).collect() }
    }

    pub(super) fn files(&self) -> &[File] {
        &self.files
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    }

    fn descend(&mut self, root: &Path, below: &str) -> anyhow::Result<()> {
        let folder = root.join(below);
        let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
            let kind = entry.file_type()?;
            if kind.is_dir() && is_ours(&name) {
                self.descend(root, &path)?;
            } else if kind.is_file() && is_text(&name) {
                let text = std::fs::read_to_string(entry.path()).with_context(|| path.clone())?;
                self.files.push(File { path, text });
            }
        }
        Ok(())
    }
}

fn is_ours(folder: &str) -> bool {
    let hidden = folder.starts_with('.') && !matches!(folder, ".ci" | ".cargo");
    !hidden && !SKIPPED_FOLDERS.contains(&folder)
}

fn is_text(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ENDINGS.contains(&ending) || NAMES.contains(&name)
}
