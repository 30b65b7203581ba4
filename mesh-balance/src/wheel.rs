//! Smooth weighted round robin: shares are exact over every full turn and as even as possible within it.

/// A wheel of weights.
#[derive(Debug, Clone)]
pub struct Wheel {
    weights: Vec<i64>,
    current: Vec<i64>,
    total: i64,
}

impl Wheel {
    /// A wheel of these weights. `start` sets where in its turn it begins, so that many workers do not all
    /// begin with the same backend.
    pub fn new(weights: impl IntoIterator<Item = u32>, start: u64) -> Self {
        let weights: Vec<i64> = weights.into_iter().map(i64::from).collect();
        let total = weights.iter().sum();
        let mut wheel = Self { current: vec![0; weights.len()], weights, total };
        for _ in 0..start % (weights_len(&wheel) * 2 + 1) {
            wheel.turn();
        }
        wheel
    }

    /// The place of the next choice; `None` when all weights are zero.
    pub fn turn(&mut self) -> Option<usize> {
        if self.total <= 0 {
            return None;
        }
        let mut best: Option<usize> = None;
        for at in 0..self.weights.len() {
            self.current[at] += self.weights[at];
            if self.weights[at] > 0 && best.is_none_or(|b| self.current[at] > self.current[b]) {
                best = Some(at);
            }
        }
        let chosen = best?;
        self.current[chosen] -= self.total;
        Some(chosen)
    }
}

fn weights_len(wheel: &Wheel) -> u64 {
    wheel.weights.len() as u64
}

#[cfg(test)]
mod tests {
    use super::Wheel;

    #[test]
    fn every_full_turn_has_exact_shares_and_zero_gets_nothing() {
        for start in [0, 1, 7, 1 << 40] {
            let mut wheel = Wheel::new([90, 10, 0], start);
            let mut seen = [0; 3];
            (0..100).for_each(|_| seen[wheel.turn().expect("weights are not all zero")] += 1);
            assert_eq!(seen, [90, 10, 0]);
        }
    }

    #[test]
    fn the_largest_weights_do_not_overflow() {
        let mut wheel = Wheel::new([u32::MAX; 16], 3);
        let mut seen = [0; 16];
        (0..160).for_each(|_| seen[wheel.turn().expect("weights are not all zero")] += 1);
        assert_eq!(seen, [10; 16]);
    }

    #[test]
    fn no_weight_means_no_choice() {
        assert_eq!(Wheel::new([0, 0], 5).turn(), None);
        assert_eq!(Wheel::new([], 5).turn(), None);
    }
}
