//! What heads of requests and responses have in common: version, header lines, and what they say about the body
//! and the connection.

use crate::error::Error;
use crate::field::{decimal, is_value, token_length, trimmed};
use crate::lines::Lines;

/// Most bytes of a head.
pub const MAX_HEAD: usize = 60 * 1024;
/// Most header lines of a head.
pub const MAX_FIELDS: usize = 128;

/// How far a head is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It has so many bytes.
    Done(usize),
    /// More bytes are needed, behind those that were given.
    More,
}

/// A version of HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

impl Version {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        match bytes {
            b"HTTP/1.1" => Ok(Self::Http11),
            b"HTTP/1.0" => Ok(Self::Http10),
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(Error::Version),
            _ => Err(Error::StartLine),
        }
    }
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After its last chunk and the trailers.
    Chunked,
    /// After so many bytes; 0 is no body.
    Length(u64),
    /// With the connection.
    UntilClose,
}

/// One header line: where name and value are. A head is smaller than 64 KiB, so that all places fit.
#[derive(Debug, Clone, Copy, Default)]
struct Field {
    name: (u16, u16),
    value: (u16, u16),
}

/// What header lines say about the body and the connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Signs {
    pub(crate) length: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    pub(crate) upgrade: bool,
}

/// The header lines of a head, as far as they were read.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) lines: Lines,
    fields: [Field; MAX_FIELDS],
    count: usize,
    pub(crate) signs: Signs,
}

impl Section {
    pub(crate) const fn new() -> Self {
        let field = Field { name: (0, 0), value: (0, 0) };
        Self {
            lines: Lines::new(),
            fields: [field; MAX_FIELDS],
            count: 0,
            signs: Signs {
                length: None,
                chunked: false,
                close: false,
                keep_alive: false,
                expects_continue: false,
                upgrade: false,
            },
        }
    }

    /// Reads header lines up to the empty one.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<Progress, Error> {
        while let Some((start, end)) = self.line(bytes)? {
            if start == end {
                return Ok(Progress::Done(self.lines.start()));
            }
            self.field(bytes, start, end)?;
        }
        Ok(Progress::More)
    }

    /// The next line, within the limits.
    pub(crate) fn line(&mut self, bytes: &[u8]) -> Result<Option<(usize, usize)>, Error> {
        let line = self.lines.next(bytes)?;
        let read = if line.is_some() { self.lines.start() } else { bytes.len() };
        if read > MAX_HEAD { Err(Error::TooLarge) } else { Ok(line) }
    }

    fn field(&mut self, bytes: &[u8], start: usize, end: usize) -> Result<(), Error> {
        let line = &bytes[start..end];
        let name = token_length(line);
        match line.get(name) {
            Some(b':') if name > 0 => {}
            Some(b' ' | b'\t') if name == 0 => return Err(Error::Folded),
            _ => return Err(Error::Field),
        }
        let value = trimmed(bytes, start + name + 1, end);
        if !is_value(&bytes[value.0..value.1]) {
            return Err(Error::Field);
        }
        let slot = self.fields.get_mut(self.count).ok_or(Error::TooLarge)?;
        let narrow = |place: usize| place as u16;
        slot.name = (narrow(start), narrow(start + name));
        slot.value = (narrow(value.0), narrow(value.1));
        self.count += 1;
        self.signs.note(&line[..name], &bytes[value.0..value.1])
    }

    pub(crate) fn fields<'a>(&'a self, bytes: &'a [u8]) -> Fields<'a> {
        Fields { bytes, fields: self.fields[..self.count].iter() }
    }
}

impl Signs {
    /// Notes what a line says. Told apart by length first: most lines say nothing here.
    fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), Error> {
        let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
        match name.len() {
            6 if is(b"expect") => self.expects_continue = value.eq_ignore_ascii_case(b"100-continue"),
            7 if is(b"upgrade") => self.upgrade = true,
            10 if is(b"connection") => self.connection(value),
            14 if is(b"content-length") => {
                if self.length.is_some() || self.chunked {
                    return Err(Error::Framing);
                }
                self.length = Some(decimal(value).ok_or(Error::Framing)?);
            }
            17 if is(b"transfer-encoding") => {
                if self.length.is_some() || self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Error::Framing);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for token in value.split(|byte| *byte == b',') {
            let token = token.trim_ascii();
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// Whether another message may follow on the connection (RFC 9112, section 9.3).
    pub(crate) fn persists(&self, version: Version) -> bool {
        match version {
            Version::Http10 => self.keep_alive && !self.close,
            Version::Http11 => !self.close,
        }
    }

    /// Chunks are not known to HTTP/1.0, where something on the way may take them for data.
    pub(crate) fn check(&self, version: Version) -> Result<(), Error> {
        if self.chunked && version == Version::Http10 { Err(Error::Framing) } else { Ok(()) }
    }
}

/// The header lines of a head in their order: names as they were sent, values without outer blanks.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    fields: std::slice::Iter<'a, Field>,
}

impl Fields<'_> {
    /// The places of name and value in the bytes of the head.
    pub fn next_places(&mut self) -> Option<(std::ops::Range<usize>, std::ops::Range<usize>)> {
        let Field { name, value } = self.fields.next()?;
        Some((name.0.into()..name.1.into(), value.0.into()..value.1.into()))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.next_places()?;
        Some((&self.bytes[name], &self.bytes[value]))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.fields.size_hint()
    }
}

impl ExactSizeIterator for Fields<'_> {}
