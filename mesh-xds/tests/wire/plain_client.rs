//! A delta client that shares no code with the crate: HTTP/2 frames from h2, gRPC framing and protobuf by hand.
//! It counts every message and byte it receives.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use tokio::net::TcpStream;

/// One response, as far as a test looks at it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) type_url: String,
    pub(crate) nonce: String,
    /// Name, version and payload.
    pub(crate) resources: Vec<(String, String, Vec<u8>)>,
    pub(crate) removed: Vec<String>,
}

impl Received {
    pub(crate) fn names(&self) -> Vec<&str> {
        self.resources.iter().map(|(name, ..)| name.as_str()).collect()
    }
}

/// One delta stream.
pub(crate) struct PlainClient {
    send: h2::SendStream<Bytes>,
    receive: h2::RecvStream,
    buffer: Vec<u8>,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl PlainClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
        let request = http::Request::post(format!("http://test{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        let (response, send) = client.send_request(request, false).expect("a stream");
        let response = response.await.expect("headers");
        assert_eq!(response.status(), 200);
        let receive = response.into_body();
        Self { send, receive, buffer: Vec::new(), messages: 0, bytes: 0 }
    }

    pub(crate) fn subscribe(&mut self, type_url: &str, names: &[&str], held: &BTreeMap<String, String>) {
        let mut message = Vec::new();
        field(&mut message, 2, type_url.as_bytes());
        names.iter().for_each(|name| field(&mut message, 3, name.as_bytes()));
        for (name, version) in held {
            let mut entry = Vec::new();
            field(&mut entry, 1, name.as_bytes());
            field(&mut entry, 2, version.as_bytes());
            field(&mut message, 5, &entry);
        }
        self.write(&message);
    }

    pub(crate) fn ack(&mut self, response: &Received) {
        let mut message = Vec::new();
        field(&mut message, 2, response.type_url.as_bytes());
        field(&mut message, 6, response.nonce.as_bytes());
        self.write(&message);
    }

    pub(crate) fn nack(&mut self, response: &Received, text: &str) {
        let mut message = Vec::new();
        field(&mut message, 2, response.type_url.as_bytes());
        field(&mut message, 6, response.nonce.as_bytes());
        let mut status = vec![0x08, 13];
        field(&mut status, 2, text.as_bytes());
        field(&mut message, 7, &status);
        self.write(&message);
    }

    fn write(&mut self, message: &[u8]) {
        let length = u32::try_from(message.len()).expect("a small message");
        let frame = [&[0], &length.to_be_bytes()[..], message].concat();
        self.send.send_data(Bytes::from(frame), false).expect("the stream is open");
    }

    /// The next response; `None` when the server has ended the stream.
    pub(crate) async fn next(&mut self) -> Option<Received> {
        loop {
            if let Some(length) = self.buffer.get(1..5) {
                let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
                if self.buffer.len() >= 5 + length {
                    let rest = self.buffer.split_off(5 + length);
                    let frame = std::mem::replace(&mut self.buffer, rest);
                    self.messages += 1;
                    return Some(parse(&frame[5..]));
                }
            }
            let chunk = self.receive.data().await?.ok()?;
            self.bytes += chunk.len();
            self.buffer.extend_from_slice(&chunk);
            self.receive.flow_control().release_capacity(chunk.len()).expect("was received");
        }
    }

    /// The next response, acknowledged.
    pub(crate) async fn take(&mut self) -> Received {
        let response = self.next().await.expect("a response");
        self.ack(&response);
        response
    }

    /// The gRPC status with which the server ended the stream.
    pub(crate) async fn status(&mut self) -> String {
        assert_eq!(self.next().await, None);
        let trailers = self.receive.trailers().await.expect("a clean end").expect("trailers");
        trailers["grpc-status"].to_str().expect("a number").to_owned()
    }
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn field(out: &mut Vec<u8>, number: usize, bytes: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Calls `visit` for every length-delimited field. The messages of this protocol have no others here.
fn walk<'a>(mut rest: &'a [u8], mut visit: impl FnMut(usize, &'a [u8])) {
    let number = |rest: &mut &'a [u8]| {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (byte, tail) = rest.split_first().expect("a whole varint");
            *rest = tail;
            value |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    };
    while !rest.is_empty() {
        let tag = number(&mut rest);
        assert_eq!(tag & 7, 2, "field {} is not length-delimited", tag >> 3);
        let length = number(&mut rest);
        let (bytes, tail) = rest.split_at(length);
        rest = tail;
        visit(tag >> 3, bytes);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn parse(message: &[u8]) -> Received {
    let mut received = Received::default();
    walk(message, |number, bytes| match number {
        2 => received.resources.push(resource(bytes)),
        4 => received.type_url = text(bytes),
        5 => received.nonce = text(bytes),
        6 => received.removed.push(text(bytes)),
        _ => {}
    });
    received
}

fn resource(message: &[u8]) -> (String, String, Vec<u8>) {
    let (mut name, mut version, mut payload) = Default::default();
    walk(message, |number, bytes| match number {
        1 => version = text(bytes),
        2 => walk(bytes, |number, bytes| {
            if number == 2 {
                payload = bytes.to_vec();
            }
        }),
        3 => name = text(bytes),
        _ => {}
    });
    (name, version, payload)
}
