//! The last-good snapshot: what a client last held, as one file, so that it starts without a server. Nothing here
//! knows what a resource means.
//!
//! The file, before sealing: `MESHLAST`, format (4 bytes), time of writing (8 bytes, milliseconds since 1970),
//! length of the content (8 bytes), SHA-256 of all that and the content, the content (`mesh.v1.LastGood`). Numbers
//! are big endian. A file is whole or it is an error; there is no partial reading.

mod recorder;
mod seal;
mod store;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use prost::Message;

pub use self::recorder::{Recorder, WriteState, Writer};
pub use self::seal::{AesGcm, Plain, SealError, Sealer};
pub use self::store::{Store, StoreError};
use crate::generated::mesh_v1 as wire;
use crate::key::{Key, Version};

/// The format that this version writes and reads.
pub const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"MESHLAST";
const DIGEST: usize = 32;
const HEAD: usize = 8 + 4 + 8 + 8;

/// One held resource.
#[derive(Clone, PartialEq, Eq)]
pub struct Held {
    /// Type and name.
    pub key: Key,
    /// The version the server gave it.
    pub version: Version,
    /// The payload as received.
    pub body: Bytes,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({}, {}, {} bytes)", self.key, self.version, self.body.len()) // the body may hold keys
    }
}

/// A last-good snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    /// When it was written, with the precision of a millisecond.
    pub saved: SystemTime,
    /// Everything that was held.
    pub resources: Vec<Held>,
}

impl LastGood {
    /// How old it is. A snapshot from the future, as after a clock step, has no age.
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.saved).unwrap_or_default()
    }

    /// Names and versions, as a client needs them to ask for differences only.
    pub fn versions(&self) -> Vec<(Key, Version)> {
        self.resources.iter().map(|held| (held.key.clone(), held.version.clone())).collect()
    }
}

/// Why bytes are not a last-good snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The checksum does not fit.
    #[error("the checksum does not fit: the file is damaged")]
    Checksum,
    /// The content is not what this format holds.
    #[error("the content cannot be read: {0}")]
    Content(#[from] prost::DecodeError),
    /// Two resources have one name.
    #[error("{0} is there twice")]
    Duplicate(Key),
    /// Written in a format that this version does not read.
    #[error("format {0} is not known; this version reads {FORMAT}")]
    Format(u32),
    /// The bytes do not begin as a snapshot does; perhaps they are sealed with another key.
    #[error("the file does not begin as a last-good snapshot")]
    Magic,
    /// The file ends too early, or something follows it.
    #[error("the file has {actual} bytes instead of {expected}")]
    Truncated {
        /// Bytes that are there.
        actual: u64,
        /// Bytes that the header announces, or the header's own length.
        expected: u64,
    },
}

/// Writes a snapshot as bytes.
pub fn write<'a>(saved: SystemTime, resources: impl IntoIterator<Item = &'a Held>) -> Vec<u8> {
    let resource = |held: &Held| wire::HeldResource {
        type_url: held.key.type_url.to_string(),
        name: held.key.name.to_string(),
        version: held.version.to_string(),
        body: held.body.to_vec(),
    };
    let content = wire::LastGood { resources: resources.into_iter().map(resource).collect() }.encode_to_vec();
    let since = saved.duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let mut out = Vec::with_capacity(HEAD + DIGEST + content.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT.to_be_bytes());
    out.extend_from_slice(&millis.to_be_bytes());
    out.extend_from_slice(&(content.len() as u64).to_be_bytes());
    let digest = checksum(&out, &content);
    out.extend_from_slice(&digest);
    out.extend_from_slice(&content);
    out
}

/// Reads a snapshot from untrusted bytes.
///
/// # Errors
/// [`FormatError`] unless the whole file is intact.
pub fn read(bytes: &[u8]) -> Result<LastGood, FormatError> {
    let actual = bytes.len() as u64;
    if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
        return Err(FormatError::Magic);
    }
    let truncated = |expected: u64| FormatError::Truncated { actual, expected };
    let (head, rest) = bytes.split_at_checked(HEAD).ok_or_else(|| truncated((HEAD + DIGEST) as u64))?;
    let format = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
    if format != FORMAT {
        return Err(FormatError::Format(format));
    }
    let (digest, content) = rest.split_at_checked(DIGEST).ok_or_else(|| truncated((HEAD + DIGEST) as u64))?;
    let number = |at: usize| head[at..at + 8].iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    if number(20) != content.len() as u64 {
        return Err(truncated(number(20).saturating_add((HEAD + DIGEST) as u64)));
    }
    if checksum(head, content) != digest {
        return Err(FormatError::Checksum);
    }
    let saved = UNIX_EPOCH.checked_add(Duration::from_millis(number(12)));
    Ok(LastGood { saved: saved.ok_or(FormatError::Checksum)?, resources: resources(content)? })
}

fn resources(content: &[u8]) -> Result<Vec<Held>, FormatError> {
    let mut seen = std::collections::BTreeSet::new();
    let mut resources = Vec::new();
    for wire in wire::LastGood::decode(content)?.resources {
        let key = Key::new(wire.type_url.as_str().into(), wire.name);
        if !seen.insert(key.clone()) {
            return Err(FormatError::Duplicate(key));
        }
        let version = Version::from(wire.version.as_str());
        resources.push(Held { key, version, body: Bytes::from(wire.body) });
    }
    Ok(resources)
}

fn checksum(head: &[u8], content: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(head);
    context.update(content);
    context.finish().as_ref().to_vec()
}

#[cfg(test)]
mod tests;
