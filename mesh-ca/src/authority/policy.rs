//! How long things live. Pure numbers.

use std::time::Duration;

use super::AuthorityError;

const HOUR: Duration = Duration::from_secs(3600);

const MAX_ROOT_TTL: Duration = Duration::from_secs(3600 * 24 * 36_525);

/// Lifetimes of the three levels, and how rotation overlaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Longest life of a leaf. A request may ask for less.
    pub leaf_ttl: Duration,
    /// Life of an issuer; at half of it the next one takes over. At least four times `leaf_ttl`.
    pub issuer_ttl: Duration,
    /// Life of a root; at half of it the next one is announced. At least four times `issuer_ttl`.
    pub root_ttl: Duration,
    /// How far `notBefore` lies in the past, for peers whose clock is behind.
    pub backdate: Duration,
    /// How long a new root is trusted before it signs. With the default, `leaf_ttl`, every holder of a valid
    /// leaf has renewed, and fetched the new root with it. At most a quarter of `root_ttl`.
    pub trust_delay: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            leaf_ttl: 12 * HOUR,
            issuer_ttl: 24 * 30 * HOUR,
            root_ttl: 24 * 3650 * HOUR,
            backdate: Duration::from_secs(300),
            trust_delay: 12 * HOUR,
        }
    }
}

impl Policy {
    /// Leaves and roots of these lives; an issuer lives a quarter of its root's life, but 30 days at most. Whether they
    /// make sense beside each other is found when an authority is opened.
    pub fn of(leaf_ttl: Duration, root_ttl: Duration) -> Self {
        let usual = Self::default();
        let issuer_ttl = usual.issuer_ttl.min(root_ttl / 4);
        Self { leaf_ttl, issuer_ttl, root_ttl, trust_delay: leaf_ttl, ..usual }
    }

    /// The shortest lives that a leaf of this life allows.
    pub fn scaled(leaf_ttl: Duration) -> Self {
        Self::of(leaf_ttl, leaf_ttl * 16)
    }

    pub(super) fn check(&self) -> Result<(), AuthorityError> {
        let refuse = |text| Err(AuthorityError::Policy(text));
        if self.leaf_ttl < Duration::from_secs(1) {
            return refuse("leaf_ttl is under one second");
        }
        if self.issuer_ttl < self.leaf_ttl.saturating_mul(4) {
            return refuse(
                "issuer_ttl is under four times leaf_ttl: a root must live 16 times as long as a leaf",
            );
        }
        if self.root_ttl < self.issuer_ttl.saturating_mul(4) {
            return refuse("root_ttl is under four times issuer_ttl");
        }
        if self.root_ttl > MAX_ROOT_TTL || self.backdate > HOUR {
            return refuse("root_ttl is over 100 years or backdate over an hour");
        }
        if self.trust_delay > self.root_ttl / 4 {
            return refuse("trust_delay is over a quarter of root_ttl");
        }
        Ok(())
    }
}
