//! Runs all peers in rounds: each once a round, in an order that changes from round to round, so that
//! drift of the machine meets all of them alike.
//!
//! The first failure ends the run: rounds with a peer missing would no longer be interleaved.

use std::collections::BTreeMap;

use crate::order::Shuffle;
use crate::peers::Peer;
use crate::sample::Quantity;

/// How long and in what order to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Rounds run first and thrown away.
    pub(crate) warm_up_rounds: u32,
    /// Rounds counted.
    pub(crate) rounds: u32,
    /// Of the orders.
    pub(crate) seed: u64,
}

/// All measurements of one run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Values by quantity and peer.
    pub(crate) values: BTreeMap<(Quantity, &'static str), Vec<f64>>,
    /// What ended the run early.
    pub(crate) failure: Option<Failure>,
}

/// A peer that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Which.
    pub(crate) peer: &'static str,
    /// In which round, warm-up included, from 1.
    pub(crate) round: u32,
    /// Why.
    pub(crate) error: anyhow::Error,
}

/// Measures `peers` as `plan` says.
pub(crate) fn run(peers: &mut [Box<dyn Peer>], plan: Plan) -> Outcome {
    let mut outcome = Outcome::default();
    let mut shuffle = Shuffle::seeded(plan.seed);
    for round in 1..=plan.warm_up_rounds + plan.rounds {
        for at in shuffle.next_order(peers.len()) {
            let peer = &mut peers[at];
            match peer.measure_once() {
                Ok(sample) if round > plan.warm_up_rounds => {
                    for (quantity, value) in sample {
                        let values = outcome.values.entry((quantity, peer.name())).or_default();
                        values.push(value);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    outcome.failure = Some(Failure {
                        peer: peer.name(),
                        round,
                        error,
                    });
                    return outcome;
                }
            }
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    /// Counts its launches; fails at the given one.
    struct Counting(&'static str, u32, Option<u32>);

    impl Peer for Counting {
        fn name(&self) -> &'static str {
            self.0
        }

        fn measure_once(&mut self) -> anyhow::Result<Sample> {
            self.1 += 1;
            anyhow::ensure!(self.2 != Some(self.1), "broken");
            Ok(Sample::from([(Quantity::Cleaned, f64::from(self.1))]))
        }
    }

    fn two(fails_at: Option<u32>) -> Vec<Box<dyn Peer>> {
        vec![
            Box::new(Counting("a", 0, None)),
            Box::new(Counting("b", 0, fails_at)),
        ]
    }

    const PLAN: Plan = Plan {
        warm_up_rounds: 2,
        rounds: 3,
        seed: 9,
    };

    #[test]
    fn warm_up_is_thrown_away_and_every_peer_runs_once_a_round() {
        let outcome = run(&mut two(None), PLAN);
        for peer in ["a", "b"] {
            assert_eq!(outcome.values[&(Quantity::Cleaned, peer)], [3.0, 4.0, 5.0]);
        }
        assert!(outcome.failure.is_none());
    }

    #[test]
    fn a_failure_ends_the_run_and_is_told() {
        let outcome = run(&mut two(Some(4)), PLAN);
        let failure = outcome.failure.unwrap();
        assert_eq!((failure.peer, failure.round), ("b", 4));
        assert_eq!(failure.error.to_string(), "broken");
        assert_eq!(outcome.values[&(Quantity::Cleaned, "b")], [3.0]);
    }
}
