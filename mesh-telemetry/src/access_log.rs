//! The access log: one JSON object per line, written by a thread of its own. A request has a `method`; a connection
//! or UDP session whose contents are not read has a `protocol` instead, and one line when it is over.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::SystemTime;

use mesh_model::Reason;
use serde::{Deserialize, Serialize};

use super::Exchange;
use super::flow::Flow;

/// Lines that may wait for the writer.
const QUEUE: usize = 8192;

/// Which exchanges are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All of them: the default of gateways.
    All,
    /// Those with a status of 500 or more, or that this proxy answered itself: the default of sidecars.
    Errors,
    /// None.
    #[default]
    Off,
}

/// A handle to the log. Cloning shares the writer.
#[derive(Debug, Clone, Default)]
pub struct AccessLog {
    level: Level,
    lines: Option<SyncSender<Vec<u8>>>,
    dropped: Arc<AtomicU64>,
}

/// One line. Text fields hold what the peer sent; JSON escapes every control byte.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    side: &'static str,
    trace_id: String,
    method: &'a str,
    authority: &'a str,
    path: &'a str,
    status: u16,
    reason: Reason,
    duration_seconds: f64,
    bytes_received: u64,
    bytes_sent: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<String>,
}

/// The line of a connection or UDP session.
#[derive(Serialize)]
struct FlowLine<'a> {
    time: String,
    side: &'static str,
    protocol: &'static str,
    client: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<&'a str>,
    service: &'a str,
    reason: Reason,
    duration_seconds: f64,
    bytes_received: u64,
    bytes_sent: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
}

impl AccessLog {
    /// A log whose lines go to a writer, on a thread that ends when the last handle is dropped.
    pub fn to(level: Level, out: impl Write + Send + 'static) -> Self {
        let (lines, receiver) = sync_channel(QUEUE);
        std::thread::spawn(move || write_all(&receiver, out));
        Self { level, lines: Some(lines), dropped: Arc::default() }
    }

    /// Lines that did not fit the queue.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes an exchange, if its level asks for it. Never waits.
    pub fn write(&self, exchange: &Exchange<'_>) {
        if self.wants(exchange.status, exchange.reason) {
            self.send(&Line::of(exchange));
        }
    }

    /// Writes a connection or UDP session that is over, if its level asks for it. Never waits.
    pub fn write_flow(&self, flow: &Flow<'_>) {
        if self.wants(0, flow.reason) {
            self.send(&FlowLine::of(flow));
        }
    }

    fn send(&self, line: &impl Serialize) {
        let Some(lines) = &self.lines else { return };
        let mut line = serde_json::to_vec(line).unwrap_or_default();
        line.push(b'\n');
        if lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether an exchange that ended so is logged.
    pub(super) fn wants(&self, status: u16, reason: Reason) -> bool {
        match self.level {
            Level::All => true,
            Level::Errors => status >= 500 || reason != Reason::Accepted,
            Level::Off => false,
        }
    }
}

impl<'a> Line<'a> {
    fn of(exchange: &'a Exchange<'_>) -> Self {
        Self {
            time: timestamp(exchange.began),
            side: exchange.side.as_str(),
            trace_id: exchange.trace.trace_hex(),
            method: exchange.method,
            authority: exchange.authority,
            path: exchange.path,
            status: exchange.status,
            reason: exchange.reason,
            duration_seconds: exchange.took.as_secs_f64(),
            bytes_received: exchange.received,
            bytes_sent: exchange.sent,
            source: exchange.source_identity,
            destination: exchange.destination_identity,
            route: exchange.route.as_deref(),
            upstream: exchange.upstream.map(|address| address.to_string()),
            decision: exchange.decision.map(|id| id.to_string()),
        }
    }
}

impl<'a> FlowLine<'a> {
    fn of(flow: &'a Flow<'_>) -> Self {
        Self {
            time: timestamp(flow.began),
            side: flow.side.as_str(),
            protocol: flow.protocol.as_str(),
            client: flow.client.to_string(),
            server_name: flow.server_name,
            service: &flow.labels.service,
            reason: flow.reason,
            duration_seconds: flow.took.as_secs_f64(),
            bytes_received: flow.received,
            bytes_sent: flow.sent,
            source: flow.source_identity,
            destination: flow.destination_identity,
            route: flow.route.as_deref(),
            upstream: flow.upstream.map(|address| address.to_string()),
        }
    }
}

/// Writes lines as they come, several in one call when they wait. A sink that fails loses its lines only.
fn write_all(lines: &Receiver<Vec<u8>>, mut out: impl Write) {
    while let Ok(mut batch) = lines.recv() {
        while let Some(line) = (batch.len() < 64 * 1024).then(|| lines.try_recv().ok()).flatten() {
            batch.extend(line);
        }
        let _ = out.write_all(&batch).and_then(|()| out.flush());
    }
}

/// A time in RFC 3339 with milliseconds, in UTC.
pub fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(i64::try_from(days).unwrap_or(i64::MAX));
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// Year, month and day of a number of days since 1970-01-01, by eras of 400 years that begin in March.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days.saturating_add(719_468);
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::exchange;
    use std::time::Duration;

    #[test]
    fn timestamps_are_rfc_3339() {
        let at = |seconds, ms| {
            timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(ms))
        };
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_827_696, 7), "2000-02-29T12:34:56.007Z");
        assert_eq!(at(1_795_219_199, 999), "2026-11-20T23:59:59.999Z");
    }

    #[test]
    fn hostile_text_stays_inside_its_line() {
        let (mut reader, writer) = std::io::pipe().expect("pipe");
        let log = AccessLog::to(Level::Errors, writer);
        log.write(&exchange("/quiet", 200));
        log.write(&exchange("/x\n\"}\u{1b}[31m", 503));
        drop(log);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).expect("read");
        assert_eq!(text.lines().count(), 1, "{text:?}");
        let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&line["status"], &line["path"]), (&503.into(), &"/x\n\"}\u{1b}[31m".into()));
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_slow_sink_drops_lines_and_counts_them() {
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = std::sync::mpsc::channel();
        let log = AccessLog::to(Level::All, Stuck(stuck));
        (0..QUEUE + 2000).for_each(|_| log.write(&exchange("/", 200)));
        assert!(log.dropped() > 0);
        drop(release);
    }
}
