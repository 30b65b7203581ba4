//! What an undeclared connection speaks, from its first bytes. Where the server may speak first, nobody waits
//! longer than the deadline.

mod opaque;

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

pub use opaque::{Opaque, RequestSeen};

/// The first bytes of HTTP/2 (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest request line that is waited for.
const MAX_LINE: usize = 8 << 10;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Anything else.
    Opaque,
}

/// Judges the first bytes; `None` while they may still become HTTP.
pub fn judge(bytes: &[u8]) -> Option<Spoken> {
    if bytes.starts_with(HTTP2_PREFACE) {
        return Some(Spoken::Http2);
    }
    if HTTP2_PREFACE.starts_with(bytes) {
        return None;
    }
    let line = bytes.iter().position(|b| *b == b'\n').map(|end| &bytes[..end]);
    match line {
        Some(line) if is_request_line(line) => Some(Spoken::Http1),
        Some(_) => Some(Spoken::Opaque),
        None if bytes.len() < MAX_LINE && begins_like_request(bytes) => None,
        None => Some(Spoken::Opaque),
    }
}

/// Reads until the bytes are judged, the peer stops, or the deadline passes. What was read is returned for the
/// one who serves the connection.
///
/// # Errors
/// When the connection breaks.
pub async fn detect<S: AsyncRead + Unpin>(stream: &mut S, by: Instant) -> io::Result<(Spoken, Bytes)> {
    let mut ahead = BytesMut::new();
    loop {
        ahead.reserve(2048);
        let read = tokio::time::timeout_at(by, stream.read_buf(&mut ahead)).await;
        let ended = match read {
            Ok(read) => read? == 0,
            Err(_late) => true,
        };
        match judge(&ahead) {
            Some(spoken) => return Ok((spoken, ahead.freeze())),
            // A slow but certain request is HTTP; a lone letter or silence is not.
            None if ended => return Ok((guess(&ahead), ahead.freeze())),
            None => {}
        }
    }
}

fn guess(bytes: &[u8]) -> Spoken {
    let method_ends = bytes.iter().position(|b| *b == b' ');
    let target = method_ends.and_then(|end| bytes.get(end + 1));
    let begun = bytes.starts_with(b"PRI * ");
    match target {
        Some(_) if begun => Spoken::Http2,
        Some(b'/' | b'*' | b'h') => Spoken::Http1,
        _ => Spoken::Opaque,
    }
}

fn is_request_line(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let version = line.len().checked_sub(9).map(|at| &line[at..]);
    version.is_some_and(|v| v.starts_with(b" HTTP/1.")) && begins_like_request(line)
}

/// A method token of RFC 9110, in capitals as all registered ones, then a blank and a visible target.
fn begins_like_request(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|b| *b == b' ').unwrap_or(bytes.len());
    let (method, rest) = bytes.split_at(end);
    let token = !method.is_empty()
        && method.len() <= 32
        && method.iter().all(|b| b.is_ascii_uppercase() || *b == b'-');
    token && rest.iter().all(|b| matches!(b, b' ' | b'\r') || !b.is_ascii_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncWriteExt, duplex};

    #[test]
    fn first_bytes_are_judged_as_soon_as_they_can_be() {
        let cases: [(&[u8], Option<Spoken>); 14] = [
            (b"GET / HTTP/1.1\r\n", Some(Spoken::Http1)),
            (b"OPTIONS * HTTP/1.0\n", Some(Spoken::Http1)),
            (b"M-SEARCH * HTTP/1.1\r\nHost: a\r\n", Some(Spoken::Http1)),
            (HTTP2_PREFACE, Some(Spoken::Http2)),
            (b"PRI * HTTP/2.0\r\n", None),
            (b"P", None),
            (b"GET /a", None),
            (b"", None),
            (b"get / HTTP/1.1\r\n", Some(Spoken::Opaque)),
            (b"GET /\r\n", Some(Spoken::Opaque)),
            (b"EHLO mail.example\r\n", Some(Spoken::Opaque)),
            (b"\x16\x03\x01", Some(Spoken::Opaque)),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Some(Spoken::Opaque)),
            (b"PING\r\n", Some(Spoken::Opaque)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(judge(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(judge(&vec![b'A'; MAX_LINE]), Some(Spoken::Opaque));
    }

    #[test]
    fn no_prefix_of_a_request_is_judged_otherwise_than_the_whole() {
        for whole in [b"POST /a/b?c=d HTTP/1.1\r\n".as_slice(), HTTP2_PREFACE] {
            let last = judge(whole);
            assert!(last.is_some());
            for end in 0..whole.len() {
                let early = judge(&whole[..end]);
                assert!(early.is_none() || early == last, "{end}: {early:?}");
            }
        }
    }

    async fn detected(bytes: &[u8], wait: Duration) -> (Spoken, usize, Duration) {
        let (mut client, mut server) = duplex(64);
        client.write_all(bytes).await.expect("room");
        let began = Instant::now();
        let (spoken, ahead) = detect(&mut server, began + wait).await.expect("open");
        (spoken, ahead.len(), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_for_the_server_stalls_no_longer_than_the_deadline() {
        let wait = Duration::from_millis(30);
        assert_eq!(detected(b"", wait).await, (Spoken::Opaque, 0, wait));
        assert_eq!(detected(b"GET / HT", wait).await, (Spoken::Http1, 8, wait));
        assert_eq!(detected(b"PRI * H", wait).await, (Spoken::Http2, 7, wait));
        assert_eq!(detected(b"G", wait).await, (Spoken::Opaque, 1, wait));
        assert_eq!(detected(b"GET / HTTP/1.1\r\n", wait).await, (Spoken::Http1, 16, Duration::ZERO));
    }
}
