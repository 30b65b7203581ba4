//! What the control plane counts, for `/metrics`: names and labels are words of this program, so that their number is
//! bounded.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Count {
    /// Parts of gateways that the server did not take.
    GatewayFailures,
    /// Parts of gateways that the server took.
    GatewayWrites,
    /// Lists that were older than what had been seen.
    ListsRefused,
    /// Status writes that somebody else's write overtook.
    StatusConflicts,
    /// Status writes that failed and are tried again.
    StatusFailures,
    /// Statuses that the server refuses as they are.
    StatusRefusals,
    /// Statuses that the server took.
    StatusWrites,
    /// Watches that ended by an error and were begun again.
    WatchRestarts,
    /// Watches whose version the server had forgotten, so that everything was read anew.
    WatchesForgotten,
}

impl Count {
    const ALL: [Self; 9] = [
        Self::GatewayFailures,
        Self::GatewayWrites,
        Self::ListsRefused,
        Self::StatusConflicts,
        Self::StatusFailures,
        Self::StatusRefusals,
        Self::StatusWrites,
        Self::WatchRestarts,
        Self::WatchesForgotten,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::GatewayFailures => "mesh_controller_gateway_failures_total",
            Self::GatewayWrites => "mesh_controller_gateway_writes_total",
            Self::ListsRefused => "mesh_controller_lists_refused_total",
            Self::StatusConflicts => "mesh_controller_status_conflicts_total",
            Self::StatusFailures => "mesh_controller_status_failures_total",
            Self::StatusRefusals => "mesh_controller_status_refusals_total",
            Self::StatusWrites => "mesh_controller_status_writes_total",
            Self::WatchRestarts => "mesh_controller_watch_restarts_total",
            Self::WatchesForgotten => "mesh_controller_watches_forgotten_total",
        }
    }

    const fn help(self) -> &'static str {
        match self {
            Self::GatewayFailures => "Parts of gateways that could not be applied, by kind.",
            Self::GatewayWrites => "Parts of gateways that were applied, by kind.",
            Self::ListsRefused => "Lists that were older than what had been seen, by kind.",
            Self::StatusConflicts => "Status writes that another write overtook, by kind.",
            Self::StatusFailures => "Status writes that failed and are tried again, by kind.",
            Self::StatusRefusals => "Statuses that the API server refuses as they are, by kind.",
            Self::StatusWrites => "Statuses that were written, by kind.",
            Self::WatchesForgotten => "Watches whose version the API server had forgotten, by kind.",
            Self::WatchRestarts => "Lists and watches that failed and were begun again, by kind.",
        }
    }
}

/// All counters, by kind of objects.
#[derive(Debug, Default)]
pub struct Counters(Mutex<BTreeMap<(Count, &'static str), u64>>);

impl Counters {
    /// Counts one.
    pub fn add(&self, count: Count, kind: &'static str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *all.entry((count, kind)).or_default() += 1;
    }

    /// The text format of Prometheus, version 0.0.4.
    pub(super) fn write(&self, text: &mut String) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for count in Count::ALL {
            let _ = writeln!(text, "# HELP {0} {1}\n# TYPE {0} counter", count.name(), count.help());
            for ((_, kind), value) in all.range((count, "")..).take_while(|((of, _), _)| *of == count) {
                let _ = writeln!(text, "{}{{kind=\"{kind}\"}} {value}", count.name());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_shown_with_its_kinds_only() {
        let counters = Counters::default();
        counters.add(Count::StatusWrites, "Gateway");
        counters.add(Count::StatusWrites, "Gateway");
        counters.add(Count::WatchRestarts, "Secret");
        let mut text = String::new();
        counters.write(&mut text);
        let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                "mesh_controller_status_writes_total{kind=\"Gateway\"} 2",
                "mesh_controller_watch_restarts_total{kind=\"Secret\"} 1"
            ]
        );
        assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE")).count(), Count::ALL.len());
    }
}
