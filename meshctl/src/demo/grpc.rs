//! The echo as a gRPC service, `mesh.demo.v1.Echo`: `Say` takes one message, `Chat` any number both ways. Framing
//! and trailers by hand over HTTP/2, so that tests see exactly what is on the wire.
//!
//! ```proto
//! message EchoRequest { string message = 1; }
//! message EchoReply { string message = 1; string name = 2; string version = 3; map<string, string> headers = 4; }
//! service Echo {
//!   rpc Say(EchoRequest) returns (EchoReply);
//!   rpc Chat(stream EchoRequest) returns (stream EchoReply);
//! }
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::http::{App, Body};

/// The longest message that is accepted, gRPC's usual limit.
const LONGEST: usize = 4 << 20;

/// A flag and a length stand before each message.
const PREFIX: usize = 5;

const INVALID_ARGUMENT: u8 = 3;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;

/// What a client says.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EchoRequest {
    /// Anything.
    #[prost(string, tag = "1")]
    pub(crate) message: String,
}

/// What it hears.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EchoReply {
    /// The same.
    #[prost(string, tag = "1")]
    pub(crate) message: String,
    /// Who answered.
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    /// In which version.
    #[prost(string, tag = "3")]
    pub(crate) version: String,
    /// The metadata that arrived.
    #[prost(btree_map = "string, string", tag = "4")]
    pub(crate) headers: BTreeMap<String, String>,
}

/// Whether the request is a gRPC call.
pub(super) fn is(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    grpc && request.version() == Version::HTTP_2
}

pub(super) fn answer(app: &Arc<App>, request: Request<Incoming>) -> Response<Body> {
    let (send, receive) = mpsc::channel(8);
    let method = request.uri().path().to_owned();
    let app = app.clone();
    let work = async move {
        let outcome = match method.as_str() {
            "/mesh.demo.v1.Echo/Chat" => chat(&app, request, &send, usize::MAX).await,
            "/mesh.demo.v1.Echo/Say" => chat(&app, request, &send, 1).await,
            _ => Err(Failure { code: UNIMPLEMENTED, message: "no such method" }),
        };
        let failure = outcome.err().unwrap_or(Failure { code: 0, message: "" });
        let _ = send.send(Ok(Frame::trailers(failure.trailers()))).await;
    };
    // Dropping the response body drops the receiver, which ends the work at its next reply.
    tokio::spawn(work);
    let mut response = Response::new(StreamBody::new(ReceiverStream::new(receive).boxed()).boxed_unsync());
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// How a call ends that does not end well.
struct Failure {
    code: u8,
    message: &'static str,
}

impl Failure {
    fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(u16::from(self.code)));
        if !self.message.is_empty() {
            trailers.insert("grpc-message", HeaderValue::from_static(self.message));
        }
        trailers
    }
}

type Replies = mpsc::Sender<Result<Frame<Bytes>, hyper::Error>>;

/// Answers each message as it arrives, `most` of them.
async fn chat(app: &App, request: Request<Incoming>, replies: &Replies, most: usize) -> Result<(), Failure> {
    let (head, mut body) = request.into_parts();
    let mut received = BytesMut::new();
    let mut answered = 0;
    while let Some(frame) = body.frame().await {
        let broken = |_| Failure { code: INTERNAL, message: "the request broke off" };
        let Ok(piece) = frame.map_err(broken)?.into_data() else { continue };
        received.extend_from_slice(&piece);
        while answered < most
            && let Some(message) = next(&mut received)?
        {
            answered += 1;
            let reply = reply(app, &head.headers, message);
            if replies.send(Ok(Frame::data(reply))).await.is_err() {
                return Ok(());
            }
        }
    }
    let complete = received.is_empty() && (most > 1 || answered == 1);
    if complete { Ok(()) } else { Err(Failure { code: INVALID_ARGUMENT, message: "not a whole message" }) }
}

/// Takes a whole message from what was received, if there is one.
fn next(received: &mut BytesMut) -> Result<Option<EchoRequest>, Failure> {
    if received.len() < PREFIX {
        return Ok(None);
    }
    if received[0] != 0 {
        return Err(Failure { code: UNIMPLEMENTED, message: "no compression" });
    }
    let length = u32::from_be_bytes([received[1], received[2], received[3], received[4]]) as usize;
    if length > LONGEST {
        return Err(Failure { code: RESOURCE_EXHAUSTED, message: "the message is too long" });
    }
    if received.len() < PREFIX + length {
        return Ok(None);
    }
    received.advance(PREFIX);
    let message = EchoRequest::decode(received.split_to(length));
    message.map(Some).map_err(|_| Failure { code: INVALID_ARGUMENT, message: "not an EchoRequest" })
}

fn reply(app: &App, headers: &HeaderMap, request: EchoRequest) -> Bytes {
    let mut shown = BTreeMap::new();
    for (name, value) in headers {
        shown.insert(name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let (name, version) = (app.name.clone(), app.version.clone());
    frame(&EchoReply { message: request.message, name, version, headers: shown })
}

/// A message with its prefix.
pub(super) fn frame(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.put_slice(&message.encode_to_vec());
    frame.freeze()
}
