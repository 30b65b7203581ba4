//! Spans as OTLP has them, and an exporter over gRPC. A slow or absent receiver costs a bounded queue and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use mesh_model::Reason;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value as WireValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Status, status};
use prost::Message;
use tokio::sync::mpsc;

use super::{Exchange, Side};

pub use opentelemetry_proto::tonic::trace::v1::Span;

/// Spans that may wait.
const QUEUE: usize = 4096;
/// Spans in one message.
const BATCH: usize = 512;
/// How long spans are collected before they are sent.
const COLLECT: Duration = Duration::from_millis(200);
/// How long one export may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Pauses before an export is tried again; after the last one the batch is dropped.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// A handle to the exporter. Without a receiver nothing is recorded.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    queue: Option<mpsc::Sender<Span>>,
    dropped: Arc<AtomicU64>,
}

impl Spans {
    /// An exporter and the task that sends its spans; spawn the task on the control runtime. `service` is the
    /// resource's `service.name`.
    pub fn export(receiver: SocketAddr, service: &str) -> (Self, impl Future<Output = ()> + use<>) {
        let (queue, spans) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let resource = Resource { attributes: vec![text("service.name", service)], ..Resource::default() };
        let task = send_all(receiver, resource, spans, Arc::clone(&dropped));
        (Self { queue: Some(queue), dropped }, task)
    }

    /// Whether spans are exported at all.
    pub fn is_enabled(&self) -> bool {
        self.queue.is_some()
    }

    /// Spans that were not delivered.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Counts spans of another exporter that were not delivered.
    pub fn lost(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Queues the span of an exchange. Never waits.
    pub fn record(&self, exchange: &Exchange<'_>) {
        let Some(queue) = &self.queue else { return };
        if queue.try_send(span(exchange, None, Vec::new())).is_err() {
            self.lost(1);
        }
    }
}

async fn send_all(
    receiver: SocketAddr,
    resource: Resource,
    mut spans: mpsc::Receiver<Span>,
    dropped: Arc<AtomicU64>,
) {
    let Ok(endpoint) = tonic::transport::Endpoint::try_from(format!("http://{receiver}")) else { return };
    let mut client = TraceServiceClient::new(endpoint.connect_timeout(LIMIT).timeout(LIMIT).connect_lazy());
    let mut batch = Vec::new();
    while spans.recv_many(&mut batch, BATCH).await > 0 {
        tokio::time::sleep(COLLECT).await;
        while let Some(span) = (batch.len() < BATCH).then(|| spans.try_recv().ok()).flatten() {
            batch.push(span);
        }
        let count = batch.len() as u64;
        let request = message(resource.clone(), std::mem::take(&mut batch));
        if !deliver(&mut client, request).await {
            dropped.fetch_add(count, Ordering::Relaxed);
        }
    }
}

async fn deliver(
    client: &mut TraceServiceClient<tonic::transport::Channel>,
    request: ExportTraceServiceRequest,
) -> bool {
    for pause in PAUSES.iter().map(Some).chain([None]) {
        match (client.export(request.clone()).await, pause) {
            (Ok(_), _) => return true,
            (Err(_), Some(pause)) => tokio::time::sleep(*pause).await,
            (Err(_), None) => {}
        }
    }
    false
}

/// The gRPC method that takes spans.
pub const EXPORT_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// The path that takes spans over HTTP (OpenTelemetry Protocol, `OTLP/HTTP`).
pub const HTTP_PATH: &str = "/v1/traces";

/// The message that exports spans of a service, in Protobuf.
pub fn export_message(service: &str, spans: Vec<Span>) -> Vec<u8> {
    let resource = Resource { attributes: vec![text("service.name", service)], ..Resource::default() };
    message(resource, spans).encode_to_vec()
}

fn message(resource: Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: "mesh-proxy".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
    let resource = ResourceSpans { resource: Some(resource), scope_spans, schema_url: String::new() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

/// The span of an exchange, under this name or else its method. Further attributes stand in place of ours of their names.
pub fn span(exchange: &Exchange<'_>, name: Option<&str>, more: Vec<(Arc<str>, Value)>) -> Span {
    let begin = exchange.began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let kind = if exchange.side == Side::Outbound { SpanKind::Client } else { SpanKind::Server };
    let code = if exchange.status >= 500 { status::StatusCode::Error } else { status::StatusCode::Unset };
    let message = if exchange.reason == Reason::Accepted { "" } else { exchange.reason.as_str() };
    Span {
        trace_id: exchange.trace.trace_id.to_vec(),
        span_id: exchange.trace.span_id.to_vec(),
        parent_span_id: exchange.parent.map(|id| id.to_vec()).unwrap_or_default(),
        name: name.unwrap_or(exchange.method).to_owned(),
        kind: kind.into(),
        start_time_unix_nano: nanos(begin),
        end_time_unix_nano: nanos(begin + exchange.took),
        attributes: attributes(exchange, more),
        status: Some(Status { message: message.to_owned(), code: code.into() }),
        ..Span::default()
    }
}

/// The attributes of the OpenTelemetry HTTP conventions, and ours below `mesh.`.
fn attributes(exchange: &Exchange<'_>, more: Vec<(Arc<str>, Value)>) -> Vec<KeyValue> {
    let mut all = vec![
        text("http.request.method", exchange.method),
        text("server.address", exchange.authority),
        text("url.path", exchange.path),
        number("http.response.status_code", i64::from(exchange.status)),
        text("mesh.side", exchange.side.as_str()),
    ];
    all.extend(exchange.source_identity.map(|id| text("mesh.source.identity", id)));
    all.extend(exchange.destination_identity.map(|id| text("mesh.destination.identity", id)));
    all.extend(exchange.route.as_deref().map(|route| text("mesh.route", route)));
    all.extend(exchange.decision.map(|id| text("mesh.decision", &id.to_string())));
    all.retain(|ours| more.iter().all(|(name, _)| **name != ours.key));
    all.extend(more.into_iter().map(|(name, value)| match value {
        Value::Number(value) => number(&name, value),
        Value::Text(value) => text(&name, &value),
    }));
    all
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, WireValue::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, WireValue::IntValue(value))
}

fn attribute(key: &str, value: WireValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::exchange;

    #[test]
    fn further_attributes_stand_in_place_of_ours() {
        let more = vec![
            (Arc::from("url.path"), Value::Text("hidden".to_owned())),
            (Arc::from("tier"), Value::Number(3)),
        ];
        let made = span(&exchange("/a", 200), Some("edge"), more);
        let value = |key: &str| {
            let found: Vec<_> = made.attributes.iter().filter(|a| a.key == key).collect();
            assert_eq!(found.len(), 1, "{key}");
            found[0].value.clone().and_then(|value| value.value)
        };
        assert_eq!(made.name, "edge");
        assert_eq!(value("url.path"), Some(WireValue::StringValue("hidden".to_owned())));
        assert_eq!(value("tier"), Some(WireValue::IntValue(3)));
        assert_eq!(value("http.request.method"), Some(WireValue::StringValue("GET".to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn an_absent_receiver_costs_a_bounded_queue_and_is_counted() {
        let nowhere: SocketAddr = "127.0.0.1:1".parse().expect("address");
        let (spans, task) = Spans::export(nowhere, "test");
        (0..QUEUE + 100).for_each(|_| spans.record(&exchange("/", 200)));
        assert_eq!(spans.dropped(), 100);
        let counter = Arc::clone(&spans.dropped);
        drop(spans);
        task.await;
        assert_eq!(counter.load(Ordering::Relaxed), QUEUE as u64 + 100);
    }
}
