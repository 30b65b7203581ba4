//! One token: 36 bytes, which are 48 characters of text. Nothing here knows cookies or headers.

use std::fmt;
use std::net::SocketAddr;

use aws_lc_rs::{constant_time, hmac};
use mesh_model::{ObjectName, SessionKey};

/// Bytes of the moment, of the endpoint's name, and of the seal.
const BEGAN: usize = 6;
const ID: usize = 14;
const SEAL: usize = 16;
const BYTES: usize = BEGAN + ID + SEAL;
/// Characters of a token as text. A token is a whole number of groups of three bytes, so that nothing is padded.
pub(super) const CHARS: usize = BYTES / 3 * 4;

/// The alphabet of URLs (RFC 4648, section 5).
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The name of an endpoint in tokens of one backend under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct EndpointId([u8; ID]);

/// A token as it came: whether it is whole only a [`Sealing`] can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed([u8; BYTES]);

/// Makes and checks tokens under one key.
#[derive(Clone)]
pub(super) struct Sealing(hmac::Key);

impl Sealing {
    pub(super) fn new(key: &SessionKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    /// The name of an endpoint. Its workload is part of it: an address may go to another one.
    pub(super) fn endpoint(
        &self,
        backend: (&ObjectName, u16),
        (address, workload): (SocketAddr, &str),
    ) -> EndpointId {
        let address = address.to_string();
        let tag = self.tag("endpoint", backend, &[address.as_bytes(), workload.as_bytes()]);
        EndpointId(head(tag.as_ref()))
    }

    pub(super) fn seal(&self, backend: (&ObjectName, u16), endpoint: EndpointId, began: u64) -> Sealed {
        let mut bytes = [0; BYTES];
        bytes[..BEGAN].copy_from_slice(&began.to_be_bytes()[8 - BEGAN..]);
        bytes[BEGAN..BEGAN + ID].copy_from_slice(&endpoint.0);
        let tag = self.tag("session", backend, &[&bytes[..BEGAN + ID]]);
        bytes[BEGAN + ID..].copy_from_slice(&tag.as_ref()[..SEAL]);
        Sealed(bytes)
    }

    /// Whether this key made the token, for this backend.
    pub(super) fn is_whole(&self, token: &Sealed, backend: (&ObjectName, u16)) -> bool {
        let tag = self.tag("session", backend, &[&token.0[..BEGAN + ID]]);
        constant_time::verify_slices_are_equal(&tag.as_ref()[..SEAL], &token.0[BEGAN + ID..]).is_ok()
    }

    /// Every part goes in with its length: no two lists of parts are the same bytes.
    fn tag(&self, purpose: &str, (service, port): (&ObjectName, u16), parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        let port = port.to_be_bytes();
        let place = [purpose.as_bytes(), service.namespace.as_bytes(), service.name.as_bytes(), &port];
        for part in place.iter().chain(parts) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign()
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealing(redacted)")
    }
}

fn head<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut head = [0; N];
    head.copy_from_slice(&bytes[..N]);
    head
}

impl Sealed {
    /// When the session began, in milliseconds since 1970.
    pub(super) fn began(&self) -> u64 {
        let [a, b, c, d, e, f]: [u8; BEGAN] = head(&self.0);
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    pub(super) fn endpoint(&self) -> EndpointId {
        EndpointId(head(&self.0[BEGAN..]))
    }

    /// The token in this text, if it has a token's shape.
    pub(super) fn from_text(text: &[u8]) -> Option<Self> {
        if text.len() != CHARS {
            return None;
        }
        let mut bytes = [0; BYTES];
        for (group, three) in text.chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
            let mut word = 0u32;
            for digit in group {
                word = word << 6 | value(*digit)?;
            }
            three.copy_from_slice(&word.to_be_bytes()[1..]);
        }
        Some(Self(bytes))
    }

    /// Appends the token as text.
    pub(super) fn write(&self, out: &mut String) {
        for three in self.0.chunks_exact(3) {
            let word = three.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
            for at in (0..4).rev() {
                out.push(char::from(DIGITS[(word >> (6 * at)) as usize & 63]));
            }
        }
    }
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}
