//! The counters of a proxy, in Prometheus text. Series never grow with hosts or paths, and there is a cap.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};

use mesh_model::Reason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::Exchange;
use super::flow::Flow;

mod flows;
mod requests;

pub use requests::{Cells, SeriesKey, WorkerSeries};

use flows::Flows;
use requests::Requests;

/// Most series of requests in one proxy; what comes after is counted under `overflow`.
pub const MAX_SERIES: usize = 5000;
/// Upper bounds of the duration buckets, in seconds.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0];

/// Who talked to whom. Only names that the configuration holds; `unknown` for everything else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels {
    /// The client's service account or workload.
    pub source_workload: Arc<str>,
    /// Its namespace.
    pub source_namespace: Arc<str>,
    /// The destination's workload.
    pub destination_workload: Arc<str>,
    /// Its namespace.
    pub destination_namespace: Arc<str>,
    /// The service, as `namespace/name`.
    pub service: Arc<str>,
}

impl Labels {
    fn all(value: &str) -> Self {
        let value: Arc<str> = Arc::from(value);
        Self {
            source_workload: Arc::clone(&value),
            source_namespace: Arc::clone(&value),
            destination_workload: Arc::clone(&value),
            destination_namespace: Arc::clone(&value),
            service: value,
        }
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::all("unknown")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// The counters of a proxy, shared by its workers.
#[derive(Debug)]
pub struct Metrics {
    registry: RwLock<Registry>,
    requests: Arc<Requests>,
    /// For exchanges that no worker counts.
    others: WorkerSeries,
    flows: Arc<Flows>,
    refused: Family<ReasonLabels, Counter>,
    questions: Family<OutcomeLabels, Counter>,
    /// Downstream connections that are open.
    pub connections: Gauge,
    /// Upstream connections that had to be opened because none was idle.
    pub upstream_connects: Counter,
    /// Copies that were not sent because a mirror was slow.
    pub mirrors_dropped: Counter,
    /// Tries after the first.
    pub retries: Counter,
    /// Seconds since the configuration last changed.
    pub config_age: Gauge<f64, AtomicU64>,
    /// Seconds until the proxy's certificate expires.
    pub svid_expiry: Gauge<f64, AtomicU64>,
    /// Access log lines and spans that were dropped.
    pub telemetry_dropped: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let requests: Arc<Requests> = Arc::default();
        let metrics = Self {
            registry: RwLock::new(Registry::with_prefix("mesh")),
            others: requests.worker(),
            requests,
            flows: Arc::default(),
            refused: Family::default(),
            questions: Family::default(),
            connections: Gauge::default(),
            upstream_connects: Counter::default(),
            mirrors_dropped: Counter::default(),
            retries: Counter::default(),
            config_age: Gauge::default(),
            svid_expiry: Gauge::default(),
            telemetry_dropped: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(Arc::clone(&self.requests)));
        registry.register_collector(Box::new(Arc::clone(&self.flows)));
        registry.register(
            "connections_refused",
            "Connections refused before any request",
            self.refused.clone(),
        );
        registry.register(
            "dns_questions",
            "Questions for names, by what became of them",
            self.questions.clone(),
        );
        registry.register("connections_open", "Open downstream connections", self.connections.clone());
        registry.register("upstream_connects", "Upstream connections opened", self.upstream_connects.clone());
        registry.register("mirrors_dropped", "Mirror copies not sent", self.mirrors_dropped.clone());
        registry.register("retries", "Tries after the first", self.retries.clone());
        registry.register_with_unit(
            "config_age",
            "Age of the configuration",
            Unit::Seconds,
            self.config_age.clone(),
        );
        registry.register_with_unit(
            "svid_expiry",
            "Time until the certificate expires",
            Unit::Seconds,
            self.svid_expiry.clone(),
        );
        registry.register(
            "telemetry_dropped",
            "Log lines and spans not written",
            self.telemetry_dropped.clone(),
        );
    }

    /// Counts a finished exchange that no worker counts in cells of its own.
    pub fn count(&self, exchange: &Exchange<'_>) {
        let key = (exchange.labels.clone(), exchange.status, exchange.reason);
        let cells = self.requests.cells(&self.others, &key);
        cells.count(exchange.took, exchange.received, exchange.sent);
    }

    /// Counts a connection or UDP session that is over.
    pub(super) fn count_flow(&self, flow: &Flow<'_>) {
        self.flows.count(flow);
    }

    /// Series for one more worker.
    pub fn worker(&self) -> WorkerSeries {
        self.requests.worker()
    }

    /// The cells of a worker's series. A worker keeps them, so that it asks once.
    pub fn cells(&self, worker: &WorkerSeries, key: &SeriesKey) -> Arc<Cells> {
        self.requests.cells(worker, key)
    }

    /// Counts a connection that was refused before any request.
    pub fn refuse(&self, reason: Reason) {
        self.refused.get_or_create(&ReasonLabels { reason: reason.as_str() }).inc();
    }

    /// Counts a question for a name by what became of it.
    pub fn question(&self, outcome: &'static str) {
        self.questions.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// How many series of requests there are.
    pub fn series(&self) -> usize {
        self.requests.len()
    }

    /// All metrics in the OpenMetrics text format, version 1.0.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        encode(&mut text, &registry).expect("writing to a String cannot fail");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::exchange;

    #[test]
    fn series_stop_growing_at_the_cap_and_overflow_is_counted() {
        let metrics = Metrics::default();
        for n in 0..MAX_SERIES + 500 {
            let mut one = exchange("/", 200);
            one.labels.service = Arc::from(format!("n/s{n}"));
            metrics.count(&one);
        }
        assert_eq!(metrics.series(), MAX_SERIES + 1);
        let text = metrics.encode();
        let overflow =
            text.lines().find(|l| l.starts_with("mesh_requests_total{source_workload=\"overflow\""));
        assert!(overflow.is_some_and(|line| line.ends_with(" 500")), "{overflow:?}");
    }

    #[test]
    fn hosts_and_paths_make_no_series() {
        let metrics = Metrics::default();
        (0..10_000).for_each(|n| metrics.count(&exchange(&format!("/{n}"), 200)));
        assert_eq!(metrics.series(), 1);
        assert!(metrics.encode().ends_with("# EOF\n"));
    }
}
