//! Counters of connections and UDP sessions whose contents are not read. They are few beside requests: one lock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use mesh_model::Reason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::requests::edge;
use super::{Labels, MAX_SERIES};
use crate::flow::{Flow, Protocol};

/// The series of all workers.
#[derive(Debug, Default)]
pub(super) struct Flows(Mutex<BTreeMap<Key, Sum>>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    labels: Labels,
    protocol: Protocol,
    reason: Reason,
}

#[derive(Debug, Default)]
struct Sum {
    ended: u64,
    received: u64,
    sent: u64,
}

impl Flows {
    /// Counts one that is over; beyond the cap under the overflow.
    pub(super) fn count(&self, flow: &Flow<'_>) {
        let mut series = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = Key { labels: flow.labels.clone(), protocol: flow.protocol, reason: flow.reason };
        if series.len() >= MAX_SERIES && !series.contains_key(&key) {
            key.labels = Labels::all("overflow");
            key.reason = Reason::Overloaded;
        }
        let sum = series.entry(key).or_default();
        sum.ended += 1;
        sum.received += flow.received;
        sum.sent += flow.sent;
    }
}

/// Which of its counts a metric shows.
type Count = fn(&Sum) -> u64;

impl Collector for Flows {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let series = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kinds: [(&str, &str, Option<&Unit>, Count); 3] = [
            ("flows", "Ended connections and UDP sessions whose contents are not read", None, |sum| {
                sum.ended
            }),
            ("flow_received", "Bytes of such from clients", Some(&Unit::Bytes), |sum| sum.received),
            ("flow_sent", "Bytes of such to clients", Some(&Unit::Bytes), |sum| sum.sent),
        ];
        for (name, text, unit, of) in kinds {
            let mut metric = encoder.encode_descriptor(name, text, unit, MetricType::Counter)?;
            for (key, sum) in series.iter() {
                metric.encode_family(key)?.encode_counter::<NoLabelSet, _, u64>(&of(sum), None)?;
            }
        }
        Ok(())
    }
}

impl EncodeLabelSet for Key {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        edge(&self.labels).encode(encoder)?;
        let flag = if self.reason == Reason::Accepted { "" } else { self.reason.as_str() };
        [("protocol", self.protocol.as_str()), ("flag", flag)].encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::Side;

    #[test]
    fn series_of_flows_stop_growing_at_the_cap() {
        let flows = Flows::default();
        for n in 0..MAX_SERIES + 500 {
            let labels = Labels { service: Arc::from(format!("n/s{n}")), ..Labels::default() };
            flows.count(&Flow {
                side: Side::Gateway,
                protocol: Protocol::Tcp,
                began: SystemTime::UNIX_EPOCH,
                took: Duration::ZERO,
                reason: Reason::Accepted,
                received: 1,
                sent: 2,
                client: ([127, 0, 0, 1], 1).into(),
                server_name: None,
                source_identity: None,
                destination_identity: None,
                route: None,
                upstream: None,
                labels,
            });
        }
        let series = flows.0.lock().expect("nobody panicked");
        assert_eq!(series.len(), MAX_SERIES + 1);
        let overflow = series.iter().find(|(key, _)| &*key.labels.service == "overflow");
        assert!(overflow.is_some_and(|(_, sum)| (sum.ended, sum.received, sum.sent) == (500, 500, 1000)));
    }
}
