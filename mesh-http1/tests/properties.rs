//! What holds for every input: pieces do not matter, and what is written is read back.

use mesh_http1::{Decoder, Error, Framing, Piece, Progress, RequestReader, ResponseReader, write};
use proptest::collection::vec;
use proptest::prelude::*;

/// Everything that a sequence of pieces leads to.
#[derive(Debug, PartialEq)]
enum Seen {
    Error(Error),
    Incomplete,
    Read { head: usize, body: Vec<u8>, used: usize },
}

/// Reads a request and its body; the input grows by these steps, and then at once.
fn follow(bytes: &[u8], steps: &[usize]) -> Seen {
    let mut ends = Vec::new();
    let mut end = 0;
    for step in steps {
        end = bytes.len().min(end + step);
        ends.push(end);
    }
    ends.push(bytes.len());
    let mut ends = ends.into_iter();
    let mut reader = RequestReader::new();
    let (head, mut end) = loop {
        let Some(end) = ends.next() else { return Seen::Incomplete };
        match reader.read(&bytes[..end]) {
            Ok(Progress::More) => {}
            Ok(Progress::Done(head)) => break (head, end),
            Err(error) => return Seen::Error(error),
        }
    };
    let mut decoder = Decoder::new(reader.head(bytes).framing);
    let (mut at, mut body) = (head, Vec::new());
    loop {
        match decoder.next(&bytes[at..end]) {
            Err(error) => return Seen::Error(error),
            Ok(Piece::Data { skip, length }) => {
                body.extend_from_slice(&bytes[at + skip..at + skip + length]);
                at += skip + length;
            }
            Ok(Piece::End { used }) => return Seen::Read { head, body, used: at + used },
            Ok(Piece::More { used }) => {
                at += used;
                match ends.next() {
                    Some(next) => end = next,
                    None => return Seen::Incomplete,
                }
            }
        }
    }
}

/// Bytes that are likely to get far.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("GET / HTTP/1.1\r\n"),
        Just("POST /a?b HTTP/1.0\r\n"),
        Just("\r\n"),
        Just("\n"),
        Just("\r"),
        Just("Host: a\r\n"),
        Just("Content-Length: 3\r\n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("3\r\nabc\r\n"),
        Just("a;x\r\n0123456789\r\n"),
        Just("0\r\n"),
        Just("x: y\r\n"),
        Just(" "),
        Just("\0"),
        Just("abc"),
    ];
    let begin = prop_oneof![
        Just("GET / HTTP/1.1\r\n"),
        Just("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Just("")
    ];
    (begin, vec(piece, 0..12)).prop_map(|(begin, pieces)| format!("{begin}{}", pieces.concat()).into_bytes())
}

proptest! {
    #[test]
    fn pieces_do_not_matter(bytes in likely(), steps in vec(0usize..20, 0..20)) {
        let whole = follow(&bytes, &[]);
        let pieces = follow(&bytes, &steps);
        match (&whole, &pieces) {
            // Which fault is told first may depend on how much was there.
            (Seen::Error(_), Seen::Error(_)) => {}
            _ => prop_assert_eq!(&whole, &pieces),
        }
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in vec(any::<u8>(), 0..300)) {
        follow(&bytes, &[1, 2, 3]);
        let _ = ResponseReader::new().read(&bytes);
        let mut decoder = Decoder::new(Framing::Chunked);
        let mut at = 0;
        while let Ok(Piece::Data { skip, length }) = decoder.next(&bytes[at..]) {
            at += skip + length;
        }
    }

    #[test]
    fn a_written_request_is_read_back(
        method in "[A-Z]{1,9}",
        path in "/[!$-~]{0,30}",
        fields in vec(("x-[a-z0-9!_]{1,12}", "([!-~]([ -~\t]{0,20}[!-~])?)?"), 0..20),
        body in vec(vec(any::<u8>(), 1..200), 0..5),
        chunked: bool,
    ) {
        prop_assume!(method != "CONNECT");
        let mut bytes = Vec::new();
        write::request_line(&mut bytes, method.as_bytes(), path.as_bytes());
        for (name, value) in &fields {
            write::field(&mut bytes, name.as_bytes(), value.as_bytes());
        }
        if chunked {
            write::chunked(&mut bytes);
        } else {
            write::content_length(&mut bytes, body.concat().len() as u64);
        }
        write::end_of_head(&mut bytes);
        let length = bytes.len();
        for part in &body {
            if chunked {
                write::chunk_size(&mut bytes, part.len());
            }
            bytes.extend_from_slice(part);
            if chunked {
                bytes.extend_from_slice(write::CHUNK_END);
            }
        }
        if chunked {
            bytes.extend_from_slice(write::LAST_CHUNK);
            write::end_of_head(&mut bytes);
        }
        let used = bytes.len();
        bytes.extend_from_slice(b"GET /next");
        prop_assert_eq!(follow(&bytes, &[3, 50]), Seen::Read { head: length, body: body.concat(), used });
        let mut reader = RequestReader::new();
        prop_assert_eq!(reader.read(&bytes), Ok(Progress::Done(length)));
        let head = reader.head(&bytes);
        prop_assert_eq!((head.method, head.target), (method.as_bytes(), path.as_bytes()));
        let read: Vec<_> = head.fields.take(fields.len()).collect();
        let written: Vec<_> = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn a_written_status_line_is_read_back(status in 100u16..1000, phrase in "[ -~]{0,20}") {
        let mut bytes = Vec::new();
        write::status_line(&mut bytes, status, &phrase);
        write::end_of_head(&mut bytes);
        let mut reader = ResponseReader::new();
        prop_assert_eq!(reader.read(&bytes), Ok(Progress::Done(bytes.len())));
        prop_assert_eq!(reader.head(&bytes).status, status);
    }
}
