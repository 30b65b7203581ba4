//! A connection, a line, and the answer to it: what is lost is a connection.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Loss;
use crate::streams::GREETING;

/// The backend greets, then answers one word with another.
const ASKED: &[u8] = b"PING\n";
const ANSWER: &[u8] = b"PONG\n";
/// Longer than any greeting.
const LONGEST: usize = 1024;

pub(super) struct Sender {
    to: SocketAddr,
    /// Whether the client speaks first.
    asks: bool,
}

impl Sender {
    pub(super) fn new(to: SocketAddr, asks: bool) -> Self {
        Self { to, asks }
    }

    pub(super) async fn send(&self) -> Result<(), Loss> {
        let mut stream = TcpStream::connect(self.to).await.map_err(|error| Loss::of("connecting", &error))?;
        let wanted = if self.asks { ANSWER } else { GREETING };
        if self.asks {
            stream.write_all(ASKED).await.map_err(|error| Loss::of("sending", &error))?;
        }
        let mut read = Vec::new();
        while !read.ends_with(wanted) {
            match stream.read_buf(&mut read).await {
                Ok(0) => return Err(Loss::new("ended", String::from_utf8_lossy(&read))),
                Ok(_) if read.len() <= LONGEST => {}
                Ok(_) => return Err(Loss::new("answer", "too long")),
                Err(error) => return Err(Loss::of("answer", &error)),
            }
        }
        Ok(())
    }
}
