//! A WebSocket (RFC 6455) on which every message is repeated.

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

pub(super) struct Stream(WebSocketStream<TcpStream>);

impl Stream {
    pub(super) async fn open(stream: TcpStream) -> anyhow::Result<Self> {
        let (stream, _) = tokio_tungstenite::client_async("ws://server/counter", stream).await?;
        Ok(Self(stream))
    }

    pub(super) async fn exchange(&mut self, number: u64) -> anyhow::Result<u64> {
        self.0.send(Message::text(number.to_string())).await?;
        match self.0.next().await.context("it ended")?? {
            Message::Text(text) => text.as_str().parse().context("no number"),
            other => bail!("there came {other:?}"),
        }
    }
}

pub(super) async fn repeat(stream: TcpStream) -> anyhow::Result<()> {
    let mut stream = tokio_tungstenite::accept_async(stream).await?;
    while let Some(message) = stream.next().await {
        match message? {
            Message::Close(_) => break,
            message if message.is_text() => stream.send(message).await?,
            _ => {}
        }
    }
    Ok(())
}
