//! What a proxy tells of its traffic: metrics, access log, spans, and decisions that can be asked for later.
//!
//! Telling never delays a request: every queue is bounded, what does not fit is dropped and counted.
#![doc = include_str!("../README.md")]

pub mod access_log;
pub mod decisions;
pub mod flow;
pub mod metrics;
pub mod otlp;
pub mod sampling;
pub mod trace;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_model::Reason;

use self::access_log::AccessLog;
use self::decisions::{DecisionId, Decisions};
use self::flow::Flow;
use self::metrics::{Labels, Metrics};
use self::otlp::Spans;
use self::trace::TraceContext;

/// Everything a proxy tells, shared by its workers.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {
    /// The access log.
    pub access_log: AccessLog,
    /// Recent decisions.
    pub decisions: Arc<Decisions>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Spans on their way out.
    pub spans: Spans,
}

/// Which side of an exchange a proxy is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// A gateway.
    Gateway,
    /// The destination's side.
    Inbound,
    /// The client's side.
    Outbound,
}

impl Side {
    /// The word used in logs and spans.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// One finished exchange.
#[derive(Debug, Clone)]
pub struct Exchange<'a> {
    /// The side.
    pub side: Side,
    /// When it began, by the wall clock.
    pub began: SystemTime,
    /// How long it took until the last byte.
    pub took: Duration,
    /// The method.
    pub method: &'a str,
    /// Host and port.
    pub authority: &'a str,
    /// The normalised path, without query.
    pub path: &'a str,
    /// The status of the answer.
    pub status: u16,
    /// Why this proxy answered or broke off; `Accepted` when the upstream's answer was passed on.
    pub reason: Reason,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// Identity of the client.
    pub source_identity: Option<&'a str>,
    /// Identity of the destination.
    pub destination_identity: Option<&'a str>,
    /// The route object, with its place.
    pub route: Option<String>,
    /// The upstream that answered.
    pub upstream: Option<SocketAddr>,
    /// The decision.
    pub decision: Option<DecisionId>,
    /// The trace that the exchange belongs to; its span id is this proxy's span.
    pub trace: TraceContext,
    /// The client's span, if it sent one.
    pub parent: Option<[u8; 8]>,
    /// The labels of its metrics.
    pub labels: Labels,
}

impl Telemetry {
    /// Tells of a finished exchange.
    pub fn finished(&self, exchange: &Exchange<'_>) {
        self.metrics.count(exchange);
        self.told(exchange, exchange.trace.sampled);
    }

    /// Tells of a connection or UDP session that is over.
    pub fn ended(&self, flow: &Flow<'_>) {
        self.metrics.count_flow(flow);
        self.access_log.write_flow(flow);
    }

    /// Tells of a finished exchange that is counted already; the proxy's own exporter gets its span where `sampled`.
    pub fn told(&self, exchange: &Exchange<'_>, sampled: bool) {
        self.access_log.write(exchange);
        if sampled {
            self.spans.record(exchange);
        }
    }

    /// Whether an exchange will be told in words, beyond its counters: only then are its texts needed.
    pub fn wants_words(&self, status: u16, reason: Reason, sampled: bool) -> bool {
        self.access_log.wants(status, reason) || (sampled && self.spans.is_enabled())
    }

    /// All metrics in the OpenMetrics text format, version 1.0.
    pub fn encode(&self) -> String {
        let dropped = self.access_log.dropped() + self.spans.dropped();
        self.metrics.telemetry_dropped.set(i64::try_from(dropped).unwrap_or(i64::MAX));
        self.metrics.encode()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use mesh_rt::random::Fast;

    /// An exchange of a test.
    pub(crate) fn exchange(path: &str, status: u16) -> Exchange<'_> {
        Exchange {
            side: Side::Inbound,
            began: SystemTime::UNIX_EPOCH,
            took: Duration::from_millis(3),
            method: "GET",
            authority: "reviews",
            path,
            status,
            reason: Reason::Accepted,
            received: 0,
            sent: 10,
            source_identity: None,
            destination_identity: None,
            route: None,
            upstream: None,
            decision: None,
            trace: TraceContext::root(&mut Fast::seeded(1), true),
            parent: None,
            labels: Labels::default(),
        }
    }
}
