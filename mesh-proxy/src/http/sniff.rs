//! HTTP/1 or HTTP/2: the first bytes tell. What was read is given on.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use bytes::BytesMut;
use mesh_http1_tokio::Prefixed;
use tokio::io::{AsyncRead, ReadBuf};

/// How a connection of HTTP/2 begins (RFC 9113, section 3.4); no method of HTTP/1 is called so.
const PREFACE: &[u8] = b"PRI ";
/// Bytes read at most before a decision: a usual head fits.
const FIRST_READ: usize = 4096;

/// What a client speaks.
pub(crate) enum Sniffed<I> {
    Http1(Prefixed<I>),
    Http2(Prefixed<I>),
}

/// Reads until it is clear what the client speaks.
pub(crate) async fn sniff<I: AsyncRead + Unpin>(mut io: I) -> io::Result<Sniffed<I>> {
    let mut ahead = BytesMut::new();
    let mut buffer = [0; FIRST_READ];
    loop {
        let mut read = ReadBuf::new(&mut buffer);
        poll_fn(|cx| Pin::new(&mut io).poll_read(cx, &mut read)).await?;
        if read.filled().is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        ahead.extend_from_slice(read.filled());
        let known = ahead.len().min(PREFACE.len());
        if ahead[..known] != PREFACE[..known] {
            return Ok(Sniffed::Http1(Prefixed::new(ahead.freeze(), io)));
        }
        if known == PREFACE.len() {
            return Ok(Sniffed::Http2(Prefixed::new(ahead.freeze(), io)));
        }
    }
}
