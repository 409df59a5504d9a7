//! The order of peers within a round: shuffled from a seed, so that no peer always runs after the same
//! neighbour, and yet a run can be repeated.

/// A source of orders (SplitMix64: good enough to shuffle a handful of peers).
#[derive(Clone, Debug)]
pub(crate) struct Shuffle {
    state: u64,
}

impl Shuffle {
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// 0…`n` − 1 in the next order (Fisher–Yates).
    pub(crate) fn next_order(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }

    fn below(&mut self, bound: usize) -> usize {
        // The bias of the remainder is below 2^-60 for the few peers there are.
        #[expect(clippy::cast_possible_truncation, reason = "smaller than `bound`")]
        let value = (self.next_word() % bound as u64) as usize;
        value
    }

    const fn next_word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_is_a_permutation_and_all_occur() {
        let mut shuffle = Shuffle::seeded(1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let order = shuffle.next_order(3);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2]);
            seen.insert(order);
        }
        assert_eq!(seen.len(), 6);
    }

    #[test]
    fn a_seed_repeats_its_orders() {
        let orders = |seed| {
            let mut shuffle = Shuffle::seeded(seed);
            (0..10).map(|_| shuffle.next_order(5)).collect::<Vec<_>>()
        };
        assert_eq!(orders(42), orders(42));
        assert_ne!(orders(42), orders(43));
    }
}
