//! Pauses between attempts to connect.

use std::time::Duration;

use mesh_rt::random::Fast;

/// Doubling pauses with jitter between two limits.
#[derive(Debug)]
pub(super) struct Backoff {
    shortest: Duration,
    longest: Duration,
    nominal: Duration,
    random: Fast,
}

impl Backoff {
    pub(super) fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, nominal: shortest, random: Fast::from_entropy() }
    }

    /// The next pause, longer on average than the last.
    pub(super) fn next(&mut self) -> Duration {
        let least = self.nominal.min(self.longest / 2);
        self.nominal = (self.nominal * 2).min(self.longest);
        self.random.jitter(least.mul_f64(1.5), 1.0 / 3.0) // between once and twice the least
    }

    /// The server answers again: the next pause is short.
    pub(super) fn reset(&mut self) {
        self.nominal = self.shortest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_differ_between_clients() {
        let limits = (Duration::from_millis(50), Duration::from_secs(5));
        let mut backoff = Backoff::new(limits.0, limits.1);
        let pauses: Vec<Duration> = (0..50).map(|_| backoff.next()).collect();
        assert!(
            pauses.iter().all(|pause| (limits.0 * 99 / 100..=limits.1 * 101 / 100).contains(pause)),
            "{pauses:?}"
        );
        assert!(pauses[0] <= Duration::from_millis(101));
        assert!(pauses[8..].iter().all(|pause| *pause >= Duration::from_millis(2490)), "{pauses:?}");
        assert!(pauses[8..].windows(2).any(|pair| pair[0] != pair[1]), "no jitter");
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(101));
    }
}
