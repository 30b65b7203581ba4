//! Certificate requests: the request itself, and the gRPC service `mesh.v1.CertificateService` on both sides.
//!
//! Of a request only the public key counts. Names and extensions in it are not even read: the identity comes
//! from an [`crate::attest::Attestor`].

mod client;
mod server;
mod wire;

pub use client::{CertificateClient, Fresh, Proof, RequestError};
pub use server::CertificateService;

use rcgen::CertificateParams;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::key::{PrivateKey, PublicKey, Signer};

/// Longest request read, in bytes.
const LONGEST: usize = 8192;
/// The algorithm identifier `ecdsa-with-SHA256` without parameters (RFC 5758, section 3.2).
const ECDSA_SHA256: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// Why a certificate request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// The key is not on P-256.
    #[error("the key of the certificate request is not a P-256 key")]
    Key,
    /// Not a PKCS#10 request in DER, or bytes follow it.
    #[error("this is not a certificate request in DER")]
    Malformed,
    /// The request is not signed by the key that it carries.
    #[error("the certificate request is not signed with its own key")]
    Signature,
}

/// The public key of a PKCS#10 request (RFC 2986) whose signature proves possession of the private one.
///
/// # Errors
/// When the request is malformed, its key is not a P-256 key, or its signature does not hold.
pub fn parse(der: &[u8]) -> Result<PublicKey, CsrError> {
    if der.len() > LONGEST {
        return Err(CsrError::Malformed);
    }
    let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
    if !rest.is_empty() {
        return Err(CsrError::Malformed);
    }
    let asked = &request.certification_request_info;
    let key = PublicKey::from_spki(asked.subject_pki.raw).map_err(|_| CsrError::Key)?;
    if !key.verifies(asked.raw, &request.signature_value.data) {
        return Err(CsrError::Signature);
    }
    // The signature does not cover the wrapping around it, and the parser is generous there.
    if wrapped(asked.raw, &request.signature_value.data) != der {
        return Err(CsrError::Malformed);
    }
    Ok(key)
}

/// The one encoding of a signed request.
fn wrapped(signed: &[u8], signature: &[u8]) -> Vec<u8> {
    let signature = tagged(0x03, &[&[0], signature].concat());
    tagged(0x30, &[signed, &ECDSA_SHA256, &signature].concat())
}

/// Tag, length and content in DER (X.690, section 10.1).
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let bytes = content.len().to_be_bytes();
    let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    let head = match significant {
        [] => vec![tag, 0],
        [short @ 0..0x80] => vec![tag, *short],
        long => [&[tag, 0x80 | u8::try_from(long.len()).unwrap_or(0)], long].concat(),
    };
    [&head, content].concat()
}

/// A request for a key, in DER. It names nobody.
pub fn request(key: &PrivateKey) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let request = params.serialize_request(&Signer(key));
    request.expect("a request without names has an encoding").der().to_vec()
}

#[cfg(test)]
mod tests;
