//! Runs all peers in rounds: each once a round, in an order that changes from round to round, so that
//! drift of the machine meets all of them alike. Every turn begins on a quiet machine, if it becomes
//! quiet: nobody pays for what another left to do in the background.
//!
//! A failure ends the run, or with [`Plan::drop_failing`] it drops that peer with all its figures.
//! davit's own failures always end it.

use std::collections::BTreeMap;

use crate::order::Shuffle;
use crate::peers::Peer;
use crate::quiet;
use crate::report::SUBJECT;
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
    /// Go on without a peer that failed.
    pub(crate) drop_failing: bool,
}

/// All measurements of one run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Values by quantity and peer.
    pub(crate) values: BTreeMap<(Quantity, &'static str), Vec<f64>>,
    /// Peers that failed; the last one ended the run unless failing peers are dropped.
    pub(crate) failures: Vec<Failure>,
    /// Turns in all, and those of them that began while the machine was busy with something else.
    pub(crate) turns: u32,
    /// See `turns`.
    pub(crate) busy_turns: u32,
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
            if outcome.has_dropped(peer.name()) {
                continue;
            }
            outcome.turns += 1;
            outcome.busy_turns += u32::from(!quiet::wait());
            match peer.measure_once() {
                Ok(sample) if round > plan.warm_up_rounds => {
                    for (quantity, value) in sample {
                        let values = outcome.values.entry((quantity, peer.name())).or_default();
                        values.push(value);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    let peer = peer.name();
                    outcome.drop_peer(Failure { peer, round, error });
                    if peer.starts_with(SUBJECT) || !plan.drop_failing {
                        return outcome;
                    }
                }
            }
        }
    }
    outcome
}

impl Outcome {
    fn has_dropped(&self, peer: &str) -> bool {
        self.failures.iter().any(|failure| failure.peer == peer)
    }

    /// A peer that failed once has no figures: they would be of other rounds than the others'.
    fn drop_peer(&mut self, failure: Failure) {
        self.values.retain(|(_, peer), _| *peer != failure.peer);
        self.failures.push(failure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    const COUNT: Quantity = Quantity {
        name: "count",
        unit: "1",
        spans: "launches so far",
    };

    /// Counts its launches; fails at the given one.
    struct Counting(&'static str, u32, Option<u32>);

    impl Peer for Counting {
        fn name(&self) -> &'static str {
            self.0
        }

        fn measure_once(&mut self) -> anyhow::Result<Sample> {
            self.1 += 1;
            anyhow::ensure!(self.2 != Some(self.1), "broken");
            Ok(Sample::from([(COUNT, f64::from(self.1))]))
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
        drop_failing: false,
    };

    #[test]
    fn warm_up_is_thrown_away_and_every_peer_runs_once_a_round() {
        let outcome = run(&mut two(None), PLAN);
        for peer in ["a", "b"] {
            assert_eq!(outcome.values[&(COUNT, peer)], [3.0, 4.0, 5.0]);
        }
        assert!(outcome.failures.is_empty());
        assert_eq!(outcome.turns, 10);
    }

    #[test]
    fn a_failure_ends_the_run_and_takes_the_peers_figures_along() {
        let outcome = run(&mut two(Some(4)), PLAN);
        let failure = &outcome.failures[0];
        assert_eq!((failure.peer, failure.round), ("b", 4));
        assert_eq!(failure.error.to_string(), "broken");
        assert!(!outcome.values.contains_key(&(COUNT, "b")));
        assert!(outcome.values[&(COUNT, "a")].len() < 3);
    }

    #[test]
    fn a_failing_peer_can_be_dropped_but_not_the_subject() {
        let plan = Plan {
            drop_failing: true,
            ..PLAN
        };
        let outcome = run(&mut two(Some(1)), plan);
        assert_eq!(outcome.values[&(COUNT, "a")], [3.0, 4.0, 5.0]);
        assert_eq!((outcome.failures.len(), outcome.turns), (1, 6));
        let mut subject: Vec<Box<dyn Peer>> = vec![Box::new(Counting(SUBJECT, 0, Some(1)))];
        assert_eq!(run(&mut subject, plan).turns, 1);
    }
}
