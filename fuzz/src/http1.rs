//! The target for HTTP/1 as bytes: a connection's requests and answers, in pieces.

use mesh_http1::{Decoder, Error, Piece, Progress, RequestReader, ResponseReader, write};

use crate::planted;

/// What a message came to.
#[derive(Debug, PartialEq)]
enum Read {
    Refused,
    Incomplete,
    Message { used: usize, body: Vec<u8> },
}

/// The first byte chooses the size of pieces, the others are a connection. In pieces or at once, as a request or as
/// an answer, it reads the same; a head that is taken is written and read back, and says the same.
pub fn http1(bytes: &[u8]) {
    let Some((step, bytes)) = bytes.split_first() else { return };
    let step = usize::from(*step).max(1);
    let whole = request(bytes, usize::MAX);
    let pieces = request(bytes, step);
    assert_eq!(whole, pieces, "a request in pieces of {step}");
    assert_eq!(response(bytes, usize::MAX), response(bytes, step), "an answer in pieces of {step}");
    if let Read::Message { body, .. } = &whole {
        again(bytes);
        planted(body.len() == 7);
    }
}

fn ends(bytes: &[u8], step: usize) -> impl Iterator<Item = usize> {
    let length = bytes.len();
    (1..)
        .map(move |count: usize| count.saturating_mul(step).min(length))
        .scan(false, move |last, end| (!std::mem::replace(last, end == length)).then_some(end))
}

fn request(bytes: &[u8], step: usize) -> Read {
    let mut reader = RequestReader::new();
    message(bytes, step, |bytes| {
        let Progress::Done(length) = reader.read(bytes)? else { return Ok(None) };
        Ok(Some((length, Decoder::new(reader.head(bytes).framing))))
    })
}

fn response(bytes: &[u8], step: usize) -> Read {
    let mut reader = ResponseReader::new();
    message(bytes, step, |bytes| {
        let Progress::Done(length) = reader.read(bytes)? else { return Ok(None) };
        Ok(Some((length, Decoder::new(reader.head(bytes).framing(false)))))
    })
}

fn message(
    bytes: &[u8],
    step: usize,
    mut head: impl FnMut(&[u8]) -> Result<Option<(usize, Decoder)>, Error>,
) -> Read {
    let mut body = Vec::new();
    let mut under_way: Option<(usize, Decoder)> = None;
    for end in ends(bytes, step) {
        if under_way.is_none() {
            match head(&bytes[..end]) {
                Err(_) => return Read::Refused,
                Ok(None) => continue,
                Ok(read) => under_way = read,
            }
        }
        let Some((at, decoder)) = &mut under_way else { continue };
        loop {
            match decoder.next(&bytes[*at..end]) {
                Err(_) => return Read::Refused,
                Ok(Piece::Data { skip, length }) => {
                    body.extend_from_slice(&bytes[*at + skip..*at + skip + length]);
                    *at += skip + length;
                }
                Ok(Piece::End { used }) => return Read::Message { used: *at + used, body },
                Ok(Piece::More { used }) => {
                    *at += used;
                    break;
                }
            }
        }
    }
    Read::Incomplete
}

/// Writes the head of a request and reads it back.
fn again(bytes: &[u8]) {
    let mut reader = RequestReader::new();
    let Ok(Progress::Done(_)) = reader.read(bytes) else { return };
    let head = reader.head(bytes);
    let mut written = Vec::new();
    write::request_line(&mut written, head.method, head.target);
    for (name, value) in head.fields.clone() {
        write::field(&mut written, name, value);
    }
    write::end_of_head(&mut written);
    let mut second = RequestReader::new();
    // Blanks are written where there may have been none, so that a head at the limit may grow out of it.
    let Ok(Progress::Done(length)) = second.read(&written) else {
        assert!(written.len() > mesh_http1::MAX_HEAD, "what was read is written and refused");
        return;
    };
    assert_eq!(length, written.len());
    let read = second.head(&written);
    assert_eq!((read.method, read.target, read.framing), (head.method, head.target, head.framing));
    assert!(read.fields.eq(head.fields), "the header lines changed");
}
