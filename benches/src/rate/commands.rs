//! So many commands at a time, each run attached and checked for exit code and the payload's stamp.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::meter::{Daemons, Meter};
use super::{Batch, is_over};
use crate::clock;
use crate::command;
use crate::session::say;

/// Share of launches whose output a command may lose although it exits 0, in thousandths. They are told
/// and not counted as runs; more is a failure.
const LOST_OUTPUTS_MAX_PER_MILLE: usize = 50;

/// What one worker did.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    runs: usize,
    lost_outputs: usize,
}

/// Workers run `launch(worker, number)` over and over until `window` is over, and then wait for the last.
pub(super) fn run(
    concurrency: u32,
    window: Duration,
    daemons: Daemons,
    launch: impl Fn(usize, u32) -> Command + Sync,
) -> anyhow::Result<Batch> {
    let meter = Meter::begin(daemons)?;
    let begun = meter.begun();
    let tallies: Vec<anyhow::Result<Tally>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..concurrency as usize)
            .map(|worker| {
                let launch = &launch;
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    for number in 0.. {
                        if is_over(begun, window) {
                            break;
                        }
                        tally.add(&command::output(&mut launch(worker, number))?)?;
                    }
                    Ok(tally)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .map_err(|_| anyhow::anyhow!("a worker panicked"))?
            })
            .collect()
    });
    let mut all = Tally::default();
    for tally in tallies {
        let Tally { runs, lost_outputs } = tally?;
        all.runs += runs;
        all.lost_outputs += lost_outputs;
    }
    let batch = meter.end(all.runs)?;
    all.check()?;
    Ok(batch)
}

impl Tally {
    fn add(&mut self, output: &[u8]) -> anyhow::Result<()> {
        if output.is_empty() {
            self.lost_outputs += 1;
        } else {
            clock::Instant::printed(output)?;
            self.runs += 1;
        }
        Ok(())
    }

    fn check(self) -> anyhow::Result<()> {
        let Self { runs, lost_outputs } = self;
        let most = (runs * LOST_OUTPUTS_MAX_PER_MILLE).div_ceil(1_000);
        ensure!(
            lost_outputs <= most,
            "{lost_outputs} commands exited 0 without their container's output, {runs} with it"
        );
        if lost_outputs > 0 {
            say(&format!(
                "{lost_outputs} commands exited 0 without their container's output: not counted"
            ))
            .context("tell of lost outputs")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(100);

    #[test]
    fn every_worker_goes_on_until_the_time_is_over() {
        let batch = run(2, WINDOW, Daemons::default(), |_, _| {
            command::of("echo", &["5"])
        })
        .unwrap();
        assert!(batch.runs >= 2, "{batch:?}");
        assert!(batch.took >= WINDOW);
    }

    #[test]
    fn a_run_that_fails_or_says_something_else_fails_the_batch() {
        for words in [["false", ""], ["echo", "no stamp"]] {
            assert!(
                run(1, WINDOW, Daemons::default(), |_, _| command::of(
                    words[0],
                    &words[1..]
                ))
                .is_err()
            );
        }
    }

    #[test]
    fn a_lost_output_is_no_run_and_many_are_a_failure() {
        let mut tally = Tally::default();
        tally.add(b"").unwrap();
        assert_eq!(tally.runs, 0);
        assert!(tally.check().is_err());
        tally.runs = 20;
        tally.check().unwrap();
    }
}
