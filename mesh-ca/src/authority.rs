//! The issuing authority: a [`Hierarchy`] of roots and issuers behind a lock, with a clock and a store.
//!
//! [`Hierarchy`] is the sans-IO part: it decides which root is trusted and which issuer signs at a moment.
//! [`Authority`] is what the rest of a process holds: it saves every change before it takes effect and
//! publishes the roots.

mod hierarchy;
mod live;
mod policy;
mod stored;
mod tokens;

pub use hierarchy::{Hierarchy, Standing, Status, Step};
pub use live::{Authority, Issued};
pub use policy::Policy;

use std::time::SystemTime;

use mesh_model::{SpiffeId, TrustDomain};

use crate::jwt::JwtError;
use crate::profile::SignError;
use crate::store::StoreError;
use crate::svid::SvidError;

/// Why the authority did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The wall clock stands before the issuer's life.
    #[error("the clock shows a time before the issuer was made: set it right, nothing is issued until then")]
    ClockBeforeIssuer,
    /// The identity belongs to somebody else's trust domain.
    #[error("{id} is not in trust domain {trust_domain}, the only one issued here")]
    ForeignTrustDomain {
        /// What was asked for.
        id: SpiffeId,
        /// What is issued here.
        trust_domain: TrustDomain,
    },
    /// The issuer's life is over and no new one could be made.
    #[error("the issuer expired at {}", crate::text::utc(*.not_after))]
    IssuerExpired {
        /// When it expired.
        not_after: SystemTime,
    },
    /// A lifetime of the policy makes no sense beside another one.
    #[error("the policy is unusable: {0}")]
    Policy(&'static str),
    /// The root's life is over. Only a person can decide to trust another one.
    #[error(
        "the root of trust domain {trust_domain} expired at {}: rotate the root and distribute the new one",
        crate::text::utc(*.not_after)
    )]
    RootExpired {
        /// Whose root it was.
        trust_domain: TrustDomain,
        /// When it expired.
        not_after: SystemTime,
    },
    /// Another root rotation has not ended.
    #[error("a root rotation is under way; the old root is dropped when its last certificate has expired")]
    RotationInProgress,
    /// A certificate could not be signed.
    #[error("signing failed: {0}")]
    Sign(#[from] SignError),
    /// The state could not be loaded or saved.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored state cannot be used.
    #[error("the stored authority is unusable: {0}")]
    Stored(String),
    /// A signed certificate broke the profile.
    #[error(transparent)]
    Svid(#[from] SvidError),
    /// A token cannot be made as it was asked for.
    #[error("no token: {0}")]
    Token(#[from] JwtError),
}

#[cfg(test)]
mod tests;
