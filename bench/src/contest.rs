//! Proxies that are loaded in turn, in the same rounds: the processor time of each for a request, beside the others'.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::http1::{CONNECTIONS, cpu_seconds, pin_self};
use crate::{load, say};

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(3);
const WARMING: Duration = Duration::from_millis(500);

/// One that takes part: its name, its process, where it listens.
pub(crate) struct Contestant {
    name: &'static str,
    pid: u32,
    address: SocketAddr,
    full: Costs,
    paced: Costs,
}

/// What one load cost, round by round.
#[derive(Default)]
struct Costs {
    /// Microseconds of processor time for a request.
    requests: Vec<f64>,
    /// The part of a processor that was busy.
    shares: Vec<f64>,
}

/// A load of so many requests a second over so many connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) connections: usize,
    pub(crate) rate: u32,
}

/// Numbers of the rounds: the median, and the range.
struct Spread(Vec<f64>);

impl Contestant {
    pub(crate) fn new(name: &'static str, pid: u32, address: SocketAddr) -> Self {
        Self { name, pid, address, full: Costs::default(), paced: Costs::default() }
    }

    fn load(&mut self, pace: Option<Pace>) -> io::Result<()> {
        let before = cpu_seconds(self.pid)?;
        let answers = match pace {
            None => load::run(self.address, CONNECTIONS, ROUND)?,
            Some(pace) => load::paced(self.address, pace.connections, (pace.rate, ROUND))?,
        };
        let busy = cpu_seconds(self.pid)? - before;
        let costs = if pace.is_none() { &mut self.full } else { &mut self.paced };
        costs.requests.push(busy / answers as f64 * 1e6);
        costs.shares.push(busy / ROUND.as_secs_f64());
        Ok(())
    }
}

/// Requests a second that all answer with room to spare: so much of what the slowest answers at full load.
///
/// # Errors
/// When an answer is not what the origin gave.
pub(crate) fn pace_for(all: &[Contestant], part: f64) -> io::Result<Pace> {
    pin_self()?;
    let mut rate = f64::MAX;
    for contestant in all {
        load::run(contestant.address, CONNECTIONS, WARMING)?;
        let answers = load::run(contestant.address, CONNECTIONS, WARMING)?;
        rate = rate.min(answers as f64 / WARMING.as_secs_f64() * part);
    }
    Ok(Pace { connections: CONNECTIONS, rate: (rate / 1000.0).round().max(1.0) as u32 * 1000 })
}

/// Runs all rounds, each with full load and with a paced one, and prints what each contestant cost. Generator on core 1.
///
/// # Errors
/// When an answer is not what the origin gave.
pub(crate) fn run(all: &mut [Contestant], pace: Pace) -> io::Result<()> {
    say(&format!(
        "load {:?}, {ROUNDS} rounds of {ROUND:?}; {CONNECTIONS} connections at full load, {} with {} requests a second",
        std::fs::read_to_string("/proc/loadavg")?.trim(),
        pace.connections,
        pace.rate
    ));
    pin_self()?;
    for contestant in &*all {
        load::run(contestant.address, CONNECTIONS, WARMING)?;
    }
    for round in 0..ROUNDS {
        for step in 0..all.len() {
            let at = (step + round) % all.len();
            all[at].load(None)?;
            all[at].load(Some(pace))?;
        }
    }
    for contestant in &*all {
        for (what, costs) in [("full load", &contestant.full), ("paced", &contestant.paced)] {
            let (requests, shares) = (Spread::of(&costs.requests), Spread::of(&costs.shares));
            say(&format!("{}, {what}: {requests:.1} us a request, {shares:.2} of a core", contestant.name));
        }
    }
    Ok(())
}

/// Prints what one costs beside another: the median of the rounds' ratios.
pub(crate) fn compare(one: &Contestant, other: &Contestant) {
    let loads = [("full load", &one.full, &other.full), ("paced", &one.paced, &other.paced)];
    for (what, costs, others) in loads {
        let ratios = costs.requests.iter().zip(&others.requests).map(|(cost, other)| cost / other);
        let ratios = Spread::of(&ratios.collect::<Vec<_>>());
        say(&format!("{what}: {} costs {ratios:.2} of {}", one.name, other.name));
    }
}

impl Spread {
    fn of(numbers: &[f64]) -> Self {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let at = |index: usize| self.0.get(index).copied().unwrap_or(f64::NAN);
        let (median, low, high) = (at(self.0.len() / 2), at(0), at(self.0.len().saturating_sub(1)));
        write!(f, "{median:.digits$} ({low:.digits$} to {high:.digits$})")
    }
}
