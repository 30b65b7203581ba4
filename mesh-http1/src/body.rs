//! Bodies: data and framing told apart, whatever pieces the bytes come in (RFC 9112, sections 6 and 7).

use crate::error::Error;
use crate::field::{is_value, token_length, trimmed};
use crate::head::{Framing, MAX_FIELDS};

/// Longest line of a chunk's size with its extensions.
pub const MAX_CHUNK_LINE: usize = 1024;
/// Most bytes of trailers.
pub const MAX_TRAILERS: usize = 16 * 1024;

/// What comes next in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes of framing, then so many of the body; both are used up.
    Data {
        /// Bytes of framing.
        skip: usize,
        /// Bytes of the body, at least one.
        length: usize,
    },
    /// So many bytes of framing, then the body is over.
    End {
        /// Bytes of framing.
        used: usize,
    },
    /// So many bytes of framing, and more bytes are needed.
    More {
        /// Bytes of framing: all that were given.
        used: usize,
    },
}

/// Where in a body the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Data of a chunk: bytes to go.
    Chunk(u64),
    /// CR, then LF after a chunk's data.
    ChunkCr,
    ChunkLf,
    /// A body of known length: bytes to go.
    Fixed(u64),
    /// The body is over.
    Over,
    /// Digits of a chunk's size.
    Size,
    /// The extensions behind it.
    Extension,
    /// LF after the size's line.
    SizeLf,
    /// Trailer lines and the empty line.
    Trailers,
    /// Everything up to the end of the connection.
    UntilClose,
}

/// Follows one body.
#[derive(Debug, Clone)]
pub struct Decoder {
    state: State,
    size: u64,
    /// Length of the line with a chunk's size so far.
    line: usize,
    trailers: Vec<u8>,
    /// Start of the trailer line that is being read, and lines before it.
    trailer: (usize, usize),
}

impl Decoder {
    /// At the start of a body of this framing.
    pub const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Chunked => State::Size,
            Framing::Length(0) => State::Over,
            Framing::Length(length) => State::Fixed(length),
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, size: 0, line: 0, trailers: Vec::new(), trailer: (0, 0) }
    }

    /// Whether the body is over.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Bytes to go, where the length is known.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Fixed(length) => Some(length),
            State::Over => Some(0),
            _ => None,
        }
    }

    /// What the bytes begin with. The used ones must not be given again.
    ///
    /// # Errors
    /// The framing is broken; nothing more can be read from the connection.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, Error> {
        let mut used = 0;
        loop {
            match self.state {
                State::Over => return Ok(Piece::End { used }),
                _ if used == bytes.len() => return Ok(Piece::More { used }),
                State::Fixed(_) | State::Chunk(_) | State::UntilClose => {
                    let length = self.take(bytes.len() - used);
                    return Ok(Piece::Data { skip: used, length });
                }
                State::Trailers => used += self.trailer_line(&bytes[used..])?,
                _ => {
                    self.framing_byte(bytes[used])?;
                    used += 1;
                }
            }
        }
    }

    /// The connection ended.
    ///
    /// # Errors
    /// The body was not over.
    pub fn finish(&mut self) -> Result<(), Error> {
        match self.state {
            State::Over | State::UntilClose => {
                self.state = State::Over;
                Ok(())
            }
            _ => Err(Error::Incomplete),
        }
    }

    /// The trailers of a body that is over.
    pub fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.trailers.split(|byte| *byte == b'\n').filter_map(|line| {
            let line = line.strip_suffix(b"\r")?;
            let (name, value) = line.split_at_checked(token_length(line))?;
            let (start, end) = trimmed(value, 1.min(value.len()), value.len());
            (!name.is_empty()).then(|| (name, &value[start..end]))
        })
    }

    fn take(&mut self, available: usize) -> usize {
        let (State::Fixed(left) | State::Chunk(left)) = self.state else { return available };
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(available);
        let left = left - count as u64;
        self.state = match self.state {
            State::Chunk(_) if left == 0 => State::ChunkCr,
            State::Chunk(_) => State::Chunk(left),
            _ if left == 0 => State::Over,
            _ => State::Fixed(left),
        };
        count
    }

    fn framing_byte(&mut self, byte: u8) -> Result<(), Error> {
        self.line += 1;
        self.state = match (self.state, byte) {
            (State::ChunkCr, b'\r') => State::ChunkLf,
            (State::ChunkLf, b'\n') => {
                (self.size, self.line) = (0, 0);
                State::Size
            }
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                let shifted = self.size.checked_mul(16).ok_or(Error::Chunk)?;
                self.size = shifted | u64::from(digit);
                State::Size
            }
            (State::Size | State::Extension, b'\r') if self.line > 1 => State::SizeLf,
            (State::Size, b';') if self.line > 1 => State::Extension,
            (State::Extension, _) if is_value(&[byte]) => State::Extension,
            (State::SizeLf, b'\n') if self.size == 0 => State::Trailers,
            (State::SizeLf, b'\n') => State::Chunk(self.size),
            _ => return Err(Error::Chunk),
        };
        if self.line > MAX_CHUNK_LINE { Err(Error::Chunk) } else { Ok(()) }
    }

    /// Takes bytes up to the end of a trailer line, or all of them; how many.
    fn trailer_line(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let newline = memchr::memchr(b'\n', bytes);
        let count = newline.map_or(bytes.len(), |at| at + 1);
        if self.trailers.len() + count > MAX_TRAILERS {
            return Err(Error::TooLarge);
        }
        self.trailers.extend_from_slice(&bytes[..count]);
        if newline.is_none() {
            return Ok(count);
        }
        let (start, lines) = self.trailer;
        let line = self.trailers[start..].strip_suffix(b"\r\n").ok_or(Error::LineEnd)?;
        if line.is_empty() {
            self.state = State::Over;
            return Ok(count);
        }
        let name = token_length(line);
        match line.get(name) {
            Some(b':') if name > 0 && is_value(&line[name + 1..]) => {}
            Some(b' ' | b'\t') if name == 0 => return Err(Error::Folded),
            _ => return Err(Error::Field),
        }
        if lines >= MAX_FIELDS {
            return Err(Error::TooLarge);
        }
        self.trailer = (self.trailers.len(), lines + 1);
        Ok(count)
    }
}
