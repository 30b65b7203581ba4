//! JWT-SVIDs: short-lived tokens that name a workload towards an audience, signed and validated (SPIFFE JWT-SVID, sections
//! 2 to 4). Who may have one is decided elsewhere.
//!
//! Only ES256 is made and believed. Each root of the authority has a key for tokens beside its own (SPIFFE Trust Domain
//! and Bundle, section 2: one key for one kind of SVID); it is announced, signs and retires with its root.

mod keys;
mod token;

pub(crate) use keys::jwks;
pub use keys::{JwtKey, MAX_JWT_KEYS};
pub use token::{Claims, JwtError, LONGEST_TOKEN, MAX_AUDIENCES, Token, validate};
pub(crate) use token::{checked_audience, mint};
