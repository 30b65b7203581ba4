//! A gRPC stream in both directions on which every message is repeated: HTTP/2 with prior knowledge, messages behind five
//! bytes (flag and length), a status in the trailers.

use anyhow::{Context, ensure};
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Bytes;
use tokio::net::TcpStream;

/// Bytes of a message that holds a number, with those before it.
const MESSAGE: usize = 5 + 8;

pub(super) struct Stream {
    send: SendStream<Bytes>,
    /// The answer's head, until it is there.
    head: Option<ResponseFuture>,
    body: Option<RecvStream>,
    read: Vec<u8>,
}

impl Stream {
    pub(super) async fn open(stream: TcpStream) -> anyhow::Result<Self> {
        let (client, connection) = h2::client::handshake(stream).await?;
        tokio::task::spawn_local(connection);
        let request = Request::post("http://server/conformance.Counter/Repeat")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let (head, send) = client.ready().await?.send_request(request, false)?;
        Ok(Self { send, head: Some(head), body: None, read: Vec::new() })
    }

    pub(super) async fn exchange(&mut self, number: u64) -> anyhow::Result<u64> {
        let mut message = vec![0, 0, 0, 0, 8];
        message.extend_from_slice(&number.to_be_bytes());
        self.send.send_data(message.into(), false)?;
        if let Some(head) = self.head.take() {
            let response = head.await?;
            ensure!(response.status().is_success(), "status {}", response.status());
            self.body = Some(response.into_body());
        }
        let body = self.body.as_mut().context("there was no answer")?;
        while self.read.len() < MESSAGE {
            let Some(bytes) = body.data().await else {
                anyhow::bail!("it ended: {:?}", body.trailers().await?);
            };
            let bytes = bytes?;
            body.flow_control().release_capacity(bytes.len())?;
            self.read.extend_from_slice(&bytes);
        }
        let message: Vec<u8> = self.read.drain(..MESSAGE).collect();
        let number = <[u8; 8]>::try_from(&message[5..]).context("eight bytes")?;
        Ok(u64::from_be_bytes(number))
    }
}

pub(super) async fn repeat(stream: TcpStream) -> anyhow::Result<()> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        tokio::task::spawn_local(async move {
            let mut body = request.into_body();
            let response = Response::builder().header("content-type", "application/grpc").body(())?;
            let mut send = respond.send_response(response, false)?;
            while let Some(bytes) = body.data().await {
                let bytes = bytes?;
                body.flow_control().release_capacity(bytes.len())?;
                send.send_data(bytes, false)?;
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            send.send_trailers(trailers)?;
            anyhow::Ok(())
        });
    }
    Ok(())
}
