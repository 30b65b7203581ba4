//! Spans against a receiver that shares no code with us: gRPC and messages from PyPI.

use std::process::Command;
use std::time::{Duration, SystemTime};

use mesh_model::Reason;
use mesh_telemetry::metrics::Labels;
use mesh_telemetry::otlp::Spans;
use mesh_telemetry::trace::TraceContext;
use mesh_telemetry::{Exchange, Side};
use testkit::process::Process;

const PARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn an_independent_receiver_reads_our_spans() {
    let Some(python) = testkit::config::python() else {
        return testkit::skip("no Python with opentelemetry-proto and grpcio");
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/peers/otlp_receiver.py");
    let mut receiver = Process::start(Command::new(python).arg(script)).expect("python starts");
    let line = receiver.wait_for("port ", Duration::from_secs(20)).expect("the receiver listens");
    let address = format!("127.0.0.1:{}", line.trim_start_matches("port ")).parse().expect("a port");

    let (spans, task) = Spans::export(address, "reviews.default");
    let parent = TraceContext::parse(PARENT).expect("a good context");
    let trace = TraceContext { span_id: [7; 8], ..parent };
    spans.record(&Exchange {
        side: Side::Inbound,
        began: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000),
        took: Duration::from_millis(12),
        method: "GET",
        authority: "reviews",
        path: "/reviews/0",
        status: 503,
        reason: Reason::NoEndpoint,
        received: 0,
        sent: 0,
        source_identity: Some("spiffe://cluster.local/ns/default/sa/productpage"),
        destination_identity: None,
        route: None,
        upstream: None,
        decision: None,
        trace,
        parent: Some(parent.span_id),
        labels: Labels::default(),
    });
    drop(spans);
    tokio::time::timeout(Duration::from_secs(20), task).await.expect("the exporter ends");

    let line = receiver.wait_for("span ", Duration::from_secs(20)).expect("a span arrives");
    let span: serde_json::Value = serde_json::from_str(line.trim_start_matches("span ")).expect("JSON");
    assert_eq!(span["trace_hex"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span["parent_hex"], "b7ad6b7169203331");
    assert_eq!(span["service"], "reviews.default");
    assert_eq!((&span["kind"], &span["name"]), (&"SPAN_KIND_SERVER".into(), &"GET".into()));
    assert_eq!(span["status"]["code"], "STATUS_CODE_ERROR");
    let nanos = |key: &str| span[key].as_str().and_then(|n| n.parse::<u64>().ok()).expect("a time");
    assert_eq!(nanos("endTimeUnixNano") - nanos("startTimeUnixNano"), 12_000_000);
    let attributes = span["attributes"].as_array().expect("attributes");
    let value = |key: &str| attributes.iter().find(|a| a["key"] == key).map(|a| a["value"].clone());
    assert_eq!(value("http.response.status_code").expect("status")["intValue"], "503");
    assert_eq!(value("url.path").expect("path")["stringValue"], "/reviews/0");
}
