//! Short connections: one request of HTTP/1.1 with its answer, or one line with its answer.

use anyhow::ensure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a server that speaks first says.
pub(crate) const GREETING: &[u8] = b"220 ready\r\n";
/// Longer than any head or line that is sent here.
const LONGEST: usize = 16 << 10;

pub(super) async fn request(stream: TcpStream) -> anyhow::Result<()> {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
    answered(stream, b"\r\n\r\n", answer).await
}

pub(super) async fn line(stream: TcpStream) -> anyhow::Result<()> {
    answered(stream, b"\n", b"PONG\n").await
}

/// The server speaks first, as those of SMTP and MySQL do.
pub(super) async fn greet(mut stream: TcpStream) -> anyhow::Result<()> {
    stream.write_all(GREETING).await?;
    // The client goes when it has heard it.
    ensure!(stream.read(&mut [0]).await? == 0, "that is no end");
    Ok(())
}

async fn answered(mut stream: TcpStream, end: &[u8], answer: &[u8]) -> anyhow::Result<()> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        ensure!(stream.read_buf(&mut read).await? > 0 && read.len() < LONGEST, "that is no question");
    }
    stream.write_all(answer).await?;
    Ok(stream.shutdown().await?)
}
