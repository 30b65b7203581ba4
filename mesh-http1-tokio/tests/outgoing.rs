//! A head that promised a length is followed by exactly that, or by nothing that looks complete.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body::{Body, Frame, SizeHint};
use mesh_http1_tokio::{
    Asked, Client, Connection, Fault, Framing, Outgoing, Problem, Version, Way, Wire, request_head,
    response_head,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A body that says how long it is and may lie.
struct Claims {
    length: Option<u64>,
    frames: Vec<Bytes>,
}

impl Body for Claims {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready((!self.frames.is_empty()).then(|| Ok(Frame::data(self.frames.remove(0)))))
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// What a client gets that is answered with this body.
async fn answered(length: Option<u64>, frames: &[&'static [u8]]) -> (Result<(), Fault>, String) {
    let (mut far, near) = tokio::io::duplex(1 << 20);
    let client = Client::new(Wire::new(Box::new(near), b""));
    let body = Claims { length, frames: frames.iter().map(|frame| Bytes::from_static(frame)).collect() };
    let (parts, body) = Response::new(body).into_parts();
    let way = Way { version: Version::Http11, persists: true, head_only: false };
    let mut answer =
        Outgoing::new(body, |out, body| response_head(out, (&parts, body), way, || std::time::UNIX_EPOCH).0);
    let sent = poll_fn(|cx| client.poll_send(&mut answer, cx)).await;
    drop(client);
    let mut text = String::new();
    far.read_to_string(&mut text).await.expect("text");
    (sent, text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

#[tokio::test(flavor = "current_thread")]
async fn a_body_is_as_long_as_its_head_promised() {
    const LARGE: &[u8] = &[b'x'; 100_000];
    assert_eq!(answered(Some(5), &[b"he", b"llo"]).await, (Ok(()), "hello".to_owned()));
    assert_eq!(answered(Some(6), &[b"hello"]).await.0, Err(Fault::Body), "too short");
    let (sent, text) = answered(Some(4), &[b"he", b"llo"]).await;
    assert_eq!(sent, Err(Fault::Body), "too long");
    assert!(text.len() < 5, "{text}");
    let (sent, text) = answered(None, &[b"", LARGE, b"end"]).await;
    assert_eq!(sent, Ok(()));
    assert_eq!(text, format!("186a0\r\n{}\r\n3\r\nend\r\n0\r\n\r\n", "x".repeat(100_000)));
}

/// Writes the head of a request.
fn head(method: &str, out: &mut Vec<u8>, body: &Claims) -> Framing {
    let (method, headers) = (method.parse::<Method>().expect("a method"), HeaderMap::new());
    let asked = Asked { method: &method, target: "/", host: ("a", Some(81)), headers: &headers };
    request_head(out, &asked, body)
}

/// Sends an empty request on a connection whose peer answers with this text; whether it may be used again.
async fn asked(answer: &str) -> Result<bool, Problem> {
    let (mut far, near) = tokio::io::duplex(1 << 16);
    far.write_all(answer.as_bytes()).await.expect("there is room");
    let connection = Connection::new(Box::new(near));
    let body = Claims { length: Some(0), frames: Vec::new() };
    connection.begin(Outgoing::new(body, |out, body| head("GET", out, body)));
    poll_fn(|cx| connection.poll_exchange(cx, false)).await?;
    while let Some(frame) = poll_fn(|cx| connection.poll_frame(cx)).await {
        frame.map_err(|_| Problem::Garbled)?;
    }
    Ok(connection.is_reusable() && connection.is_quiet())
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_is_used_again_only_when_no_end_is_in_doubt() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Ok(true)),
        ("HTTP/1.1 204 No Content\r\n\r\n", Ok(true)),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", Ok(true)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Ok(true)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n", Ok(false)),
        ("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", Ok(false)),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", Ok(false)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", Err(Problem::Garbled)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0 \r\n\r\n", Err(Problem::Garbled)),
    ] {
        assert_eq!(asked(answer).await, expected, "{answer:?}");
    }
}

#[test]
fn requests_say_how_long_they_are_when_they_must() {
    let written = |method: &str, length: Option<u64>| {
        let mut out = Vec::new();
        let framing = head(method, &mut out, &Claims { length, frames: Vec::new() });
        (framing, String::from_utf8(out).expect("text"))
    };
    for (method, length, framing, line) in [
        ("GET", Some(0), Framing::Length(0), ""),
        ("POST", Some(0), Framing::Length(0), "content-length: 0\r\n"),
        ("GET", Some(3), Framing::Length(3), "content-length: 3\r\n"),
        ("POST", None, Framing::Chunked, "transfer-encoding: chunked\r\n"),
    ] {
        let expected = format!("{method} / HTTP/1.1\r\nhost: a:81\r\n{line}\r\n");
        assert_eq!(written(method, length), (framing, expected));
    }
}
