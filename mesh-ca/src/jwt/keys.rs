//! The public keys that tokens are validated with, their names, and the form that others read. No tokens.

use aws_lc_rs::digest;
use serde_json::json;

use crate::key::{KeyError, PublicKey};
use crate::text::base64url;

/// Most keys one bundle may hold: as many as roots.
pub const MAX_JWT_KEYS: usize = crate::svid::MAX_ROOTS;

/// A key that signs the JWT-SVIDs of a trust domain, and its name (`kid`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtKey {
    key: PublicKey,
    id: String,
}

impl JwtKey {
    /// A key under the name that follows from it: its thumbprint (RFC 7638).
    pub fn new(key: PublicKey) -> Self {
        let (x, y) = coordinates(&key);
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let id = base64url(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        Self { key, id }
    }

    /// Reads a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// When it is not an uncompressed point on P-256.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        PublicKey::from_spki(der).map(Self::new)
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> &[u8] {
        self.key.spki()
    }

    /// Whether a token's signature (RFC 7518, section 3.4) was made with the private half.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verifies_fixed(message, signature)
    }
}

/// A set of keys as validators read it (RFC 7517, section 5; JWT-SVID, appendix A).
pub(crate) fn jwks<'k>(keys: impl IntoIterator<Item = &'k JwtKey>) -> Vec<u8> {
    let jwk = |key: &JwtKey| {
        let (x, y) = coordinates(&key.key);
        json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": key.id, "alg": "ES256", "use": "jwt-svid" })
    };
    json!({ "keys": keys.into_iter().map(jwk).collect::<Vec<_>>() }).to_string().into_bytes()
}

fn coordinates(key: &PublicKey) -> (String, String) {
    let (x, y) = key.coordinates();
    (base64url(x), base64url(y))
}
