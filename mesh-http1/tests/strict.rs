//! What is taken and what is refused, one row each, whether the bytes come at once or one by one.

use mesh_http1::{
    Decoder, Error, Framing, MAX_FIELDS, MAX_HEAD, Piece, Progress, RequestReader, ResponseReader, Version,
};

/// Reads bytes at once and one by one, which must agree.
fn read<R>(
    bytes: &[u8],
    make: impl Fn() -> R,
    step: impl Fn(&mut R, &[u8]) -> Result<Progress, Error>,
) -> Result<Progress, Error> {
    let whole = step(&mut make(), bytes);
    let mut reader = make();
    let slow = (0..=bytes.len())
        .map(|end| step(&mut reader, &bytes[..end]))
        .find(|progress| *progress != Ok(Progress::More))
        .unwrap_or(Ok(Progress::More));
    assert_eq!(
        whole.is_err(),
        slow.is_err(),
        "{whole:?}, byte by byte {slow:?}: {:?}",
        String::from_utf8_lossy(bytes)
    );
    if whole.is_ok() {
        assert_eq!(whole, slow, "{:?}", String::from_utf8_lossy(bytes));
    }
    whole
}

fn request(text: impl AsRef<[u8]>) -> Result<Progress, Error> {
    read(text.as_ref(), RequestReader::new, RequestReader::read)
}

fn response(text: impl AsRef<[u8]>) -> Result<Progress, Error> {
    read(text.as_ref(), ResponseReader::new, ResponseReader::read)
}

#[test]
fn first_lines_of_requests() {
    for good in [
        "GET / HTTP/1.1",
        "\r\nGET / HTTP/1.1",
        "GET /a?b=c;d HTTP/1.0",
        "OPTIONS * HTTP/1.1",
        "CONNECT a:80 HTTP/1.1",
        "GET http://a/b HTTP/1.1",
        "GET http://a HTTP/1.1",
        "#M / HTTP/1.1",
    ] {
        let text = format!("{good}\r\n\r\n");
        assert_eq!(request(&text), Ok(Progress::Done(text.len())), "{good}");
    }
    for (bad, why) in [
        ("GET / HTTP/1.1\n", Error::LineEnd),
        ("\nGET / HTTP/1.1\r\n", Error::LineEnd),
        ("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n", Error::StartLine),
        ("GET  / HTTP/1.1\r\n", Error::StartLine),
        (" GET / HTTP/1.1\r\n", Error::StartLine),
        ("GET / HTTP/1.1 \r\n", Error::StartLine),
        ("GET\t/ HTTP/1.1\r\n", Error::StartLine),
        ("GET /\r\n", Error::StartLine),
        ("GE(T / HTTP/1.1\r\n", Error::StartLine),
        ("\0\0\0\0", Error::StartLine),
        ("\x16\x03\x01", Error::StartLine),
        ("GET / HTTP/2.0\r\n", Error::Version),
        ("GET / HTTP/1.2\r\n", Error::Version),
        ("GET / http/1.1\r\n", Error::StartLine),
        ("GET / HTTP/1.10\r\n", Error::StartLine),
        ("GET ! HTTP/1.1\r\n", Error::Target),
        ("GET * HTTP/1.1\r\n", Error::Target),
        ("GET a:80 HTTP/1.1\r\n", Error::Target),
        ("GET http:/a HTTP/1.1\r\n", Error::Target),
        ("GET http:///a HTTP/1.1\r\n", Error::Target),
        ("GET 1http://a/ HTTP/1.1\r\n", Error::Target),
        ("CONNECT /a HTTP/1.1\r\n", Error::Target),
        ("GET /a#b HTTP/1.1\r\n", Error::Target),
        ("GET /\u{e9} HTTP/1.1\r\n", Error::Target),
        ("GET /\x7f HTTP/1.1\r\n", Error::Target),
        ("GET /\r HTTP/1.1\r\n", Error::Target),
    ] {
        assert_eq!(request(bad), Err(why), "{bad:?}");
    }
}

#[test]
fn header_lines() {
    let begin = "GET / HTTP/1.1\r\n";
    for good in ["a: b\r\n", "a:b \t\r\n", "a:\r\n", "a: \tb\tc\u{e9}\r\n", "!#$%&'*+-.^_`|~09aZ: x\r\n"] {
        assert!(matches!(request(format!("{begin}{good}\r\n")), Ok(Progress::Done(_))), "{good:?}");
    }
    for (bad, why) in [
        ("Host: a\n", Error::LineEnd),
        ("X: a\rb\r\n", Error::Field),
        ("X: a\0b\r\n", Error::Field),
        ("X: a\x0bb\r\n", Error::Field),
        ("X: a\x7f\r\n", Error::Field),
        (" folded\r\n", Error::Folded),
        ("X: a\r\n\tfolded\r\n", Error::Folded),
        ("no colon\r\n", Error::Field),
        (": no name\r\n", Error::Field),
        ("X : blank\r\n", Error::Field),
        ("\u{e9}: x\r\n", Error::Field),
        ("Content-Length: +5\r\n", Error::Framing),
        ("Content-Length: 5, 5\r\n", Error::Framing),
        ("Content-Length:\r\n", Error::Framing),
        ("Content-Length: 0x5\r\n", Error::Framing),
        ("Content-Length: 18446744073709551616\r\n", Error::Framing),
        ("Content-Length: 5\r\ncontent-length: 5\r\n", Error::Framing),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", Error::Framing),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Error::Framing),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Error::Framing),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Error::Framing),
        ("Transfer-Encoding: ,chunked\r\n", Error::Framing),
        ("Transfer-Encoding: gzip, chunked\r\n", Error::Framing),
        ("Transfer-Encoding: xchunked\r\n", Error::Framing),
        ("Transfer-Encoding: identity\r\n", Error::Framing),
    ] {
        assert_eq!(request(format!("{begin}{bad}\r\n")), Err(why), "{bad:?}");
        assert_eq!(response(format!("HTTP/1.1 200 OK\r\n{bad}\r\n")), Err(why), "{bad:?}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(request(old), Err(Error::Framing));
}

#[test]
fn heads_have_limits() {
    let line = |count: usize| format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(count));
    let most = MAX_HEAD - line(0).len();
    assert_eq!(RequestReader::new().read(line(most).as_bytes()), Ok(Progress::Done(MAX_HEAD)));
    assert_eq!(RequestReader::new().read(line(most + 1).as_bytes()), Err(Error::TooLarge));
    let endless = vec![b'a'; MAX_HEAD + 1];
    assert_eq!(RequestReader::new().read(&endless), Err(Error::TooLarge));
    let many = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(count));
    assert!(matches!(request(many(MAX_FIELDS)), Ok(Progress::Done(_))));
    assert_eq!(request(many(MAX_FIELDS + 1)), Err(Error::TooLarge));
}

#[test]
fn first_lines_of_responses() {
    for (line, status) in [("HTTP/1.1 200 OK", 200), ("HTTP/1.0 404", 404), ("HTTP/1.1 999 \u{e9} x", 999)] {
        let text = format!("{line}\r\n\r\n");
        let mut reader = ResponseReader::new();
        assert_eq!(reader.read(text.as_bytes()), Ok(Progress::Done(text.len())));
        assert_eq!(reader.head(text.as_bytes()).status, status);
        assert!(response(&text).is_ok());
    }
    for bad in [
        "HTTP/1.1 200 OK\n",
        "HTTP/1.1  200 OK\r\n",
        "HTTP/1.1 20 OK\r\n",
        "HTTP/1.1 2000 OK\r\n",
        "HTTP/1.1 099 OK\r\n",
        "HTTP/2.0 200 OK\r\n",
        "HTTP/1.1 200 O\rK\r\n",
        "HTTP/1.1 200\0\r\n",
        "ICY 200 OK\r\n",
        "\r\nHTTP/1.1 200 OK\r\n",
        "220 mail.example ESMTP",
    ] {
        assert!(response(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn what_a_head_says_about_body_and_connection() {
    let framed = |text: &str| {
        let mut reader = RequestReader::new();
        reader.read(text.as_bytes()).expect("a good head");
        let head = reader.head(text.as_bytes());
        (head.version, head.framing, head.persists, head.expects_continue, head.upgrade)
    };
    let (new, old, none) = (Version::Http11, Version::Http10, Framing::Length(0));
    for (text, expected) in [
        ("GET / HTTP/1.1\r\n\r\n", (new, none, true, false, false)),
        ("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n", (new, none, false, false, false)),
        ("GET / HTTP/1.0\r\n\r\n", (old, none, false, false, false)),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", (old, none, true, false, false)),
        (
            "PUT / HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-Continue\r\n\r\n",
            (new, Framing::Length(9), true, true, false),
        ),
        ("PUT / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", (new, Framing::Chunked, true, false, false)),
        ("GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n", (new, none, true, false, true)),
    ] {
        assert_eq!(framed(text), expected, "{text:?}");
    }
    let answered = |text: &str, of_head: bool| {
        let mut reader = ResponseReader::new();
        reader.read(text.as_bytes()).expect("a good head");
        reader.head(text.as_bytes()).framing(of_head)
    };
    for (text, of_head, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false, Framing::Length(3)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, none),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", false, none),
        ("HTTP/1.1 204 No Content\r\n\r\n", false, none),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", false, none),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, Framing::Chunked),
        ("HTTP/1.1 200 OK\r\n\r\n", false, Framing::UntilClose),
    ] {
        assert_eq!(answered(text, of_head), expected, "{text:?}");
    }
}

type Trailers = Vec<(String, String)>;

/// The body and trailers of some bytes, given in pieces of this size, and what is left behind it.
fn decode(framing: Framing, bytes: &[u8], step: usize) -> Result<(Vec<u8>, Trailers, Vec<u8>), Error> {
    let mut decoder = Decoder::new(framing);
    let (mut body, mut at) = (Vec::new(), 0);
    let mut end = 0;
    while !decoder.is_over() {
        end = bytes.len().min(end + step);
        loop {
            match decoder.next(&bytes[at..end])? {
                Piece::Data { skip, length } => {
                    body.extend_from_slice(&bytes[at + skip..at + skip + length]);
                    at += skip + length;
                }
                Piece::End { used } => {
                    at += used;
                    break;
                }
                Piece::More { used } => {
                    at += used;
                    assert_eq!(at, end, "all of it is used");
                    break;
                }
            }
        }
        if end == bytes.len() && !decoder.is_over() {
            decoder.finish()?;
        }
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let trailers = decoder.trailers().map(|(name, value)| (text(name), text(value))).collect();
    Ok((body, trailers, bytes[at..].to_vec()))
}

#[test]
fn bodies_end_where_their_framing_says() {
    let chunks = "3\r\na\nb\r\nA;x=\"y\"\r\n0123456789\r\n000\r\nx: y \r\nEmpty:\r\n\r\nGET /";
    for step in 1..chunks.len() {
        let (body, trailers, rest) = decode(Framing::Chunked, chunks.as_bytes(), step).expect("well framed");
        assert_eq!((body.as_slice(), rest.as_slice()), (&b"a\nb0123456789"[..], &b"GET /"[..]));
        let expected = [("x", "y"), ("Empty", "")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(trailers, expected);
        let (body, _, rest) = decode(Framing::Length(3), b"abcdef", step).expect("well framed");
        assert_eq!((body.as_slice(), rest.as_slice()), (&b"abc"[..], &b"def"[..]));
        let (body, _, rest) = decode(Framing::UntilClose, b"abcdef", step).expect("well framed");
        assert_eq!((body.as_slice(), rest.len()), (&b"abcdef"[..], 0));
    }
}

#[test]
fn broken_bodies_are_refused() {
    let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(2000));
    let wide = format!("0\r\n{}\r\n", "x: y\r\n".repeat(MAX_FIELDS + 1));
    let large = format!("0\r\nx: {}\r\n\r\n", "y".repeat(17_000));
    for (text, why) in [
        ("5 \r\nhello\r\n0\r\n\r\n", Error::Chunk),
        (" 5\r\nhello\r\n0\r\n\r\n", Error::Chunk),
        ("5\nhello\r\n0\r\n\r\n", Error::Chunk),
        ("5\rhello\r\n0\r\n\r\n", Error::Chunk),
        ("0x5\r\nhello\r\n0\r\n\r\n", Error::Chunk),
        ("-1\r\n", Error::Chunk),
        ("\r\n", Error::Chunk),
        (";x\r\n", Error::Chunk),
        ("11111111111111111\r\n", Error::Chunk),
        ("5;a\nb\r\nhello\r\n0\r\n\r\n", Error::Chunk),
        ("5\r\nhello\n0\r\n\r\n", Error::Chunk),
        ("5\r\nhello0\r\n\r\n", Error::Chunk),
        (&long, Error::Chunk),
        ("0\r\n folded: x\r\n\r\n", Error::Folded),
        ("0\r\nx: y\n\r\n", Error::LineEnd),
        ("0\r\nx: a\rb\r\n\r\n", Error::Field),
        ("0\r\nno colon\r\n\r\n", Error::Field),
        (&wide, Error::TooLarge),
        (&large, Error::TooLarge),
        ("5\r\nhel", Error::Incomplete),
        ("5\r\nhello\r\n0\r\n", Error::Incomplete),
        ("", Error::Incomplete),
    ] {
        for step in [1, 7, 100_000] {
            assert_eq!(decode(Framing::Chunked, text.as_bytes(), step), Err(why), "{text:?}");
        }
    }
    assert_eq!(decode(Framing::Length(5), b"hell", 1), Err(Error::Incomplete));
}
