//! How long a server that speaks first is waited for, at a port that says nothing of its protocol: a proxy that waits for
//! the client to speak would stall SMTP and MySQL. Between pods of both modes, beside the same server at a port that
//! says TCP, where nothing has to be found out, and beside pods outside the mesh.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;

use crate::arguments::Arguments;
use crate::cluster::Place;
use crate::config::Config;
use crate::load::{Load, Mode};
use crate::pair::Pair;
use crate::step::wait_for;
use crate::{controller, say};

pub(crate) const OPTIONS: &[&str] = &["name"];

/// How much later than where TCP is declared the greeting may come, in milliseconds. The proxy gives a client 30 ms to
/// speak first; the rest is for busy machines. One that waits for the client would wait for seconds.
const LATER: f64 = 250.0;
/// The ports of the server: where nothing is declared, and where TCP is.
const PORTS: [u16; 2] = [9092, 9093];
/// When the beginning of a connection is sent again, in milliseconds.
const RESENT: f64 = 1000.0;
const LIMIT: Duration = Duration::from_secs(60);
/// Each is a handshake of its own between two proxies, which takes a debug build long.
const RATE: u32 = 4;
const COUNT: u32 = 24;

/// In a running cluster with our controller.
///
/// # Errors
/// When a greeting was lost, or they came too late.
pub(crate) fn run(config: &Config, given: &Arguments) -> anyhow::Result<()> {
    let place = given.place(config);
    controller::deploy_node(config, &place)?;
    check(&place)
}

/// As [`run`]; the node's proxy runs.
///
/// # Errors
/// As [`run`].
pub(crate) fn check(place: &Place) -> anyhow::Result<()> {
    for (mode, namespace) in
        [("none", "greeting-none"), ("sidecar", "greeting-sidecar"), ("node", "greeting-node")]
    {
        let pair = Pair { place, namespace, mode };
        let medians = pair.prepare().and_then(|to| {
            let [found_out, declared] = PORTS.map(|port| median(&pair, SocketAddr::new(to, port)));
            Ok((found_out?, declared?))
        });
        pair.remove(false)?;
        let (found_out, declared) = medians?;
        say(&format!("mode {mode}: greetings after {found_out:.1} ms, where TCP is declared {declared:.1}"));
        ensure!(found_out - declared < LATER, "mode {mode}: the protocol takes long to be found out");
    }
    Ok(())
}

/// The median of the time from the beginning of a connection to the greeting, in milliseconds.
fn median(pair: &Pair<'_>, to: SocketAddr) -> anyhow::Result<f64> {
    let load = |count| {
        let host = "server".to_owned();
        Load { to, mode: Mode::Greeting, host, rate: RATE, count, attended: false }
    };
    // Before the node's rules know the service, the beginning of a connection is lost and sent again after a second.
    wait_for("the service leads to the server", LIMIT, || {
        let tally = pair.measured(&load(3))?;
        ensure!(tally.lost() == 0 && tally.took[2] < RESENT, "{tally:?}");
        Ok(())
    })?;
    let tally = pair.measured(&load(COUNT))?;
    ensure!(tally.lost() == 0, "mode {}: {:?}", pair.mode, tally.told);
    Ok(tally.took[0])
}
