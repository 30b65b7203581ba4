//! An open loop: each request begins at its time, whatever became of those before it, and none is sent twice. It
//! counts what was lost and how. How a request is sent lives in a file for each protocol; what is changed
//! meanwhile is decided elsewhere.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::task::{JoinSet, LocalSet};

use crate::arguments::Arguments;
use crate::clock::Stopwatch;
use crate::say;

mod http1;
mod http2;
mod tcp;

pub(crate) const OPTIONS: &[&str] = &["to", "mode", "host", "rate", "count", "attended"];

/// A request that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests under way; one that would be more is lost, because a generator that waits hides what it measures.
const MOST: usize = 2000;
/// Losses that are told one by one.
const TOLD: usize = 8;

/// How requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// HTTP/1.1 over kept connections, taken in turn.
    Http1,
    /// HTTP/1.1, each request on a connection of its own.
    Http1Close,
    /// HTTP/2 with prior knowledge over a few connections.
    Http2,
    /// A connection, a line, its answer.
    Tcp,
    /// A connection on which the server speaks first; nothing is sent.
    Greeting,
}

impl Mode {
    /// What is asked and answered.
    pub(crate) const ALL: [Self; 4] = [Self::Http1, Self::Http1Close, Self::Http2, Self::Tcp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http1Close => "http1-close",
            Self::Http2 => "http2",
            Self::Tcp => "tcp",
            Self::Greeting => "greeting",
        }
    }

    fn parse(word: &str) -> anyhow::Result<Self> {
        let mut all = Self::ALL.into_iter().chain([Self::Greeting]);
        let names = Self::ALL.map(Self::name).join(", ");
        all.find(|mode| mode.name() == word)
            .with_context(|| format!("no mode `{word}`; there are {names}, greeting"))
    }
}

/// What is sent, where and how often.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) to: SocketAddr,
    pub(crate) mode: Mode,
    pub(crate) host: String,
    /// Requests in a second.
    pub(crate) rate: u32,
    pub(crate) count: u32,
    /// Whether it ends before that when its input does.
    pub(crate) attended: bool,
}

impl Load {
    fn read(given: &Arguments) -> anyhow::Result<Self> {
        let word = |name: &str| given.get(name).with_context(|| format!("--{name} is missing"));
        let load = Self {
            to: word("to")?.parse().context("--to")?,
            mode: Mode::parse(word("mode")?)?,
            host: word("host")?.to_owned(),
            rate: word("rate")?.parse().context("--rate")?,
            count: word("count")?.parse().context("--count")?,
            attended: given.has("attended"),
        };
        if load.rate == 0 || load.rate > 100_000 || load.count > 10_000_000 {
            bail!("at most 100000 requests in a second and 10000000 in all, and at least one in a second");
        }
        Ok(load)
    }

    /// The words that make another process of ours send this.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut words = vec![
            "load".to_owned(),
            format!("--to={}", self.to),
            format!("--mode={}", self.mode.name()),
            format!("--host={}", self.host),
            format!("--rate={}", self.rate),
            format!("--count={}", self.count),
        ];
        words.extend(self.attended.then(|| "--attended".to_owned()));
        words
    }
}

/// What became of the requests.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) answered: u64,
    /// How many were lost, by what happened to them.
    pub(crate) lost: BTreeMap<String, u64>,
    /// The first losses: when, in seconds, and what was seen.
    pub(crate) told: Vec<(f64, String)>,
    /// From the time a request was due until its answer was whole, in milliseconds: median, 99 %, longest.
    pub(crate) took: [f64; 3],
}

impl Tally {
    pub(crate) fn lost(&self) -> u64 {
        self.lost.values().sum()
    }

    fn lose(&mut self, at: Duration, loss: Loss) {
        *self.lost.entry(loss.kind).or_default() += 1;
        if self.told.len() < TOLD {
            self.told.push((at.as_secs_f64(), loss.seen));
        }
    }
}

/// A request that was not answered as it should.
#[derive(Debug)]
pub(crate) struct Loss {
    /// What losses are counted by.
    kind: String,
    /// The same in detail.
    seen: String,
}

impl Loss {
    fn new(kind: impl Into<String>, seen: impl std::fmt::Display) -> Self {
        let kind = kind.into();
        let seen = format!("{kind}: {seen}");
        Self { kind, seen }
    }

    /// The whole chain of an error.
    fn of(kind: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let chain = std::iter::successors(Some(error), |error| error.source());
        Self::new(kind, chain.map(ToString::to_string).collect::<Vec<_>>().join(": "))
    }
}

/// One request after another, each as a task.
enum Sender {
    Http1(http1::Sender),
    Http2(http2::Sender),
    Tcp(tcp::Sender),
}

impl Sender {
    fn new(load: &Load) -> Self {
        match load.mode {
            Mode::Http1 => Self::Http1(http1::Sender::new(load.to, &load.host, true)),
            Mode::Http1Close => Self::Http1(http1::Sender::new(load.to, &load.host, false)),
            Mode::Http2 => Self::Http2(http2::Sender::new(load.to, &load.host)),
            Mode::Tcp => Self::Tcp(tcp::Sender::new(load.to, true)),
            Mode::Greeting => Self::Tcp(tcp::Sender::new(load.to, false)),
        }
    }

    async fn send(&self) -> Result<(), Loss> {
        let sent = async {
            match self {
                Self::Http1(sender) => sender.send().await,
                Self::Http2(sender) => sender.send().await,
                Self::Tcp(sender) => sender.send().await,
            }
        };
        let late = |_| Loss::new("late", format!("no answer in {PATIENCE:?}"));
        tokio::time::timeout(PATIENCE, sent).await.map_err(late)?
    }
}

/// Sends and prints the tally as one line of JSON.
///
/// # Errors
/// When an option is wrong. Losses are no error here; they are counted.
pub(crate) fn run(given: &Arguments) -> anyhow::Result<()> {
    let load = Load::read(given)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tally = LocalSet::new().block_on(&runtime, open_loop(&load));
    say(&serde_json::to_string(&tally)?);
    Ok(())
}

async fn open_loop(load: &Load) -> Tally {
    let sender = Rc::new(Sender::new(load));
    let mut end = load.attended.then(crate::attended::input_ends);
    let (mut tally, mut took, mut running) = (Tally::default(), Vec::new(), JoinSet::new());
    let start = Stopwatch::start();
    for number in 0..load.count {
        let due = Duration::from_secs(1) * number / load.rate;
        tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
        if end.as_mut().is_some_and(|end| !matches!(end.try_recv(), Err(TryRecvError::Empty))) {
            break;
        }
        while let Some(ended) = running.try_join_next() {
            count(&mut tally, &mut took, ended);
        }
        if running.len() >= MOST {
            tally.lose(due, Loss::new("not sent", format!("{MOST} were under way")));
            continue;
        }
        let sender = Rc::clone(&sender);
        running.spawn_local(async move {
            let outcome = sender.send().await;
            (due, start.elapsed().saturating_sub(due), outcome)
        });
    }
    while let Some(ended) = running.join_next().await {
        count(&mut tally, &mut took, ended);
    }
    took.sort_unstable();
    let at = |part: usize| took.get((took.len() * part / 1000).min(took.len().saturating_sub(1)));
    tally.took = [500, 990, 1000].map(|part| at(part).map_or(0.0, |took| took.as_secs_f64() * 1000.0));
    tally
}

type Ended = (Duration, Duration, Result<(), Loss>);

fn count(tally: &mut Tally, all: &mut Vec<Duration>, ended: Result<Ended, tokio::task::JoinError>) {
    match ended {
        Ok((_, took, Ok(()))) => {
            tally.answered += 1;
            all.push(took);
        }
        Ok((due, took, Err(loss))) => tally.lose(due + took, loss),
        Err(error) => tally.lose(Duration::ZERO, Loss::of("task", &error)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// A server that answers so many connections well, and closes every further one unanswered.
    fn server(good: usize) -> SocketAddr {
        let listener = mesh_rt::net::listen_tcp("127.0.0.1:0".parse().unwrap(), false).unwrap();
        listener.set_nonblocking(false).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for number in 0..40 {
                let (mut stream, _) = listener.accept().unwrap();
                if number < good {
                    let _ = stream.read(&mut [0; 1024]);
                    let _ = stream.write_all(b"Welcome\nPONG\n");
                }
            }
        });
        address
    }

    #[test]
    fn what_is_lost_is_counted_and_told() {
        let load = Load {
            to: server(30),
            mode: Mode::Tcp,
            host: String::new(),
            rate: 1000,
            count: 40,
            attended: false,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tally = LocalSet::new().block_on(&runtime, open_loop(&load));
        assert_eq!((tally.answered, tally.lost(), tally.told.len()), (30, 10, TOLD), "{tally:?}");
    }

    #[test]
    fn a_load_is_the_same_after_it_was_words() {
        let load = Load {
            to: "10.0.0.1:80".parse().unwrap(),
            mode: Mode::Http1Close,
            host: "a.test".to_owned(),
            rate: 500,
            count: 20_000,
            attended: true,
        };
        let words = load.arguments();
        let read = Load::read(&Arguments::read(&words[1..], OPTIONS).unwrap()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{load:?}"));
        let none = [words[1].clone(), "--mode=http3".to_owned()];
        assert!(Load::read(&Arguments::read(&none, OPTIONS).unwrap()).is_err());
    }
}
