//! Sealing of the file: plain for memory-backed volumes, authenticated encryption on disks. Keys come from the
//! caller.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

const MAGIC: &[u8; 8] = b"MESHSEAL";

/// A snapshot cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SealError(pub String);

/// Protects a file's content.
pub trait Sealer: Send + Sync + 'static {
    /// Turns content into what is written.
    ///
    /// # Errors
    /// When sealing fails; nothing is written then.
    fn seal(&self, content: Vec<u8>) -> Result<Vec<u8>, SealError>;

    /// Turns what was written back into content.
    ///
    /// # Errors
    /// When it was sealed with another key or is damaged.
    fn open(&self, sealed: Vec<u8>) -> Result<Vec<u8>, SealError>;
}

/// No protection: for volumes that live in memory only. Snapshots hold private keys.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Sealer for Plain {
    fn seal(&self, content: Vec<u8>) -> Result<Vec<u8>, SealError> {
        Ok(content)
    }

    fn open(&self, sealed: Vec<u8>) -> Result<Vec<u8>, SealError> {
        Ok(sealed)
    }
}

/// AES-256-GCM with a fresh random nonce for every file.
pub struct AesGcm(RandomizedNonceKey);

impl AesGcm {
    /// A sealer with this key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(RandomizedNonceKey::new(&AES_256_GCM, key).expect("the key has the length the algorithm wants"))
    }
}

impl fmt::Debug for AesGcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesGcm(redacted)")
    }
}

impl Sealer for AesGcm {
    fn seal(&self, mut content: Vec<u8>) -> Result<Vec<u8>, SealError> {
        let sealed = self.0.seal_in_place_append_tag(Aad::from(MAGIC), &mut content);
        let nonce = sealed.map_err(|_| SealError("the snapshot cannot be sealed".to_owned()))?;
        Ok([&MAGIC[..], nonce.as_ref(), &content].concat())
    }

    fn open(&self, sealed: Vec<u8>) -> Result<Vec<u8>, SealError> {
        let wrong = || SealError("the snapshot is damaged or sealed with another key".to_owned());
        let rest = sealed.strip_prefix(MAGIC).ok_or_else(wrong)?;
        let (nonce, rest) = rest.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
        let mut content = rest.to_vec();
        let opened = self.0.open_in_place(nonce, Aad::from(MAGIC), &mut content).map_err(|_| wrong())?.len();
        content.truncate(opened);
        Ok(content)
    }
}
