//! Lines of a head, each found once, however the bytes arrive.

use crate::error::Error;

/// The place in a head up to which lines were taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines {
    /// Start of the next line.
    start: usize,
    /// Up to here the next line has no end.
    searched: usize,
}

impl Lines {
    pub(crate) const fn new() -> Self {
        Self { start: 0, searched: 0 }
    }

    /// Where the next line starts.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// The next line without its end, if all of it is there.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<Option<(usize, usize)>, Error> {
        let Some(found) = memchr::memchr(b'\n', &bytes[self.searched..]) else {
            self.searched = bytes.len();
            return Ok(None);
        };
        let newline = self.searched + found;
        let start = self.start;
        if newline == start || bytes[newline - 1] != b'\r' {
            return Err(Error::LineEnd);
        }
        (self.start, self.searched) = (newline + 1, newline + 1);
        Ok(Some((start, newline - 1)))
    }
}
