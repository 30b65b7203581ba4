//! HTTP/1 or HTTP/2: the first bytes tell. They stay with the connection.

use std::future::poll_fn;
use std::io;

use mesh_http1_tokio::Wire;

/// How a connection of HTTP/2 begins (RFC 9113, section 3.4); no method of HTTP/1 is called so.
const PREFACE: &[u8] = b"PRI ";

/// Reads until it is clear what the client speaks. Whether it is HTTP/2.
pub(crate) async fn is_http2(wire: &mut Wire) -> io::Result<bool> {
    loop {
        if poll_fn(|cx| wire.poll_more(cx)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let known = wire.input().len().min(PREFACE.len());
        if wire.input()[..known] != PREFACE[..known] {
            return Ok(false);
        }
        if known == PREFACE.len() {
            return Ok(true);
        }
    }
}
