//! Spans on their way to the receivers that policies name, as requests of the proxy itself: to a service or a name
//! outside, secured as any other. A slow or absent receiver costs a bounded queue of its own and nothing else.

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Uri};
use mesh_model::backend::Target;
use mesh_model::tracing::{Recording, Tracing};
use mesh_model::{AppProtocol, Mesh, ObjectName, Transport};
use tokio::sync::mpsc;

use super::call::Head;
use super::{Downstream, Stack};
use crate::layers::exchange::{Answer, exchange};
use crate::layers::forward::Plan;
use crate::layers::headers::may_edit;
use crate::telemetry::otlp::{EXPORT_PATH, HTTP_PATH, Span, export_message};
use crate::upstream::Connect;

/// A span on its way.
pub(crate) struct Export {
    /// Who receives it.
    pub(crate) policy: Arc<Tracing>,
    /// Where the request entered: what the proxy shows there it shows to the receiver.
    pub(crate) downstream: Arc<Downstream>,
    /// The span.
    pub(crate) span: Span,
}

/// Spans of a worker that may wait.
pub(super) const QUEUE: usize = 4096;
/// Spans in one message.
const BATCH: usize = 512;
/// How long spans are collected before they are sent.
const COLLECT: Duration = Duration::from_millis(200);
/// How long one try may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Pauses before an export is tried again; after the last one the batch is dropped.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// Sends spans in batches until nobody records any more.
pub(super) async fn export_all<C: Connect>(stack: Weak<Stack<C>>, mut spans: mpsc::Receiver<Export>) {
    let mut batch: Vec<Export> = Vec::new();
    while spans.recv_many(&mut batch, BATCH).await > 0 {
        tokio::time::sleep(COLLECT).await;
        while let Some(span) = (batch.len() < BATCH).then(|| spans.try_recv().ok()).flatten() {
            batch.push(span);
        }
        let Some(stack) = stack.upgrade() else { return };
        while let Some(Export { policy, downstream, span }) = batch.pop() {
            let is_same = |other: &mut Export| Arc::ptr_eq(&other.policy, &policy) || other.policy == policy;
            let spans = batch.extract_if(.., is_same).map(|other| other.span).chain([span]).collect();
            start(&stack, (&policy, downstream), spans);
        }
    }
}

/// Sends one message, unless as many are on their way to its receiver as may be.
fn start<C: Connect>(
    stack: &Rc<Stack<C>>,
    (policy, downstream): (&Arc<Tracing>, Arc<Downstream>),
    spans: Vec<Span>,
) {
    let count = spans.len() as u64;
    let lost = |stack: &Stack<C>| stack.observer.telemetry.spans.lost(count);
    let Some(recording) = &policy.recording else { return };
    let Target::Service { service, port } = &recording.receiver else { return lost(stack) };
    let Some(place) = stack.exports.place(service, *port) else { return lost(stack) };
    let message = Bytes::from(export_message(&recording.service_name, spans));
    let to = (service.clone(), *port, downstream);
    let (stack, policy) = (Rc::clone(stack), Arc::clone(policy));
    tokio::task::spawn_local(async move {
        let _place = place;
        let Some(recording) = &policy.recording else { return };
        for pause in PAUSES.iter().map(Some).chain([None]) {
            let sent = tokio::time::timeout(LIMIT, send(&stack, recording, &to, &message)).await;
            match (sent, pause) {
                (Ok(true), _) => return,
                (_, Some(pause)) => tokio::time::sleep(*pause).await,
                (_, None) => {}
            }
        }
        stack.observer.telemetry.spans.lost(count);
    });
}

/// Whether the receiver took the message.
async fn send<C: Connect>(
    stack: &Stack<C>,
    recording: &Recording,
    (service, port, downstream): &(ObjectName, u16, Arc<Downstream>),
    message: &Bytes,
) -> bool {
    let mesh = stack.mesh.current();
    let declared = mesh.service(service).and_then(|s| s.port(*port, Transport::Tcp)).map(|p| p.protocol);
    let grpc = declared != Some(AppProtocol::Http1);
    let Some(head) = head(&mesh, recording, (service, *port), grpc) else { return false };
    drop(mesh);
    let plan = Plan::own((service, *port), grpc, &downstream.scope);
    let body = if grpc { framed(message) } else { message.clone() };
    exchange(stack, &plan, head, body).await.is_ok_and(|answer| took(&answer, grpc))
}

fn head(mesh: &Mesh, recording: &Recording, (service, port): (&ObjectName, u16), grpc: bool) -> Option<Head> {
    let mut headers = HeaderMap::new();
    for line in recording.headers.iter().filter(|line| may_edit(&line.name)) {
        headers.append(line.name.clone(), line.value.clone());
    }
    let (path, kind) = match grpc {
        true => (EXPORT_PATH, "application/grpc"),
        false => (HTTP_PATH, "application/x-protobuf"),
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let authority = mesh.authority_of(service, port).parse().ok()?;
    let uri = Uri::from_static(path);
    Some(Head { method: Method::POST, authority, uri, headers, upgrade: None, trailers: grpc })
}

/// The message of a call, with a flag for compression and its length (gRPC over HTTP/2, `Length-Prefixed-Message`).
fn framed(message: &Bytes) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    // A batch is bounded, and so is its message.
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    framed.freeze()
}

fn took(answer: &Answer, grpc: bool) -> bool {
    let said = |headers: &HeaderMap| headers.get("grpc-status").map(|status| status.as_bytes() == b"0");
    let status = answer.trailers.as_ref().and_then(said).or_else(|| said(&answer.head.headers));
    answer.head.status.is_success() && (!grpc || status == Some(true))
}
