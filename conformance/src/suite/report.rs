//! The reports that upstream collects: where they lie and what must stand beside them. Their content is the
//! suite's alone.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;

use crate::cluster::Channel;
use crate::config::Config;
use crate::say;

const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// Owner and name of the repository.
fn owner() -> (&'static str, &'static str) {
    let mut parts = REPOSITORY.rsplit('/');
    let project = parts.next().unwrap_or_default();
    (parts.next().unwrap_or_default(), project)
}

/// The mode of the reports about gateways: there is one.
pub(super) const GATEWAYS: &str = "default";
/// Modes in the order of the page, and what each is.
const MODES: &[(&str, &str)] = &[
    (GATEWAYS, "gateways"),
    ("sidecar", "the mesh, with a proxy in every pod"),
    ("node", "the mesh, with one proxy per node and none in the pods"),
];

/// One report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    channel: Channel,
    mode: &'static str,
}

impl Report {
    pub(super) fn new(channel: Channel, mode: &'static str) -> Self {
        Self { channel, mode }
    }

    fn name(self) -> String {
        format!("{}-{VERSION}-{}-report.yaml", self.channel.name(), self.mode)
    }

    fn written(self, config: &Config) -> PathBuf {
        config.target.join(self.name())
    }

    /// What the suite is told about us.
    ///
    /// # Errors
    /// When the report's folder cannot be made.
    pub(super) fn arguments(self, config: &Config) -> anyhow::Result<Vec<String>> {
        std::fs::create_dir_all(&config.target)?;
        let (organization, project) = owner();
        Ok(vec![
            format!("-report-output={}", self.written(config).display()),
            format!("-mode={}", self.mode),
            format!("-organization={organization}"),
            format!("-project={project}"),
            format!("-url={REPOSITORY}"),
            format!("-version={VERSION}"),
            format!("-contact={REPOSITORY}/issues/new"),
        ])
    }

    /// Puts the report of a complete run, as it is, where upstream expects it, and writes the page beside it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn keep(self, config: &Config) -> anyhow::Result<()> {
        let (folder, written) = (folder(config), self.written(config));
        std::fs::create_dir_all(&folder)?;
        std::fs::copy(&written, folder.join(self.name())).with_context(|| written.display().to_string())?;
        let all = MODES.iter().flat_map(|(mode, _)| {
            [Channel::Standard, Channel::Experimental].map(|channel| Self::new(channel, mode))
        });
        let there: Vec<Self> = all.filter(|report| folder.join(report.name()).is_file()).collect();
        std::fs::write(folder.join("README.md"), page(&there)?)?;
        say(&format!("report: {}", folder.join(self.name()).display()));
        Ok(())
    }
}

fn folder(config: &Config) -> PathBuf {
    let (organization, project) = owner();
    config.root.join("conformance/reports/v1.7").join(format!("{organization}-{project}"))
}

fn page(reports: &[Report]) -> anyhow::Result<String> {
    let (_, project) = owner();
    let mut page = format!(
        "# {project}\n\nA service mesh and gateway in Rust: {REPOSITORY}\n\n## Table of contents\n\n"
    );
    page.push_str("| API channel | Implementation version | Mode | Report |\n");
    page.push_str("|-------------|------------------------|------|--------|\n");
    for report in reports {
        let release = format!("[{VERSION}]({REPOSITORY}/releases/tag/{VERSION})");
        let (channel, mode, file) = (report.channel.name(), report.mode, report.name());
        writeln!(page, "| {channel} | {release} | {mode} | [{VERSION} report](./{file}) |")?;
    }
    page.push_str("\nModes:\n\n");
    for (mode, what) in MODES.iter().filter(|(mode, _)| reports.iter().any(|report| report.mode == *mode)) {
        writeln!(page, "- `{mode}`: {what}")?;
    }
    write!(
        page,
        "\n## Reproduce\n\nOn a Linux machine with Rust, Python and Debian's packages, as root:\n\n\
         ```\ngit clone {REPOSITORY} && cd {project}\ngit checkout {VERSION}\nmake conformance\n```\n\n\
         It builds a one-node Kubernetes, the unmodified suite and the images, and runs every gateway test and every\n\
         mesh test in each mode with each channel's definitions, one cluster after the other. The reports are written\n\
         into this folder. One mode alone, in a cluster that `make cluster-up` has made: `conformance -- deploy`, then\n\
         `conformance -- suite` for gateways, `suite --mesh` for sidecars, `suite --mesh --node` for the node's proxy.\n"
    )?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::{Channel, GATEWAYS, Report, owner, page};

    #[test]
    fn the_page_has_what_upstream_asks_for() {
        let reports = [
            Report::new(Channel::Standard, GATEWAYS),
            Report::new(Channel::Experimental, GATEWAYS),
            Report::new(Channel::Standard, "sidecar"),
        ];
        let page = page(&reports).unwrap();
        for part in [
            "## Table of contents",
            "| API channel | Implementation version | Mode | Report |",
            "## Reproduce",
            "[v0.1.0 report](./experimental-v0.1.0-default-report.yaml)",
            "| sidecar | [v0.1.0 report](./standard-v0.1.0-sidecar-report.yaml) |",
            "- `sidecar`: ",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        assert!(!page.contains("- `node`"), "{page}");
        assert_eq!(owner(), ("service-mesh", "service-mesh"));
    }
}
