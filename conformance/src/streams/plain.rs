//! Requests of HTTP/1.1 with their answers, one line with its answer, or a greeting.

use anyhow::ensure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a server that speaks first says.
pub(crate) const GREETING: &[u8] = b"220 ready\r\n";
/// Longer than any head or line that is sent here.
const LONGEST: usize = 16 << 10;

/// Requests until the client ends the connection.
pub(super) async fn request(mut stream: TcpStream) -> anyhow::Result<()> {
    loop {
        answered(&mut stream, b"\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
    }
}

pub(super) async fn line(mut stream: TcpStream) -> anyhow::Result<()> {
    answered(&mut stream, b"\n", b"PONG\n").await?;
    Ok(stream.shutdown().await?)
}

/// The server speaks first, as those of SMTP and MySQL do.
pub(super) async fn greet(mut stream: TcpStream) -> anyhow::Result<()> {
    stream.write_all(GREETING).await?;
    // The client goes when it has heard it.
    ensure!(stream.read(&mut [0]).await? == 0, "that is no end");
    Ok(())
}

async fn answered(stream: &mut TcpStream, end: &[u8], answer: &[u8]) -> anyhow::Result<()> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        ensure!(stream.read_buf(&mut read).await? > 0 && read.len() < LONGEST, "that is no question");
    }
    Ok(stream.write_all(answer).await?)
}
