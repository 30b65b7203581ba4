//! The head of a response (RFC 9112, section 4).

use crate::error::Error;
use crate::field::is_value;
use crate::head::{Fields, Framing, Progress, Section, Version};

/// Reads the head of one response.
#[derive(Debug, Clone)]
pub struct ResponseReader {
    section: Section,
    start: Option<(Version, u16)>,
}

/// A head that was read.
#[derive(Debug, Clone)]
pub struct ResponseHead<'a> {
    /// The status, 100 to 999.
    pub status: u16,
    /// The version.
    pub version: Version,
    /// The header lines.
    pub fields: Fields<'a>,
    /// The server would take another request after this one.
    pub persists: bool,
    framing: Framing,
}

impl ResponseHead<'_> {
    /// Where the body ends, which the request has a say in (RFC 9112, section 6.3).
    pub fn framing(&self, of_head_request: bool) -> Framing {
        if of_head_request || matches!(self.status, 100..=199 | 204 | 304) {
            return Framing::Length(0);
        }
        self.framing
    }
}

impl Default for ResponseReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ResponseReader {
    /// A reader at the start of a response.
    pub const fn new() -> Self {
        Self { section: Section::new(), start: None }
    }

    /// Reads on. `bytes` are all bytes of the response so far, those of earlier calls first.
    ///
    /// # Errors
    /// What is wrong; nothing more can be read from the connection.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Progress, Error> {
        let (version, _) = match self.start {
            Some(start) => start,
            None => match self.section.line(bytes)? {
                None => return early(bytes).map(|()| Progress::More),
                Some((start, end)) => *self.start.insert(status_line(&bytes[start..end])?),
            },
        };
        let progress = self.section.read(bytes)?;
        if let Progress::Done(_) = progress {
            self.section.signs.check(version)?;
        }
        Ok(progress)
    }

    /// The head, after it was read. `bytes` begin as those that were read.
    pub fn head<'a>(&'a self, bytes: &'a [u8]) -> ResponseHead<'a> {
        let signs = &self.section.signs;
        let (version, status) = self.start.unwrap_or_default();
        let framing = match (signs.chunked, signs.length) {
            (true, _) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::UntilClose,
        };
        let persists = signs.persists(version);
        ResponseHead { status, version, fields: self.section.fields(bytes), persists, framing }
    }
}

fn status_line(line: &[u8]) -> Result<(Version, u16), Error> {
    let (version, rest) = line.split_at_checked(8).ok_or(Error::StartLine)?;
    let version = Version::parse(version)?;
    // The phrase may be empty, and some servers leave out the blank before it then.
    let [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', phrase @ ..] = rest else {
        return Err(Error::StartLine);
    };
    if !matches!(phrase.first(), None | Some(b' ')) || !is_value(phrase) {
        return Err(Error::StartLine);
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    Ok((version, digit(a) * 100 + digit(b) * 10 + digit(c)))
}

/// Refuses what cannot become a response, before its first line is complete.
fn early(bytes: &[u8]) -> Result<(), Error> {
    const BEGIN: &[u8] = b"HTTP/1.";
    let known = bytes.len().min(BEGIN.len());
    if bytes[..known] == BEGIN[..known] { Ok(()) } else { Err(Error::StartLine) }
}
