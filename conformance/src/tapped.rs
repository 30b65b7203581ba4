//! What is on the wire between pods of the mesh while something runs: recorded on the node by `dumpcap`, read by `tshark`,
//! judged here. Between two pods that are met with mutual TLS nothing but TLS records may be seen.

mod pods;
mod records;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::cluster::{Place, on_node};
use crate::step::{Running, command, wait_for};
use crate::{clock, say};

use pods::Roll;
use records::{Segment, Streams};

/// The bridge that all pods of the node are on.
const BRIDGE: &str = "pods0";
/// Where a recording ends by itself, in kilobytes: many times what the mesh tests need.
const LARGEST: u64 = 400_000;
/// How long the recorder may take to begin.
const SOON: Duration = Duration::from_secs(20);
/// Most violations that are said one by one.
const SAID: usize = 5;

/// Runs something and judges what was on the wire meanwhile.
///
/// # Errors
/// Those of what runs; or what was seen in plain text, or that nothing was seen.
pub(crate) fn while_running<T>(place: &Place, what: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let tap = Tap::start(place)?;
    let outcome = what()?;
    tap.judge()?;
    Ok(outcome)
}

/// As [`while_running`], for what would be over before anything is judged.
///
/// # Errors
/// As there.
pub(crate) fn while_asking<T>(place: &Place, what: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    while_running(place, || {
        clock::pause(Duration::from_secs_f64(pods::LEARN + 2.0));
        what()
    })
}

/// A recording that goes on.
struct Tap {
    recorder: Running,
    roll: Roll,
    file: PathBuf,
}

impl Tap {
    fn start(place: &Place) -> anyhow::Result<Self> {
        let file = place.folder.join("tapped.pcap");
        if file.exists() {
            std::fs::remove_file(&file)?;
        }
        let (mut recorder, limit) = (on_node(place)?, format!("filesize:{LARGEST}"));
        recorder
            .args(["dumpcap", "-q", "-P", "-i", BRIDGE, "-f", "tcp", "-B", "64", "-a", &limit, "-w"])
            .arg(&file);
        let child = recorder.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let recorder = Running(child.context("dumpcap, of the package tshark")?);
        // The file's head is written when the recorder listens.
        let listens = || {
            let length = std::fs::metadata(&file)?.len();
            ensure!(length > 0, "the recorder has written nothing");
            Ok(())
        };
        wait_for("the recorder", SOON, listens)?;
        Ok(Self { recorder, roll: Roll::start(place), file })
    }

    fn judge(self) -> anyhow::Result<()> {
        let Self { mut recorder, roll, file } = self;
        // What is under way reaches the file.
        clock::pause(Duration::from_secs(1));
        let pid = recorder.0.id().to_string();
        // One that has reached its limit has missed what came after.
        ensure!(
            recorder.0.try_wait()?.is_none(),
            "the recording ended after {LARGEST} kB, before what it records"
        );
        crate::step::succeed(command("kill", &["-INT", &pid]))?;
        recorder.0.wait()?;
        let pods = roll.end()?;
        let mut streams = Streams::default();
        read(&file, |segment| streams.take(segment))?;
        let found = streams.judge(|address, at| pods.name(address, at));
        say(&format!(
            "on the wire: {} connections between pods of the mesh, {} TLS records, {} connections of others",
            found.connections, found.records, found.others
        ));
        found.violations.iter().take(SAID).for_each(|violation| say(&format!("PLAIN {violation}")));
        match (found.violations.len(), found.connections) {
            (0, 0) => bail!("no connection between pods of the mesh was seen"),
            (0, _) => Ok(()),
            (count, _) => {
                bail!("{count} connections between pods of the mesh carried something that is not TLS")
            }
        }
    }
}

/// Every segment of a recording in its order.
fn read(file: &Path, mut each: impl FnMut(Segment)) -> anyhow::Result<()> {
    let name = file.display().to_string();
    let fields = [
        "frame.time_epoch",
        "tcp.stream",
        "ip.src",
        "ipv6.src",
        "ip.dst",
        "ipv6.dst",
        "tcp.dstport",
        "tcp.flags.syn",
        "tcp.seq",
        "tcp.payload",
    ];
    let mut words = vec!["-n", "-r", &name, "-o", "tcp.desegment_tcp_streams:FALSE", "-T", "fields"];
    words.extend(fields.iter().flat_map(|field| ["-e", *field]));
    let text = crate::step::output(command("tshark", &words))?;
    for line in text.lines() {
        each(Segment::read(line).with_context(|| format!("a line of tshark: {line}"))?);
    }
    Ok(())
}
