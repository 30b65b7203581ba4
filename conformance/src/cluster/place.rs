//! Where a cluster keeps its files, and which processes are its own.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::config::Config;

/// Which of the upstream definitions a cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Standard,
    Experimental,
    None,
}

impl Channel {
    /// # Errors
    /// For a word that names no channel.
    pub(crate) fn parse(word: &str) -> anyhow::Result<Self> {
        match word {
            "standard" => Ok(Self::Standard),
            "experimental" => Ok(Self::Experimental),
            "none" => Ok(Self::None),
            other => bail!("no channel `{other}`; there are standard, experimental and none"),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Experimental => "experimental",
            Self::None => "none",
        }
    }

    /// The folder of its definitions in the upstream module.
    pub(crate) fn crds(self) -> PathBuf {
        Path::new("config/crd").join(self.name())
    }
}

/// A cluster's name and folder.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
}

impl Place {
    pub(crate) fn new(config: &Config, name: &str) -> Self {
        Self { name: name.to_owned(), folder: config.temporary.join(format!("service-mesh-cluster-{name}")) }
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    pub(crate) fn kubectl(&self) -> PathBuf {
        self.folder.join("bin/kubectl")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    pub(crate) fn containerd(&self) -> PathBuf {
        self.folder.join("containerd.sock")
    }

    /// The process that made the namespaces: the one we remember, if it is still ours.
    pub(crate) fn outer_process(&self) -> Option<i32> {
        let pid: i32 = std::fs::read_to_string(self.folder.join("pid")).ok()?.parse().ok()?;
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let folder = self.folder.to_str()?.as_bytes();
        line.split(|byte| *byte == 0).any(|word| word == folder).then_some(pid)
    }

    /// The first process inside: the one whose parent is the outer.
    pub(crate) fn first_process(&self) -> Option<i32> {
        let outer = self.outer_process()?;
        let processes = std::fs::read_dir("/proc").ok()?.flatten();
        let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        numbers.find(|pid| parent(*pid) == Some(outer))
    }

    /// Programs of the cluster whose command line, with blanks between its words, holds this text.
    pub(crate) fn programs(&self, words: &str) -> Vec<i32> {
        let Some(first) = self.first_process() else { return Vec::new() };
        let is_inside = |pid: i32| {
            let mut line = std::iter::successors(parent(pid), |pid| parent(*pid));
            line.any(|ancestor| ancestor == first)
        };
        let is_meant = |pid: i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ").contains(words)
        };
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        numbers.filter(|pid| is_meant(*pid) && is_inside(*pid)).collect()
    }

    /// Removes the empty control groups that killed containers leave: those of the containers whose state is in
    /// our folder, since other clusters may run.
    ///
    /// # Errors
    /// When one is still in use.
    pub(crate) fn remove_cgroups(&self) -> anyhow::Result<()> {
        let tasks = self.folder.join("containerd-state/io.containerd.runtime.v2.task/k8s.io");
        let Ok(containers) = std::fs::read_dir(tasks) else { return Ok(()) };
        let containers: Vec<_> = containers.flatten().map(|entry| entry.file_name()).collect();
        let top = Path::new("/sys/fs/cgroup");
        let controllers = std::fs::read_dir(top)?.flatten().map(|entry| entry.path());
        for all in controllers.chain([top.to_owned()]).map(|controller| controller.join("k8s.io")) {
            for group in containers.iter().map(|container| all.join(container)).filter(|group| group.is_dir())
            {
                remove_tree(&group)?;
            }
            // Another cluster's containers may be in it, or it was not there.
            let _in_use = std::fs::remove_dir(&all);
        }
        Ok(())
    }
}

/// A control group has files that cannot be removed; removing the folder is enough.
fn remove_tree(group: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    std::fs::remove_dir(group).with_context(|| group.display().to_string())
}

/// The parent of a process: the second word after its name, which stands in brackets and may hold anything.
fn parent(pid: i32) -> Option<i32> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    line.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
