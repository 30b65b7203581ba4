//! The ClientHello, read without answering it: server name and ALPN. rustls parses, so that what is seen here
//! is what a handshake on the same bytes would see.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

/// Most bytes that a ClientHello may take, records included.
const MAX_HELLO: usize = 64 << 10;
/// The content type of TLS handshake records (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// What a ClientHello says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// The server name, lower case; `None` when there is none or it is an address.
    pub sni: Option<Arc<str>>,
    /// The application protocols in the client's order.
    pub alpn: Vec<Vec<u8>>,
}

impl Hello {
    /// Whether the client offers this application protocol.
    pub fn offers(&self, protocol: &[u8]) -> bool {
        self.alpn.iter().any(|offered| offered == protocol)
    }
}

/// What a connection begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstBytes {
    /// Something else than TLS; nothing when the peer closed or stayed silent.
    Other,
    /// A whole ClientHello.
    Tls(Hello),
}

/// Why the beginning of a connection could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// The connection ended in the middle of the ClientHello.
    #[error("the connection ended within the ClientHello")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// It begins as TLS and is none.
    #[error("the ClientHello is malformed: {0}")]
    Malformed(rustls::Error),
    /// The ClientHello did not come in time.
    #[error("the ClientHello did not come in time")]
    TimedOut,
    /// The ClientHello is longer than 64 KiB.
    #[error("the ClientHello is longer than 64 KiB")]
    TooLong,
}

/// Parses the beginning of a connection; `None` while more bytes are needed.
///
/// # Errors
/// [`HelloError::Malformed`] and [`HelloError::TooLong`].
pub fn look(bytes: &[u8]) -> Result<Option<FirstBytes>, HelloError> {
    let mut looking = Looking::default();
    looking.feed(bytes)
}

/// Reads until the ClientHello is whole or the connection is known to begin otherwise. The bytes read are
/// returned for the one who serves the connection. Silence until `first_by` is [`FirstBytes::Other`].
///
/// # Errors
/// As [`HelloError`] says; nothing was answered.
pub async fn read_first<S: AsyncRead + Unpin>(
    stream: &mut S,
    first_by: Instant,
    whole_by: Instant,
) -> Result<(FirstBytes, Bytes), HelloError> {
    let mut ahead = BytesMut::with_capacity(2048);
    let mut looking = Looking::default();
    loop {
        let until = if ahead.is_empty() { first_by } else { whole_by };
        let before = ahead.len();
        let Ok(read) = tokio::time::timeout_at(until, stream.read_buf(&mut ahead)).await else {
            let silent = ahead.is_empty() && first_by < whole_by;
            return if silent { Ok((FirstBytes::Other, Bytes::new())) } else { Err(HelloError::TimedOut) };
        };
        match (read?, before) {
            (0, 0) => return Ok((FirstBytes::Other, Bytes::new())),
            (0, _) => return Err(HelloError::Closed),
            _ => {}
        }
        if let Some(found) = looking.feed(&ahead[before..])? {
            return Ok((found, ahead.freeze()));
        }
    }
}

/// A ClientHello in pieces.
#[derive(Default)]
struct Looking {
    acceptor: Acceptor,
    seen: usize,
}

impl Looking {
    fn feed(&mut self, mut bytes: &[u8]) -> Result<Option<FirstBytes>, HelloError> {
        if self.seen == 0 && bytes.first().is_some_and(|first| *first != HANDSHAKE) {
            return Ok(Some(FirstBytes::Other));
        }
        self.seen += bytes.len();
        if self.seen > MAX_HELLO {
            return Err(HelloError::TooLong);
        }
        while !bytes.is_empty() {
            self.acceptor.read_tls(&mut bytes)?;
            match self.acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => return Ok(Some(FirstBytes::Tls(said(&accepted.client_hello())))),
                Err((problem, _unsent_alert)) => return Err(HelloError::Malformed(problem)),
            }
        }
        Ok(None)
    }
}

fn said(hello: &rustls::server::ClientHello<'_>) -> Hello {
    let name = |text: &str| Arc::from(text.trim_end_matches('.').to_ascii_lowercase());
    Hello {
        sni: hello.server_name().map(name),
        alpn: hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect(),
    }
}

#[cfg(test)]
mod tests;
