//! Randomness from the operating system, and a small generator for choices that need no secrecy.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Has the source of [`secure`] made ready by a thread of its own. It gathers entropy once in a process, which takes
/// longer than all else that a start needs; who wants bytes before it is done waits for it.
pub fn prepare() {
    // Without a thread the first who wants bytes makes it ready.
    let _ = std::thread::Builder::new().name("entropy".to_owned()).spawn(secure::<1>);
}

/// Bytes fit for keys and serial numbers.
pub fn secure<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system's random source answers");
    bytes
}

/// A small, fast, seedable generator (xorshift64*). Not for secrets.
#[derive(Debug, Clone)]
pub struct Fast(u64);

impl Fast {
    /// A generator with a seed from the operating system, which does not wait for the source of [`secure`].
    pub fn from_entropy() -> Self {
        Self::seeded(RandomState::new().hash_one(0))
    }

    /// A generator whose sequence is fixed by the seed.
    pub fn seeded(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A duration spread evenly over `[base * (1 - spread), base * (1 + spread)]`.
    pub fn jitter(&mut self, base: Duration, spread: f64) -> Duration {
        let unit = self.next_u64() as f64 / u64::MAX as f64;
        base.mul_f64((1.0 + spread * (2.0 * unit - 1.0)).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generators_of_one_process_differ() {
        let first: Vec<u64> = (0..8).map(|_| Fast::from_entropy().next_u64()).collect();
        assert!((1..8).all(|at| !first[..at].contains(&first[at])), "{first:?}");
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let mut fast = Fast::seeded(7);
        let mut seen = [false; 5];
        (0..500).for_each(|_| seen[usize::try_from(fast.below(5)).expect("below 5")] = true);
        assert_eq!((seen, fast.below(0)), ([true; 5], 0));
    }
}
