//! `davit-bench recover`: how long runs are without an executor when it dies, and that nothing is lost.
//!
//! ```text
//!  N runs, each printing 0, 1, 2, … ──► kill -9 of the executor, and its successor at once
//!     ──► its API lists all of them as running ──► SIGTERM to each: it prints how many numbers it printed
//!     ──► the log must hold exactly these
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use davit_rpc::local::{Run, StopRequest};
use tokio::task::JoinSet;

use crate::clock::Instant;
use crate::davit::Davit;
use crate::peers::Peer;
use crate::sample::{Quantity, Sample};
use crate::session::{self, Bench, Options, say};
use crate::stage::{SharedExecutor, Stage};
use crate::target::{Bound, Target};

const ADOPTED: Quantity = Quantity {
    name: "recover",
    unit: "ms",
    spans: "from right before the dead executor's successor was started (its program start included) until \
            its API listed every run as running",
};

const LOST_LINES: Quantity = Quantity {
    name: "lost_lines",
    unit: "1",
    spans: "lines that jobs wrote before, during and after, and that are not in their logs",
};

const BENCH: Bench<'_> = Bench {
    peers: &["davit"],
    quantities: &[ADOPTED, LOST_LINES],
    targets: &[
        Target::Own(ADOPTED, Bound::AtMost(1_000.0)),
        Target::Own(LOST_LINES, Bound::AtMost(0.0)),
    ],
    rounds: 3,
    warm_up_rounds: 0,
};

/// Each job prints so often: five hundred of them must not fill the machine.
const LINE_INTERVAL_MS: &str = "500";
/// Lines are written for so long under the successor alone.
const AFTERWARDS: Duration = Duration::from_secs(3);
const ADOPTED_SECONDS_MAX: u64 = 120;
const LOOK_AGAIN_MS: u64 = 2;
/// Starting and stopping hundreds of runs.
const MANY_SECONDS_MAX: u64 = 300;
const STOPS_AT_ONCE: usize = 8;
const GRACE_MS: u64 = 60_000;

/// `davit-bench recover …`
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Live runs.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=900))]
    runs: u32,
}

/// Measures and reports.
///
/// # Errors
/// When davit fails.
pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    session::measure(&arguments.options, &BENCH, |name, stage| match name {
        "davit" => {
            let restart = Restart::prepare(stage, arguments.runs)?;
            Ok(vec![Box::new(restart)])
        }
        _ => bail!("there is no peer {name}"),
    })
}

struct Restart {
    executor: SharedExecutor,
    davit: Davit,
    runs: u32,
}

impl Restart {
    fn prepare(stage: &mut Stage, runs: u32) -> anyhow::Result<Self> {
        let davit = stage.davit()?;
        Ok(Self {
            executor: stage.executor()?,
            davit,
            runs,
        })
    }

    fn start_all(&self) -> anyhow::Result<Vec<Run>> {
        say(&format!("starting {} runs", self.runs))?;
        (0..self.runs)
            .map(|_| self.davit.start_and_see(&["count", LINE_INTERVAL_MS]))
            .collect()
    }

    /// When all of them were listed as running by the executor that has just been started.
    fn wait_until_adopted(&self, runs: &[Run]) -> anyhow::Result<Instant> {
        let begun = std::time::Instant::now();
        let mut last = String::from("it does not answer");
        while begun.elapsed() < Duration::from_secs(ADOPTED_SECONDS_MAX) {
            match self.davit.list() {
                Ok(listed) => {
                    let now = Instant::now();
                    let running: BTreeSet<&str> = listed
                        .iter()
                        .filter(|run| run.status == "running")
                        .map(|run| run.id.as_str())
                        .collect();
                    if runs.iter().all(|run| running.contains(run.id.as_str())) {
                        return Ok(now);
                    }
                    last = format!("{} are listed as running", running.len());
                }
                Err(error) => last = format!("{error:#}"),
            }
            std::thread::sleep(Duration::from_millis(LOOK_AGAIN_MS));
        }
        bail!("not all runs are back after {ADOPTED_SECONDS_MAX} s: {last}")
    }

    /// Asks every job to say how many lines it wrote, and to end.
    fn stop_all(&self, runs: &[Run]) -> anyhow::Result<()> {
        let limit = Duration::from_secs(MANY_SECONDS_MAX);
        let mut waiting: Vec<String> = runs.iter().map(|run| run.id.clone()).collect();
        self.davit.block_on(limit, async {
            let mut stops = JoinSet::new();
            while !(waiting.is_empty() && stops.is_empty()) {
                while stops.len() < STOPS_AT_ONCE
                    && let Some(run) = waiting.pop()
                {
                    let mut client = self.davit.runs();
                    let request = StopRequest {
                        run,
                        signal: Some("SIGTERM".to_owned()),
                        grace_ms: Some(GRACE_MS),
                    };
                    stops.spawn(async move { client.stop(request).await });
                }
                if let Some(stopped) = stops.join_next().await {
                    stopped.context("a stop broke")?.context("stop a run")?;
                }
            }
            Ok(())
        })
    }
}

impl Peer for Restart {
    fn name(&self) -> &'static str {
        "davit"
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        let runs = self.start_all()?;
        self.executor.borrow_mut().kill()?;
        let started = Instant::now();
        self.executor.borrow_mut().start_again()?;
        let adopted = self
            .wait_until_adopted(&runs)?
            .milliseconds_since(started)?;
        std::thread::sleep(AFTERWARDS);
        self.stop_all(&runs)?;
        self.davit.wait_until_all_cleaned(&runs)?;
        let mut lost = 0;
        for run in &runs {
            let ended = self.davit.run_named(&run.id)?;
            ensure!(
                ended.exit_code == Some(0),
                "run {} ended with {:?}: {:?}",
                run.id,
                ended.exit_code,
                ended.message
            );
            let output = self.davit.stdout(&run.id)?;
            lost += lost_lines(&output).with_context(|| format!("the log of run {}", run.id))?;
            self.davit.remove(&run.id)?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a few thousand at most")]
        let lost = lost as f64;
        Ok(Sample::from([(ADOPTED, adopted), (LOST_LINES, lost)]))
    }
}

/// Numbers missing between the stamp and `end N`; lines doubled or out of order are an error.
fn lost_lines(output: &[u8]) -> anyhow::Result<u64> {
    let text = String::from_utf8_lossy(output);
    let mut lines: Vec<&str> = text.lines().skip(1).collect();
    let end = lines.pop().and_then(|line| line.strip_prefix("end "));
    let written: u64 = end
        .context("it does not end with how many lines were written")?
        .parse()?;
    let mut next = 0;
    let mut found = 0;
    for line in lines {
        let number: u64 = line.parse().with_context(|| format!("line {line:?}"))?;
        ensure!(
            (next..written).contains(&number),
            "line {number} where {next} was next, of {written}"
        );
        next = number + 1;
        found += 1;
    }
    Ok(written - found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_lines_are_counted_wherever_they_are() {
        for (output, lost) in [
            ("7\n0\n1\n2\nend 3\n", 0),
            ("7\n0\n2\nend 3\n", 1),
            ("7\nend 3\n", 3),
            ("7\n0\n1\nend 3\n", 1),
        ] {
            assert_eq!(lost_lines(output.as_bytes()).unwrap(), lost, "{output}");
        }
    }

    #[test]
    fn a_log_that_is_not_the_jobs_is_an_error() {
        for output in [
            "",
            "7\n0\n1\n",
            "7\n1\n0\nend 2\n",
            "7\n0\n0\nend 2\n",
            "7\n3\nend 2\n",
        ] {
            assert!(lost_lines(output.as_bytes()).is_err(), "{output}");
        }
    }
}
