//! The envelope: a fresh data key seals the content, the key-encryption key seals the data key. No IO.
//!
//! Layout, integers big-endian: magic (8), format version (2), generation (8), key mark (8), then nonce (12)
//! and sealed data key (32 + 16), then nonce (12) and sealed content (n + 16). Both are AES-256-GCM; the
//! bytes before each nonce, followed by the purpose, are its associated data.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"MESHSEAL";
const VERSION: u16 = 1;
const KEY: usize = 32;
const TAG: usize = 16;
const MARK: usize = 8;
const HEADER: usize = MAGIC.len() + 2 + 8 + MARK;
const WRAPPED: usize = HEADER + NONCE_LEN + KEY + TAG;
const SHORTEST: usize = WRAPPED + NONCE_LEN + TAG;

/// Longest sealed content read, in bytes: far more than any hierarchy needs.
const LONGEST: usize = 16 * 1024 * 1024;

/// Why text or bytes are no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealingKeyError {
    /// Not 64 hexadecimal digits.
    #[error("a sealing key is 64 hexadecimal digits")]
    Form,
    /// Every byte is equal, as in an example.
    #[error("the sealing key is trivial")]
    Trivial,
}

/// Why sealed bytes cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsealError {
    /// The bytes were changed after they were sealed, or were sealed for another purpose.
    #[error("the content is damaged or was sealed for another purpose")]
    Damaged,
    /// Not a sealed store at all.
    #[error("this is not a sealed store")]
    NotSealed,
    /// Longer than anything that was ever sealed.
    #[error("{0} bytes are more than a sealed store may have")]
    TooLong(usize),
    /// The end is missing.
    #[error("the content is truncated: {0} bytes are left")]
    Truncated(usize),
    /// Written by a newer program.
    #[error("format version {0} is newer than this program reads ({VERSION})")]
    Version(u16),
    /// Sealed with another key.
    #[error("the key does not open it: it was sealed with another one")]
    WrongKey,
}

/// The key-encryption key. Wiped when dropped, never printed.
pub struct SealingKey(Zeroizing<[u8; KEY]>);

impl SealingKey {
    /// A fresh key.
    pub fn generate() -> Self {
        Self(Zeroizing::new(mesh_rt::random::secure()))
    }

    /// Reads 64 hexadecimal digits; blanks around them are ignored.
    ///
    /// # Errors
    /// When it is something else, or a trivial key.
    pub fn from_hex(text: &str) -> Result<Self, SealingKeyError> {
        let bytes = crate::text::unhex(text.trim()).ok_or(SealingKeyError::Form)?;
        let key: [u8; KEY] = bytes.as_slice().try_into().map_err(|_| SealingKeyError::Form)?;
        if key.iter().all(|byte| *byte == key[0]) {
            return Err(SealingKeyError::Trivial);
        }
        Ok(Self(Zeroizing::new(key)))
    }

    /// The form that [`SealingKey::from_hex`] reads. Handle with care: this is the secret itself.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(crate::text::hex(&self.0[..]))
    }

    /// A public mark by which a wrong key is told from damage.
    fn mark(&self) -> [u8; MARK] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0[..]);
        let tag = hmac::sign(&key, b"mesh sealing key mark v1");
        let mut mark = [0; MARK];
        mark.copy_from_slice(&tag.as_ref()[..MARK]);
        mark
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(redacted)")
    }
}

/// What [`open`] found.
pub struct Unsealed {
    /// The content; wiped when dropped.
    pub content: Zeroizing<Vec<u8>>,
    /// The number that the writer gave to it.
    pub generation: u64,
}

impl fmt::Debug for Unsealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsealed").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// Seals content. `purpose` binds it to its use: content sealed for one purpose does not open for another.
pub fn seal(content: &[u8], key: &SealingKey, purpose: &str, generation: u64) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(SHORTEST + content.len());
    sealed.extend_from_slice(MAGIC);
    sealed.extend_from_slice(&VERSION.to_be_bytes());
    sealed.extend_from_slice(&generation.to_be_bytes());
    sealed.extend_from_slice(&key.mark());
    let inner: Zeroizing<[u8; KEY]> = Zeroizing::new(mesh_rt::random::secure());
    append(&mut sealed, &inner[..], &key.0, purpose);
    append(&mut sealed, content, &inner, purpose);
    sealed
}

/// The number that the writer gave to sealed bytes; none when they are no sealed store. It is not verified: use
/// it to order writers that are trusted with the bytes.
pub fn generation(sealed: &[u8]) -> Option<u64> {
    let rest = sealed.strip_prefix(MAGIC)?.get(2..)?;
    rest.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Opens sealed bytes.
///
/// # Errors
/// [`UnsealError::WrongKey`] when another key sealed them, else which damage was found.
pub fn open(sealed: &[u8], key: &SealingKey, purpose: &str) -> Result<Unsealed, UnsealError> {
    if sealed.len() > LONGEST {
        return Err(UnsealError::TooLong(sealed.len()));
    }
    if !sealed.starts_with(&MAGIC[..sealed.len().min(MAGIC.len())]) || sealed.is_empty() {
        return Err(UnsealError::NotSealed);
    }
    if sealed.len() < SHORTEST {
        return Err(UnsealError::Truncated(sealed.len()));
    }
    let (_, rest) = sealed.split_at(MAGIC.len());
    let (version, rest) = take::<2>(rest);
    let (generation, rest) = take::<8>(rest);
    let (mark, _) = take::<MARK>(rest);
    let version = u16::from_be_bytes(version);
    if version != VERSION {
        return Err(UnsealError::Version(version));
    }
    if mark != key.mark() {
        return Err(UnsealError::WrongKey);
    }
    let inner = unwrap(sealed, HEADER..WRAPPED, &key.0, purpose)?;
    let inner: [u8; KEY] = inner.as_slice().try_into().map_err(|_| UnsealError::Damaged)?;
    let content = unwrap(sealed, WRAPPED..sealed.len(), &Zeroizing::new(inner), purpose)?;
    Ok(Unsealed { content, generation: u64::from_be_bytes(generation) })
}

fn append(sealed: &mut Vec<u8>, content: &[u8], key: &[u8; KEY], purpose: &str) {
    let associated = associated(sealed, purpose);
    let nonce: [u8; NONCE_LEN] = mesh_rt::random::secure();
    sealed.extend_from_slice(&nonce);
    let start = sealed.len();
    sealed.extend_from_slice(content);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = cipher(key).seal_in_place_separate_tag(nonce, Aad::from(associated), &mut sealed[start..]);
    sealed.extend_from_slice(tag.expect("the content is shorter than the cipher's limit").as_ref());
}

fn unwrap(
    sealed: &[u8],
    range: std::ops::Range<usize>,
    key: &[u8; KEY],
    purpose: &str,
) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
    let associated = associated(&sealed[..range.start], purpose);
    let (nonce, body) = take::<NONCE_LEN>(&sealed[range]);
    let mut body = Zeroizing::new(body.to_vec());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let opened = cipher(key).open_in_place(nonce, Aad::from(associated), &mut body);
    let length = opened.map_err(|_| UnsealError::Damaged)?.len();
    body.truncate(length);
    Ok(body)
}

fn associated(before: &[u8], purpose: &str) -> Vec<u8> {
    [before, purpose.as_bytes()].concat()
}

fn cipher(key: &[u8; KEY]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("the key has the cipher's length"))
}

/// The first `N` bytes and the rest; the caller has checked the length.
fn take<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    let (first, rest) = bytes.split_first_chunk().expect("the length was checked");
    (*first, rest)
}
