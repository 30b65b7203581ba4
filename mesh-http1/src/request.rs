//! The head of a request (RFC 9112, section 3).

use crate::error::Error;
use crate::field::{is_target, token_length};
use crate::head::{Fields, Framing, Progress, Section, Version};

/// Empty lines before a request that are passed over (RFC 9112, section 2.2).
const MOST_EMPTY: usize = 4;

/// Reads the head of one request.
#[derive(Debug, Clone)]
pub struct RequestReader {
    section: Section,
    method: (usize, usize),
    target: (usize, usize),
    version: Option<Version>,
    empty: usize,
}

/// A head that was read.
#[derive(Debug, Clone)]
pub struct RequestHead<'a> {
    /// The method, a token.
    pub method: &'a [u8],
    /// The target: visible ASCII without fragment, in a form that the method may have.
    pub target: &'a [u8],
    /// The version.
    pub version: Version,
    /// The header lines.
    pub fields: Fields<'a>,
    /// Where the body ends.
    pub framing: Framing,
    /// The client would send another request after this one.
    pub persists: bool,
    /// The client waits for leave to send the body.
    pub expects_continue: bool,
    /// The client names another protocol.
    pub upgrade: bool,
}

impl Default for RequestReader {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestReader {
    /// A reader at the start of a request.
    pub const fn new() -> Self {
        Self { section: Section::new(), method: (0, 0), target: (0, 0), version: None, empty: 0 }
    }

    /// Reads on. `bytes` are all bytes of the request so far, those of earlier calls first.
    ///
    /// # Errors
    /// What is wrong; nothing more can be read from the connection.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Progress, Error> {
        while self.version.is_none() {
            match self.section.line(bytes)? {
                None => return self.early(bytes).map(|()| Progress::More),
                Some((start, end)) if start == end => {
                    self.empty += 1;
                    if self.empty > MOST_EMPTY {
                        return Err(Error::StartLine);
                    }
                }
                Some((start, end)) => self.version = Some(self.start_line(bytes, start, end)?),
            }
        }
        let progress = self.section.read(bytes)?;
        if let (Progress::Done(_), Some(version)) = (progress, self.version) {
            self.section.signs.check(version)?;
        }
        Ok(progress)
    }

    /// Whether nothing of a request was given yet: at most empty lines.
    pub fn is_untouched(&self, bytes: &[u8]) -> bool {
        self.version.is_none() && self.section.lines.start() == bytes.len()
    }

    /// The head, after it was read. `bytes` begin as those that were read.
    pub fn head<'a>(&'a self, bytes: &'a [u8]) -> RequestHead<'a> {
        let signs = &self.section.signs;
        let version = self.version.unwrap_or_default();
        let framing = match (signs.chunked, signs.length) {
            (true, _) => Framing::Chunked,
            (false, length) => Framing::Length(length.unwrap_or(0)),
        };
        RequestHead {
            method: &bytes[self.method.0..self.method.1],
            target: &bytes[self.target.0..self.target.1],
            version,
            fields: self.section.fields(bytes),
            framing,
            persists: signs.persists(version),
            expects_continue: signs.expects_continue && version == Version::Http11,
            upgrade: signs.upgrade && version == Version::Http11,
        }
    }

    /// The place of the target in the bytes of the head.
    pub fn target_place(&self) -> std::ops::Range<usize> {
        self.target.0..self.target.1
    }

    fn start_line(&mut self, bytes: &[u8], start: usize, end: usize) -> Result<Version, Error> {
        let line = &bytes[start..end];
        let method = token_length(line);
        if method == 0 || line.get(method) != Some(&b' ') {
            return Err(Error::StartLine);
        }
        let rest = &line[method + 1..];
        let blank = memchr::memchr(b' ', rest).ok_or(Error::StartLine)?;
        let (target, version) = (&rest[..blank], &rest[blank + 1..]);
        let version = Version::parse(version)?;
        if !has_form(&line[..method], target) {
            return Err(Error::Target);
        }
        self.method = (start, start + method);
        self.target = (start + method + 1, start + method + 1 + blank);
        Ok(version)
    }

    /// Refuses what cannot become a request, before its first line is complete.
    fn early(&self, bytes: &[u8]) -> Result<(), Error> {
        let begun = &bytes[self.section.lines.start()..];
        let method = token_length(begun);
        let fine = match begun.get(method) {
            None | Some(b' ') => begun.is_empty() || method > 0,
            // The first half of an empty line's end.
            Some(b'\r') => begun.len() == 1,
            Some(_) => false,
        };
        if fine { Ok(()) } else { Err(Error::StartLine) }
    }
}

/// Whether a target has a form that its method may have (RFC 9112, section 3.2).
fn has_form(method: &[u8], target: &[u8]) -> bool {
    let fine = match target.first() {
        _ if method == b"CONNECT" => !target.contains(&b'/'),
        Some(b'/') => true,
        Some(b'*') => target == b"*" && method == b"OPTIONS",
        Some(_) => is_absolute(target),
        None => false,
    };
    fine && !target.is_empty() && is_target(target)
}

/// A scheme, `://`, and something behind it.
fn is_absolute(target: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', target) else { return false };
    let (scheme, rest) = (&target[..colon], &target[colon + 1..]);
    let letters = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(letters)
        && rest.strip_prefix(b"//").is_some_and(|rest| !rest.is_empty() && !rest.starts_with(b"/"))
}
