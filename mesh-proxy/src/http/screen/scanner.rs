//! The framing of HTTP/1 requests, read strictly beside the codec that parses them: whatever another reader
//! could frame in another way is a fault (RFC 9112, sections 2.2, 6 and 7.1). No IO.

/// Longest line of a chunk's size with its extensions.
const LONGEST_CHUNK_LINE: usize = 1024;
/// Longest line of a head; the codec refuses such heads itself, this only bounds memory.
const LONGEST_LINE: usize = 2 * crate::http::MAX_HEAD;

/// What was seen in some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing to object to.
    All,
    /// The byte at this place ends a line that has no single reading.
    Fault(usize),
    /// A head that asks for another protocol ends before this place; what follows is not HTTP yet.
    Upgrade(usize),
}

/// Where in a request the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Data of a chunk: bytes to go.
    ChunkData(u64),
    /// The line end after a chunk's data.
    ChunkEnd,
    /// The line with a chunk's size.
    ChunkSize,
    /// A body of known length: bytes to go.
    Fixed(u64),
    /// A header line, or the empty line after the last.
    Header,
    /// The line of a request, or an empty line before it.
    RequestLine,
    /// A trailer line, or the empty line after the last.
    Trailer,
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    partial: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

/// What a whole line led to.
enum Line {
    Fine,
    Fault,
    Upgrade,
}

impl Scanner {
    pub(super) fn new() -> Self {
        let state = State::RequestLine;
        Self { state, partial: Vec::new(), length: None, chunked: false, upgrade: false }
    }

    /// Whether a head has begun and is not complete.
    pub(super) fn within_head(&self) -> bool {
        self.state == State::Header || (self.state == State::RequestLine && !self.partial.is_empty())
    }

    /// Looks at the next bytes of the connection.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Seen {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            if let State::ChunkData(left) | State::Fixed(left) = self.state {
                at += self.skip(left, rest.len());
                continue;
            }
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                let limit = if self.state == State::ChunkSize { LONGEST_CHUNK_LINE } else { LONGEST_LINE };
                if self.partial.len() + rest.len() > limit {
                    return Seen::Fault(bytes.len() - 1);
                }
                self.partial.extend_from_slice(rest);
                return Seen::All;
            };
            let line = &rest[..=end];
            let seen = if self.partial.is_empty() {
                self.line(line)
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole)
            };
            at += end + 1;
            match seen {
                Line::Fine => {}
                Line::Fault => return Seen::Fault(at - 1),
                Line::Upgrade => return Seen::Upgrade(at),
            }
        }
        Seen::All
    }

    /// Passes over body bytes; how many.
    fn skip(&mut self, left: u64, available: usize) -> usize {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(available);
        let left = left - count as u64;
        self.state = match self.state {
            State::ChunkData(_) if left == 0 => State::ChunkEnd,
            State::ChunkData(_) => State::ChunkData(left),
            _ if left == 0 => State::RequestLine,
            _ => State::Fixed(left),
        };
        count
    }

    /// One line with its end.
    fn line(&mut self, line: &[u8]) -> Line {
        let Some(line) = line.strip_suffix(b"\r\n").filter(|line| !line.contains(&b'\r')) else {
            return Line::Fault;
        };
        let fine = match self.state {
            State::RequestLine if line.is_empty() => true,
            State::RequestLine => self.begin(line),
            State::Header if line.is_empty() => return self.body(),
            State::Header => self.header(line),
            State::ChunkSize => self.chunk(line),
            State::ChunkEnd => {
                self.state = State::ChunkSize;
                line.is_empty()
            }
            State::Trailer if line.is_empty() => {
                self.state = State::RequestLine;
                true
            }
            State::Trailer => !line.starts_with(b" ") && !line.starts_with(b"\t"),
            State::ChunkData(_) | State::Fixed(_) => false,
        };
        if fine { Line::Fine } else { Line::Fault }
    }

    /// A fragment never belongs into a request; the codec would drop it silently.
    fn begin(&mut self, line: &[u8]) -> bool {
        self.state = State::Header;
        (self.length, self.chunked, self.upgrade) = (None, false, false);
        let target = line.splitn(2, |byte| *byte == b' ').nth(1);
        !target.is_some_and(|target| target.contains(&b'#'))
    }

    fn header(&mut self, line: &[u8]) -> bool {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return false;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = decimal(value);
            let first = self.length.is_none() && !self.chunked;
            self.length = length;
            return first && length.is_some();
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let first = self.length.is_none() && !self.chunked;
            self.chunked = true;
            return first && value.eq_ignore_ascii_case(b"chunked");
        }
        if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        }
        true
    }

    fn body(&mut self) -> Line {
        self.state = match (self.chunked, self.length) {
            (true, _) => State::ChunkSize,
            (false, Some(length)) if length > 0 => State::Fixed(length),
            (false, _) => State::RequestLine,
        };
        if self.upgrade && self.state == State::RequestLine { Line::Upgrade } else { Line::Fine }
    }

    /// Hexadecimal digits, then nothing or an extension; no blanks.
    fn chunk(&mut self, line: &[u8]) -> bool {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let text = std::str::from_utf8(&line[..digits]).ok();
        let Some(size) = text.and_then(|text| u64::from_str_radix(text, 16).ok()) else { return false };
        self.state = if size == 0 { State::Trailer } else { State::ChunkData(size) };
        line.len() <= LONGEST_CHUNK_LINE && matches!(line.get(digits), None | Some(b';'))
    }
}

/// Digits only: neither sign nor list.
fn decimal(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is seen, whether the bytes come at once or one by one.
    fn check(text: &str, expected: Seen) {
        assert_eq!(Scanner::new().scan(text.as_bytes()), expected, "{text:?}");
        let mut scanner = Scanner::new();
        let single = text.bytes().enumerate().find_map(|(at, byte)| match scanner.scan(&[byte]) {
            Seen::All => None,
            Seen::Fault(_) => Some(Seen::Fault(at)),
            Seen::Upgrade(_) => Some(Seen::Upgrade(at + 1)),
        });
        assert_eq!(single.unwrap_or(Seen::All), expected, "byte by byte: {text:?}");
    }

    #[test]
    fn well_framed_requests_pass() {
        for text in [
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\na\nb\rcGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\na\nb\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nx: y\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "#M / HTTP/1.1\r\n\r\n",
        ] {
            check(text, Seen::All);
        }
    }

    #[test]
    fn ambiguous_framing_is_a_fault_at_the_end_of_its_line() {
        let head = "POST / HTTP/1.1\r\n";
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        for (before, line) in [
            ("", "GET / HTTP/1.1\n"),
            ("", "GET /a#b HTTP/1.1\r\n"),
            (head, "Host: a\n"),
            (head, "Host: a\rb\r\n"),
            (head, " folded\r\n"),
            (head, "no colon\r\n"),
            (head, "Content-Length: +5\r\n"),
            (head, "Content-Length: 5, 5\r\n"),
            (&format!("{head}Content-Length: 5\r\n"), "content-length: 5\r\n"),
            (&format!("{head}Content-Length: 5\r\n"), "Transfer-Encoding: chunked\r\n"),
            (&format!("{head}Transfer-Encoding: chunked\r\n"), "Content-Length: 5\r\n"),
            (&format!("{head}Transfer-Encoding: chunked\r\n"), "Transfer-Encoding: chunked\r\n"),
            (head, "Transfer-Encoding: ,chunked\r\n"),
            (head, "Transfer-Encoding: gzip, chunked\r\n"),
            (&chunked, "5 \r\n"),
            (&chunked, " 5\r\n"),
            (&chunked, "5\n"),
            (&chunked, "0x5\r\n"),
            (&chunked, "\r\n"),
            (&chunked, "11111111111111111\r\n"),
            (&format!("{chunked}3\r\nabc"), "d\r\n"),
            (&format!("{chunked}0\r\n"), " folded: x\r\n"),
        ] {
            let text = format!("{before}{line}");
            check(&text, Seen::Fault(text.len() - 1));
        }
    }

    #[test]
    fn nothing_behind_a_wish_to_upgrade_is_read_as_http() {
        let head = "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
        check(&format!("{head}\0\0"), Seen::Upgrade(head.len()));
    }
}
