//! The SPIFFE profile of X.509 certificates: what we issue, and what we accept. No keys kept, no IO, no clock.
//!
//! The rules are those of the X.509-SVID standard, sections 2 to 5, with the choices that it leaves open made
//! strictly: they come on top of path verification, which knows nothing of SPIFFE.

mod accept;
mod issue;

pub use accept::{Leaf, ProfileError, Purpose, Signing, parse_svid_id};
pub(crate) use issue::{SignError, Validity, sign_issuer, sign_leaf, sign_root, sign_server};
