//! The full matrix: each channel's definitions with the gateway tests and with the mesh tests, then a second pair of
//! names. The only writer of reports.

use anyhow::{Context, bail};

use super::mesh::{self, Mesh};
use super::report::{self, Report};
use super::{Kind, full, gateways, judge, play};
use crate::arguments::Arguments;
use crate::cluster::{Channel, Place};
use crate::config::Config;
use crate::controller::{self, Names};
use crate::images::Profile;
use crate::{images, say, tapped, trials};

/// Options of the matrix.
pub(crate) const OPTIONS: &[&str] = &["times", "channel"];

/// Runs whose tests must all pass, in a row, without a second try; the first one's report is kept.
#[derive(Debug)]
struct Round<'c> {
    config: &'c Config,
    place: &'c Place,
    kind: &'c Kind,
    times: u32,
}

/// Every channel, and a second pair of names; the reports come from the first two.
///
/// # Errors
/// Names the runs that failed; each is tried.
pub(crate) fn run(config: &Config, given: &Arguments) -> anyhow::Result<()> {
    let times = given.get("times").unwrap_or("1").parse().context("--times is a number")?;
    let only = given.get("channel").map(|_| given.channel()).transpose()?;
    let mut runs = vec![(Channel::Standard, Names::usual()), (Channel::Experimental, Names::usual())];
    runs.retain(|(channel, _)| only.is_none_or(|only| only == *channel));
    if only.is_none() {
        runs.push((Channel::Standard, Names::other()));
    }
    let usual = Names::usual().class;
    let mut failed = Vec::new();
    for (channel, names) in runs {
        let kind = Kind { channel, profile: Profile::Release, names };
        let place = Place::new(config, &format!("matrix-{}", std::process::id()));
        let round = Round { config, place: &place, kind: &kind, times };
        let is_usual = kind.names.class == usual;
        let outcome = full(config, &place, &kind, || {
            let gateways = round.gateways(is_usual);
            // Other names change nothing of the mesh, whose name is fixed.
            let mesh = if is_usual { round.mesh() } else { Ok(()) };
            // What the suite has no tests for is tried by our own.
            let others = match channel {
                Channel::Experimental => trials::all(config, &place, trials::EXPERIMENTAL),
                _ => Ok(()),
            };
            gateways.and(mesh).and(others)
        });
        if let Err(error) = outcome {
            let title = format!("{} definitions, class {}", channel.name(), kind.names.class);
            say(&format!("== {title} FAILED: {error:#}"));
            failed.push(title);
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join("; ")) }
}

impl Round<'_> {
    fn gateways(&self, reported: bool) -> anyhow::Result<()> {
        let report = Report::new(self.kind.channel, report::GATEWAYS);
        for time in 1..=self.times {
            self.say(&format!("class {}", self.kind.names.class), time);
            let mut run = gateways(self.config, self.place, self.kind);
            if reported && time == 1 {
                run.arguments.extend(report.arguments(self.config)?);
            }
            judge(&play(self.config, self.place, &run)?)?;
            if reported && time == 1 {
                report.keep(self.config)?;
            }
        }
        Ok(())
    }

    fn mesh(&self) -> anyhow::Result<()> {
        images::load(self.place, &images::of_mesh(self.config)?)?;
        for mode in Mesh::MODES {
            let report = Report::new(self.kind.channel, mode.name());
            if *mode == Mesh::Node {
                controller::deploy_node(self.config, self.place)?;
            }
            for time in 1..=self.times {
                self.say(&format!("mesh, mode {}", mode.name()), time);
                let mut run = mesh::run(self.place, *mode);
                if time == 1 {
                    run.arguments.extend(report.arguments(self.config)?);
                }
                let results = tapped::while_running(self.place, || play(self.config, self.place, &run))?;
                mesh::judge(self.config, &results)?;
                if time == 1 {
                    report.keep(self.config)?;
                }
            }
        }
        Ok(())
    }

    fn say(&self, what: &str, time: u32) {
        let (channel, times) = (self.kind.channel.name(), self.times);
        say(&format!("== {channel} definitions, {what}, run {time} of {times}"));
    }
}
