//! Counters of requests: each worker writes its own, a scrape adds them up. Who counts holds the cells of a
//! series and takes no lock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mesh_model::Reason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{BUCKETS, Labels, MAX_SERIES};

/// What names a series of requests.
pub type SeriesKey = (Labels, u16, Reason);

/// The cells of one series of one worker.
#[derive(Debug, Default)]
pub struct Cells {
    requests: AtomicU64,
    microseconds: AtomicU64,
    buckets: [AtomicU64; BUCKETS.len() + 1],
    received: AtomicU64,
    sent: AtomicU64,
}

impl Cells {
    /// Counts a finished exchange: its duration, and the bytes of both bodies.
    pub fn count(&self, took: Duration, received: u64, sent: u64) {
        let add = |cell: &AtomicU64, by: u64| cell.fetch_add(by, Ordering::Relaxed);
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        add(&self.requests, 1);
        add(&self.microseconds, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        add(&self.buckets[bucket], 1);
        add(&self.received, received);
        add(&self.sent, sent);
    }
}

/// The series of one worker.
#[derive(Debug, Clone, Default)]
pub struct WorkerSeries(Arc<Mutex<HashMap<SeriesKey, Arc<Cells>>>>);

/// The series of all workers.
#[derive(Debug, Default)]
pub(super) struct Requests {
    workers: Mutex<Vec<WorkerSeries>>,
    names: Mutex<HashSet<SeriesKey>>,
}

impl Requests {
    /// Series for one more worker.
    pub(super) fn worker(&self) -> WorkerSeries {
        let series = WorkerSeries::default();
        locked(&self.workers).push(series.clone());
        series
    }

    /// The cells of a series; beyond the cap those of the overflow.
    pub(super) fn cells(&self, worker: &WorkerSeries, key: &SeriesKey) -> Arc<Cells> {
        let key = if self.admits(key) { key.clone() } else { overflow() };
        Arc::clone(locked(&worker.0).entry(key).or_default())
    }

    /// How many series there are, the overflow included.
    pub(super) fn len(&self) -> usize {
        locked(&self.names).len()
    }

    fn admits(&self, key: &SeriesKey) -> bool {
        let mut names = locked(&self.names);
        if names.contains(key) {
            return true;
        }
        let room = names.len() < MAX_SERIES;
        names.insert(if room { key.clone() } else { overflow() });
        room
    }

    fn merged(&self) -> BTreeMap<SeriesKey, Sum> {
        let mut merged: BTreeMap<SeriesKey, Sum> = BTreeMap::new();
        for worker in locked(&self.workers).iter() {
            for (key, cells) in locked(&worker.0).iter() {
                merged.entry(key.clone()).or_default().add(cells);
            }
        }
        merged
    }
}

fn overflow() -> SeriesKey {
    (Labels::all("overflow"), 0, Reason::Overloaded)
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cells of several workers together.
#[derive(Debug, Clone, Default)]
struct Sum {
    requests: u64,
    microseconds: u64,
    buckets: [u64; BUCKETS.len() + 1],
    received: u64,
    sent: u64,
}

impl Sum {
    fn add(&mut self, cells: &Cells) {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        self.requests += read(&cells.requests);
        self.microseconds += read(&cells.microseconds);
        self.received += read(&cells.received);
        self.sent += read(&cells.sent);
        self.buckets.iter_mut().zip(&cells.buckets).for_each(|(sum, cell)| *sum += read(cell));
    }

    fn join(&mut self, other: &Self) {
        self.requests += other.requests;
        self.microseconds += other.microseconds;
        self.received += other.received;
        self.sent += other.sent;
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(sum, more)| *sum += more);
    }
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let merged = self.merged();
        let mut edges: BTreeMap<&Labels, Sum> = BTreeMap::new();
        merged.iter().for_each(|((labels, ..), sum)| edges.entry(labels).or_default().join(sum));
        let mut requests =
            encoder.encode_descriptor("requests", "Finished requests", None, MetricType::Counter)?;
        for (key, sum) in &merged {
            requests
                .encode_family(&Answered(key))?
                .encode_counter::<NoLabelSet, _, u64>(&sum.requests, None)?;
        }
        let seconds = Some(&Unit::Seconds);
        let text = "Duration of requests";
        let mut duration =
            encoder.encode_descriptor("request_duration", text, seconds, MetricType::Histogram)?;
        for (labels, sum) in &edges {
            let bounds = BUCKETS.iter().copied().chain([f64::MAX]);
            let buckets: Vec<(f64, u64)> = bounds.zip(sum.buckets).collect();
            let total = sum.microseconds as f64 / 1e6;
            let edge = Edge(labels);
            let mut family = duration.encode_family(&edge)?;
            family.encode_histogram::<NoLabelSet>(total, sum.requests, &buckets, None)?;
        }
        bytes(&mut encoder, ("request_received", "Bytes of request bodies"), &edges, |sum| sum.received)?;
        bytes(&mut encoder, ("request_sent", "Bytes of answer bodies"), &edges, |sum| sum.sent)
    }
}

fn bytes(
    encoder: &mut DescriptorEncoder<'_>,
    (name, text): (&str, &str),
    edges: &BTreeMap<&Labels, Sum>,
    of: impl Fn(&Sum) -> u64,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, text, Some(&Unit::Bytes), MetricType::Counter)?;
    for (labels, sum) in edges {
        metric.encode_family(&Edge(labels))?.encode_counter::<NoLabelSet, _, u64>(&of(sum), None)?;
    }
    Ok(())
}

/// Who talked to whom.
#[derive(Debug)]
struct Edge<'k>(&'k Labels);

/// Who talked to whom, and how it ended.
#[derive(Debug)]
struct Answered<'k>(&'k SeriesKey);

pub(super) fn edge(labels: &Labels) -> [(&'static str, &str); 5] {
    [
        ("source_workload", &labels.source_workload),
        ("source_namespace", &labels.source_namespace),
        ("destination_workload", &labels.destination_workload),
        ("destination_namespace", &labels.destination_namespace),
        ("service", &labels.service),
    ]
}

impl EncodeLabelSet for Edge<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        edge(self.0).encode(encoder)
    }
}

impl EncodeLabelSet for Answered<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let (labels, status, reason) = self.0;
        edge(labels).encode(encoder)?;
        let flag = if *reason == Reason::Accepted { "" } else { reason.as_str() };
        [("code", status.to_string().as_str()), ("flag", flag)].encode(encoder)
    }
}
