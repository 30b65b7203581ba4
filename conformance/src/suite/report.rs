//! The reports that upstream collects: where they lie and what must stand beside them. Their content is the
//! suite's alone.

use std::fmt::Write;
use std::path::{Path, PathBuf};

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

/// What the suite is told about us.
///
/// # Errors
/// When the report's folder cannot be made.
pub(super) fn arguments(config: &Config, report: &Path) -> anyhow::Result<Vec<String>> {
    std::fs::create_dir_all(&config.target)?;
    let (organization, project) = owner();
    Ok(vec![
        format!("-report-output={}", report.display()),
        format!("-organization={organization}"),
        format!("-project={project}"),
        format!("-url={REPOSITORY}"),
        format!("-version={VERSION}"),
        format!("-contact={REPOSITORY}/issues/new"),
    ])
}

fn folder(config: &Config) -> PathBuf {
    let (organization, project) = owner();
    config.root.join("conformance/reports/v1.7").join(format!("{organization}-{project}"))
}

/// Puts a report of a complete run, as it is, where upstream expects it, and writes the page beside it.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn keep(config: &Config, channel: Channel, written: &Path) -> anyhow::Result<()> {
    let folder = folder(config);
    std::fs::create_dir_all(&folder)?;
    let name = name(channel);
    std::fs::copy(written, folder.join(&name)).with_context(|| written.display().to_string())?;
    let there = [Channel::Standard, Channel::Experimental];
    let there: Vec<Channel> =
        there.into_iter().filter(|channel| folder.join(self::name(*channel)).is_file()).collect();
    std::fs::write(folder.join("README.md"), page(&there)?)?;
    say(&format!("report: {}", folder.join(name).display()));
    Ok(())
}

fn name(channel: Channel) -> String {
    format!("{}-{VERSION}-default-report.yaml", channel.name())
}

fn page(channels: &[Channel]) -> anyhow::Result<String> {
    let (_, project) = owner();
    let mut page = format!(
        "# {project}\n\nA service mesh and gateway in Rust: {REPOSITORY}\n\n## Table of contents\n\n"
    );
    page.push_str("| API channel | Implementation version | Mode | Report |\n");
    page.push_str("|-------------|------------------------|------|--------|\n");
    for channel in channels {
        let release = format!("[{VERSION}]({REPOSITORY}/releases/tag/{VERSION})");
        let (name, report) = (channel.name(), name(*channel));
        writeln!(page, "| {name} | {release} | default | [{VERSION} report](./{report}) |")?;
    }
    write!(
        page,
        "\n## Reproduce\n\nOn a Linux machine with Rust, Python and Debian's packages, as root:\n\n\
         ```\ngit clone {REPOSITORY} && cd {project}\ngit checkout {VERSION}\nmake conformance\n```\n\n\
         It builds a one-node Kubernetes, the unmodified suite and the images, and runs every gateway test with each\n\
         channel's definitions, one cluster after the other. The reports are written into this folder.\n"
    )?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::{Channel, owner, page};

    #[test]
    fn the_page_has_what_upstream_asks_for() {
        let page = page(&[Channel::Standard, Channel::Experimental]).unwrap();
        for part in [
            "## Table of contents",
            "| API channel | Implementation version | Mode | Report |",
            "## Reproduce",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(page.contains("[v0.1.0 report](./experimental-v0.1.0-default-report.yaml)"), "{page}");
        assert_eq!(owner(), ("service-mesh", "service-mesh"));
    }
}
