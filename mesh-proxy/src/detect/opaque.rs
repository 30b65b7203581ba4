//! A stream of opaque bytes that must not turn out to be a request after all: nobody read its head, so that its
//! sender could say in it who it is. No decisions about connections.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tcp::Abort;

/// The longest version of HTTP that is looked for, `HTTP/` and what may follow.
const VERSION: usize = 12;

/// Opaque bytes began with the line of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request of HTTP on a connection that was taken for opaque bytes")]
pub struct RequestSeen;

impl RequestSeen {
    /// Whether a stream broke because of this.
    pub fn is_cause_of(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

/// Passes bytes through until they are seen to begin with a request line, then breaks. The line does not reach the
/// reader whole. Spelling is taken loosely, as lenient origins take it.
#[derive(Debug)]
pub struct Opaque<S> {
    stream: S,
    line: FirstLine,
}

impl<S> Opaque<S> {
    /// Watches what is read from the stream.
    pub fn new(stream: S) -> Self {
        Self { stream, line: FirstLine::default() }
    }
}

/// The first line that is not blank, of which only the end is kept.
#[derive(Debug, Default)]
struct FirstLine {
    end: [u8; VERSION],
    seen: usize,
    over: bool,
}

impl FirstLine {
    /// Looks at the next bytes; true when they complete a request line.
    fn completes_request(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            match byte {
                _ if self.over => return false,
                b'\n' if self.seen > 0 => {
                    self.over = true;
                    return self.ends_with_version();
                }
                b'\t' | b'\n' | b'\r' | b' ' => {}
                0..b' ' | 0x7f => self.over = true,
                _ => {
                    self.end.rotate_left(1);
                    self.end[VERSION - 1] = byte.to_ascii_uppercase();
                    self.seen += 1;
                }
            }
        }
        false
    }

    fn ends_with_version(&self) -> bool {
        let name = b"HTTP/";
        let at = self.end.windows(name.len()).rposition(|window| window == name);
        let number = at.map(|at| &self.end[at + name.len()..]);
        number.is_some_and(|n| {
            n.first().is_some_and(u8::is_ascii_digit) && n.iter().all(|b| matches!(b, b'.' | b'0'..=b'9'))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opaque<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if !self.line.over && self.line.completes_request(&buf.filled()[before..]) {
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, RequestSeen)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opaque<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: Abort> Abort for Opaque<S> {
    fn abort(&self) {
        self.stream.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    /// What passes of bytes that arrive in pieces of a size, and whether the stream broke.
    async fn passed(bytes: &[u8], piece: usize) -> (Vec<u8>, bool) {
        let mut reader = in_pieces(bytes, piece);
        let mut out = Vec::new();
        let ended = loop {
            match reader.read_buf(&mut out).await {
                Ok(0) => break false,
                Ok(_) => {}
                Err(error) => break RequestSeen::is_cause_of(&error),
            }
        };
        (out, ended)
    }

    /// A stream that gives its bytes in pieces of one size.
    fn in_pieces(bytes: &[u8], piece: usize) -> Opaque<Pieces> {
        Opaque::new(Pieces { bytes: bytes.to_vec(), piece })
    }

    struct Pieces {
        bytes: Vec<u8>,
        piece: usize,
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let some = self.piece.min(self.bytes.len()).min(buf.remaining());
            let piece: Vec<u8> = self.bytes.drain(..some).collect();
            buf.put_slice(&piece);
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_request_line_never_passes_whole_however_it_is_cut() {
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(100_000));
        let requests = [
            "GET / HTTP/1.1\r\nx: y\r\n\r\n",
            "get / http/1.1\n\n",
            "\r\n\r\nGET / HTTP/1.1\r\n",
            " \t\nPOST  /  HTTP/1.0 \t\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "X /\u{e9} HTTP/1.1\n",
            "X / HTTP/1\n",
            &long,
        ];
        for request in requests {
            for piece in [1, 2, 7, 4096] {
                let (out, broke) = passed(request.as_bytes(), piece).await;
                assert!(broke, "{request:.40?} in pieces of {piece}");
                let text = String::from_utf8_lossy(&out).into_owned();
                assert!(text.trim_start().is_empty() || !text.trim_start().contains('\n'), "{text:.40?}");
            }
        }
    }

    #[tokio::test]
    async fn other_bytes_pass_as_they_are() {
        let others: [&[u8]; 8] = [
            b"",
            b"EHLO mail.example\r\nGET / HTTP/1.1\r\n",
            b"\x16\x03\x01\0\x05HTTP/1.1\n",
            b"<13>Nov 26 web: \"GET / HTTP/1.1\" 200\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"HTTP/\n",
            b"a line without end HTTP/1.1",
        ];
        for bytes in others {
            for piece in [1, 3, 4096] {
                assert_eq!(passed(bytes, piece).await, (bytes.to_vec(), false), "{bytes:?}");
            }
        }
    }
}
