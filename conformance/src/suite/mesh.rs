//! The mesh tests of the suite: how they run with sidecars, with the node's proxy and without a mesh, and when a run
//! counts. Some of them pass in a cluster without any mesh, so it is kept which do: a pass of the others shows that the
//! mesh works.

use std::collections::BTreeMap;

use anyhow::{Context, bail};

use super::events::{Outcome, Results, Subject};
use super::{Run, SECOND_TRIES, play};
use crate::arguments::Arguments;
use crate::cluster::Place;
use crate::config::Config;
use crate::{controller, images, say, tapped};

/// Mesh tests of the suite; another number means another suite.
const TESTS: usize = 23;
const PROFILES: &str = "-conformance-profiles=MESH-HTTP,MESH-GRPC";
/// What the controller says of the mesh in the status of its object. Clusters with the standard definitions have no
/// such object, so the suite is told.
const FEATURES: &str = "-supported-features=GRPCRoute,HTTPRoute,HTTPRoute303RedirectStatusCode,\
    HTTPRoute307RedirectStatusCode,HTTPRoute308RedirectStatusCode,HTTPRouteParentRefPort,\
    HTTPRouteResponseHeaderModification,Mesh,MeshClusterIPMatching,MeshConsumerRoute,\
    MeshHTTPRouteBackendRequestHeaderModification,MeshHTTPRouteNamedRouteRule,MeshHTTPRouteQueryParamMatching,\
    MeshHTTPRouteRedirectPath,MeshHTTPRouteRedirectPort,MeshHTTPRouteRewritePath,MeshHTTPRouteSchemeRedirect";
/// Without a mesh most tests wait in vain; not for long.
const IMPATIENT: &str = "-timeout-config-overrides=MaxTimeToConsistency:5";
/// What came of each test without a mesh.
const RECORD: &str = "conformance/mesh-absent.txt";
const LIMIT: u32 = 600;

/// What the pods of the tests have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mesh {
    /// Nothing: the tests run against Kubernetes alone.
    Absent,
    /// Nothing of their own: the node's proxy serves them.
    Node,
    /// A sidecar each.
    Sidecar,
}

impl Mesh {
    /// The modes that there is a report of.
    pub(super) const MODES: &[Self] = &[Self::Sidecar, Self::Node];

    /// The word for it in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Node => "node",
            Self::Sidecar => "sidecar",
        }
    }
}

/// All mesh tests with pods of this kind.
pub(super) fn run(place: &Place, mesh: Mesh) -> Run {
    let mut arguments = vec![PROFILES.to_owned(), FEATURES.to_owned(), "-gateway-class=none".to_owned()];
    arguments.push(match mesh {
        Mesh::Absent => IMPATIENT.to_owned(),
        Mesh::Node => "-namespace-labels=mesh.io/mode=node".to_owned(),
        Mesh::Sidecar => "-namespace-labels=mesh.io/mode=sidecar".to_owned(),
    });
    Run {
        arguments,
        tests: "^TestConformance$".to_owned(),
        json: place.folder.join("suite-mesh.json"),
        limit: LIMIT,
        subject: Subject::Mesh,
    }
}

/// All mesh tests in a mode, in a cluster with our controller. What fails is tried once more: hundreds of calls that
/// must end within five seconds say nothing on a busy machine.
///
/// # Errors
/// When the suite cannot run.
pub(super) fn in_mode(config: &Config, place: &Place, mesh: Mesh) -> anyhow::Result<Results> {
    images::load(place, &images::of_mesh(config)?)?;
    if mesh == Mesh::Node {
        controller::deploy_node(config, place)?;
    }
    say(&format!("== mesh, mode {}", mesh.name()));
    let mut results = tapped::while_running(place, || play(config, place, &run(place, mesh)))?;
    let failed: Vec<String> = results.failed().into_iter().map(str::to_owned).collect();
    if !failed.is_empty() && failed.len() <= SECOND_TRIES {
        say(&format!("a second try: {}", failed.join(" ")));
        let mut again = run(place, mesh).only(&failed.join("|"));
        again.json = again.json.with_extension("second.json");
        results.take(&play(config, place, &again)?, &failed);
    }
    Ok(results)
}

/// Passed is only a run in which every test did.
///
/// # Errors
/// Names those that did not.
pub(super) fn judge(config: &Config, results: &Results) -> anyhow::Result<()> {
    say(&results.closing_line(|_| false));
    let record = record(config)?;
    let telling = results.asked().filter(|(name, _)| record.get(*name) == Some(&false)).count();
    say(&format!("{telling} of {TESTS} mesh tests fail where there is no mesh ({RECORD})"));
    let passed = results.asked().filter(|(_, test)| test.outcome == Outcome::Passed).count();
    let others: Vec<&str> =
        results.asked().filter(|(_, test)| test.outcome != Outcome::Passed).map(|(name, _)| name).collect();
    if passed != TESTS || !others.is_empty() {
        bail!("{passed} of {TESTS} mesh tests passed; not these: {}", others.join(" "));
    }
    if let Some(strange) = results.asked().map(|(name, _)| name).find(|name| !record.contains_key(*name)) {
        bail!(
            "{RECORD} does not say what becomes of {strange} without a mesh: `suite --mesh --absent` writes it"
        );
    }
    Ok(())
}

/// A run for developers, or the one without a mesh, which writes the record.
///
/// # Errors
/// Names the tests that failed.
pub(super) fn quick(config: &Config, given: &Arguments) -> anyhow::Result<()> {
    let place = given.place(config);
    let mesh = match (given.has("absent"), given.has("node")) {
        (true, false) => Mesh::Absent,
        (false, true) => Mesh::Node,
        (false, false) => Mesh::Sidecar,
        (true, true) => bail!("--absent and --node exclude each other"),
    };
    images::load(&place, &images::of_mesh(config)?)?;
    if mesh == Mesh::Node {
        controller::deploy_node(config, &place)?;
    }
    let mut run =
        run(&place, mesh).with(format!("-cleanup-base-resources={}", given.get("base") != Some("keep")));
    if let Some(expression) = given.get("run") {
        run = run.only(expression);
    }
    let results = match mesh {
        Mesh::Absent => play(config, &place, &run)?,
        Mesh::Node | Mesh::Sidecar => tapped::while_running(&place, || play(config, &place, &run))?,
    };
    match (mesh, given.get("run")) {
        (Mesh::Absent, None) => write_record(config, &results),
        (Mesh::Node | Mesh::Sidecar, None) => judge(config, &results),
        (_, Some(_)) if results.failed().is_empty() => Ok(()),
        (_, Some(_)) => bail!("failed: {}", results.failed().join(" ")),
    }
}

fn write_record(config: &Config, results: &Results) -> anyhow::Result<()> {
    let head = "# What becomes of each mesh test of the upstream suite where there is no mesh.\n\
                # Written by: conformance suite --mesh --absent\n";
    let line = |passed: bool, name: &str| format!("{} {name}\n", if passed { "pass" } else { "fail" });
    let lines: String = results.asked().map(|(name, _)| line(results.passed(name), name)).collect();
    if lines.lines().count() != TESTS {
        bail!("{} mesh tests ran, not {TESTS}", lines.lines().count());
    }
    std::fs::write(config.root.join(RECORD), format!("{head}{lines}")).context(RECORD)
}

/// Whether each test passes without a mesh.
fn record(config: &Config) -> anyhow::Result<BTreeMap<String, bool>> {
    let text = std::fs::read_to_string(config.root.join(RECORD)).context(RECORD)?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| match line.split_once(' ') {
            Some(("pass", name)) => Ok((name.to_owned(), true)),
            Some(("fail", name)) => Ok((name.to_owned(), false)),
            _ => bail!("{RECORD}: {line:?} is no outcome"),
        })
        .collect()
}
