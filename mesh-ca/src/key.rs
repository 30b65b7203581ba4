//! P-256 keys: private ones, wiped when dropped and never printed, and checked public ones. No certificates.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED,
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey, UnparsedPublicKey,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

/// `SEQUENCE { SEQUENCE { ecPublicKey, prime256v1 }, BIT STRING` up to the uncompressed point (RFC 5480).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// A P-256 key in PKCS#8 without its public half, up to the scalar (RFC 5208, RFC 5915).
const SCALAR_PREFIX: [u8; 35] = [
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
    0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04,
    0x20,
];
/// An uncompressed P-256 point: 0x04, X, Y.
const POINT: usize = 65;

/// Why a key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The private key is not a P-256 key in PKCS#8.
    #[error("the private key is not a P-256 key in PKCS#8")]
    Private,
    /// The public key is not an uncompressed point on P-256.
    #[error("the public key is not an uncompressed point on the curve P-256")]
    Public,
}

/// A P-256 public key whose point was checked to lie on the curve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    spki: [u8; SPKI_PREFIX.len() + POINT],
}

impl PublicKey {
    /// Checks a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// [`KeyError::Public`] unless it is exactly an uncompressed point on P-256.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let spki: [u8; SPKI_PREFIX.len() + POINT] = der.try_into().map_err(|_| KeyError::Public)?;
        let (prefix, point) = spki.split_at(SPKI_PREFIX.len());
        if prefix != SPKI_PREFIX || point[0] != 4 {
            return Err(KeyError::Public);
        }
        ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).map_err(|_| KeyError::Public)?;
        Ok(Self { spki })
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether a signature (ECDSA with SHA-256, ASN.1) over a message was made with the private half.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.point());
        key.verify(message, signature).is_ok()
    }

    /// Whether a signature of two numbers of 32 bytes (RFC 7518, section 3.4) was made with the private half.
    pub(crate) fn verifies_fixed(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.point());
        key.verify(message, signature).is_ok()
    }

    /// X and Y, 32 bytes each.
    pub(crate) fn coordinates(&self) -> (&[u8], &[u8]) {
        self.point()[1..].split_at(POINT / 2)
    }

    fn point(&self) -> &[u8] {
        &self.spki[SPKI_PREFIX.len()..]
    }
}

/// A P-256 private key. Its bytes are wiped when it is dropped, and it never prints them.
pub struct PrivateKey {
    pkcs8: Zeroizing<Vec<u8>>,
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl PrivateKey {
    /// A fresh key from the operating system's randomness.
    pub fn generate() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .expect("the operating system's random source answers");
        let document = pair.to_pkcs8v1().expect("a generated key has an encoding");
        let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
        let public = public_of(&pair);
        Self { pkcs8, pair, public }
    }

    /// Reads a key in PKCS#8.
    ///
    /// # Errors
    /// [`KeyError::Private`] when it is not a P-256 key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).map_err(|_| KeyError::Private)?;
        let public = public_of(&pair);
        Ok(Self { pkcs8: Zeroizing::new(der.to_vec()), pair, public })
    }

    /// The key whose scalar this is. Its encoding is without the public half, which not everybody reads.
    ///
    /// # Errors
    /// [`KeyError::Private`] when it is zero, or not below the order of the curve.
    pub(crate) fn from_scalar(scalar: &[u8; 32]) -> Result<Self, KeyError> {
        Self::from_pkcs8(&Zeroizing::new([&SCALAR_PREFIX[..], scalar].concat()))
    }

    /// A signature of two numbers of 32 bytes (RFC 7518, section 3.4).
    pub(crate) fn sign_fixed(&self, message: &[u8]) -> Vec<u8> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.pkcs8);
        let pair = pair.expect("the encoding was read before");
        let signature = pair.sign(&SystemRandom::new(), message);
        signature.expect("the operating system's random source answers").as_ref().to_vec()
    }

    /// A secret for one purpose, from which the key cannot be found. Signatures are made of other bytes of it.
    pub(crate) fn secret(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.pkcs8());
        let tag = hmac::sign(&key, purpose.as_bytes());
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(tag.as_ref());
        secret
    }

    /// The key in PKCS#8. Handle with care: this is the secret itself.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The key for rustls, which keeps its own copy.
    pub(crate) fn for_rustls(&self) -> PrivateKeyDer<'_> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.as_slice()))
    }
}

impl Clone for PrivateKey {
    fn clone(&self) -> Self {
        Self::from_pkcs8(&self.pkcs8).expect("the encoding was read before")
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

fn public_of(pair: &EcdsaKeyPair) -> PublicKey {
    let mut spki = [0; SPKI_PREFIX.len() + POINT];
    spki[..SPKI_PREFIX.len()].copy_from_slice(&SPKI_PREFIX);
    spki[SPKI_PREFIX.len()..].copy_from_slice(pair.public_key().as_ref());
    PublicKey { spki }
}

/// What rcgen signs with; keeps its traits out of the public types.
pub(crate) struct Signer<'a>(pub(crate) &'a PrivateKey);

/// What rcgen puts into a certificate.
pub(crate) struct Subject<'a>(pub(crate) &'a PublicKey);

impl rcgen::PublicKeyData for Subject<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.point()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public.point()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.0.pair.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| rcgen::Error::RingUnspecified)?.as_ref().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_encoding() {
        let key = PrivateKey::generate();
        let read = PrivateKey::from_pkcs8(key.pkcs8()).unwrap();
        assert_eq!(read.public(), key.public());
        assert_eq!(PublicKey::from_spki(key.public().spki()), Ok(key.public().clone()));
    }

    #[test]
    fn a_scalar_is_a_key_unless_it_is_out_of_range() {
        let key = PrivateKey::generate();
        let scalar: [u8; 32] = key.pkcs8()[36..68].try_into().unwrap();
        let again = PrivateKey::from_scalar(&scalar).unwrap();
        assert_eq!(again.public(), key.public());
        assert_eq!(again.clone().public(), key.public());
        assert!(key.public().verifies_fixed(b"text", &again.sign_fixed(b"text")));
        assert!(!key.public().verifies_fixed(b"test", &again.sign_fixed(b"text")));
        assert!(PrivateKey::from_scalar(&[0; 32]).is_err());
        assert!(PrivateKey::from_scalar(&[0xff; 32]).is_err());
    }

    #[test]
    fn only_points_on_the_curve_are_public_keys() {
        let good = PrivateKey::generate().public().spki().to_vec();
        let mut off_curve = good.clone();
        off_curve[60] ^= 1;
        let mut other_curve = good.clone();
        other_curve[22] ^= 1;
        let longer = [&good[..], &[0]].concat();
        for bad in [&off_curve[..], &other_curve, &longer, &good[..90], &[]] {
            assert_eq!(PublicKey::from_spki(bad), Err(KeyError::Public));
        }
    }
}
