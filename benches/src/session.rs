//! What every sub-command does around its peers: the options, the rounds, the report.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};

use crate::peers::Peer;
use crate::report::{Report, Rows, SUBJECT};
use crate::runner::{self, Outcome, Plan};
use crate::sample::Quantity;
use crate::stage::Stage;
use crate::target::Target;

/// What every sub-command is told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds counted; each runs every peer once.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: Option<u32>,
    /// Rounds run first and thrown away.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    warm_up: Option<u32>,
    /// Seed of the orders within rounds; by default another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Only these peers, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Go on without a peer that is missing or fails; it is named either way.
    #[arg(long)]
    allow_missing: bool,
    /// Where to write the results as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Which commit is measured, for the report.
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// Where state and bundles go: a real disk, as on any host.
    #[arg(long, default_value = "/var/lib/davit")]
    pub(crate) scratch: PathBuf,
}

/// A sub-command's own part.
pub(crate) struct Bench<'a> {
    /// All peers, in the order of the report.
    pub(crate) peers: &'a [&'static str],
    /// All quantities, in the order of the report.
    pub(crate) quantities: &'a [Quantity],
    /// What davit promises.
    pub(crate) targets: &'a [Target],
    /// Rounds counted, unless the user says otherwise.
    pub(crate) rounds: u32,
    /// Rounds thrown away, unless the user says otherwise.
    pub(crate) warm_up_rounds: u32,
}

impl Options {
    /// Those of `all` to measure, in that order.
    ///
    /// # Errors
    /// When one was asked for that is not among `all`.
    fn choose(&self, all: &[&'static str]) -> anyhow::Result<Vec<&'static str>> {
        if let Some(wrong) = self.only.iter().find(|name| !all.contains(&name.as_str())) {
            bail!("--only {wrong}: the peers are {}", all.join(", "));
        }
        let wanted =
            |name: &&str| self.only.is_empty() || self.only.iter().any(|only| only == name);
        Ok(all.iter().copied().filter(wanted).collect())
    }

    fn plan(&self, bench: &Bench<'_>) -> Plan {
        Plan {
            warm_up_rounds: self.warm_up.unwrap_or(bench.warm_up_rounds),
            rounds: self.rounds.unwrap_or(bench.rounds),
            seed: self.seed.unwrap_or_else(seed_of_now),
            drop_failing: self.allow_missing,
        }
    }
}

/// Peers that could be prepared, and why the others could not.
#[derive(Default)]
struct Present {
    peers: Vec<Box<dyn Peer>>,
    absent: Vec<String>,
}

/// Prepares the peers, measures them as `options` say, and reports. A name may stand for several peers
/// of that name, each with quantities of its own.
///
/// # Errors
/// When davit fails, or a peer that may not be missing; what was measured until then is shown, without
/// ratios.
pub(crate) fn measure(
    options: &Options,
    bench: &Bench<'_>,
    prepare: impl Fn(&'static str, &mut Stage) -> anyhow::Result<Vec<Box<dyn Peer>>>,
) -> anyhow::Result<()> {
    let names = options.choose(bench.peers)?;
    let mut stage = Stage::set(&options.scratch)?;
    let mut present = Present::default();
    for name in &names {
        match prepare(name, &mut stage) {
            Ok(peers) => present.peers.extend(peers),
            Err(error) if name.starts_with(SUBJECT) => {
                return Err(error.context(format!("prepare {name}")));
            }
            Err(error) => present.absent.push(format!("{name} is absent: {error:#}")),
        }
    }
    if !present.absent.is_empty() && !options.allow_missing {
        bail!(
            "{}\n(--allow-missing measures without)",
            present.absent.join("\n")
        );
    }
    let plan = options.plan(bench);
    say(&format!(
        "{} rounds of {} after {} for warming up, seed {}",
        plan.rounds,
        names.join(", "),
        plan.warm_up_rounds,
        plan.seed
    ))?;
    let outcome = runner::run(&mut present.peers, plan);
    report(options, bench, &names, present.absent, outcome, &stage)
}

fn report(
    options: &Options,
    bench: &Bench<'_>,
    names: &[&'static str],
    mut absent: Vec<String>,
    outcome: Outcome,
    stage: &Stage,
) -> anyhow::Result<()> {
    let mut rows = Rows::default();
    for quantity in bench.quantities {
        for name in names {
            if let Some(values) = outcome.values.get(&(*quantity, *name)) {
                rows.add(*quantity, name, values);
            }
        }
    }
    let mut fatal = None;
    for failure in outcome.failures {
        let place = format!("{} failed in round {}", failure.peer, failure.round);
        if failure.peer.starts_with(SUBJECT) || !options.allow_missing {
            let error = failure.error.context(format!("{place}; no ratios"));
            fatal = Some(stage.explain(failure.peer, error));
        } else {
            absent.push(format!("{place}, absent: {:#}", failure.error));
        }
    }
    let report = Report::new(&options.commit, rows, fatal.is_none())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", report.text(bench.targets)).context("print the report")?;
    for line in absent {
        writeln!(out, "{line}").context("print what is absent")?;
    }
    writeln!(
        out,
        "{} of {} turns began on a machine busy with something else",
        outcome.busy_turns, outcome.turns
    )
    .context("print how quiet it was")?;
    if let Some(error) = fatal {
        return Err(error);
    }
    options
        .json
        .as_deref()
        .map_or(Ok(()), |file| report.write_json(file))
}

/// Progress goes to stderr: stdout is the report.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stderr(), "[davit-bench] {text}").context("write to stderr")
}

fn seed_of_now() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    now.as_secs() ^ (u64::from(now.subsec_nanos()) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Options {
        let line = std::iter::once(&"bench").chain(arguments);
        Line::parse_from(line).options
    }

    fn chosen(arguments: &[&str]) -> anyhow::Result<Vec<&'static str>> {
        options(arguments).choose(&["davit", "crun", "runc"])
    }

    #[test]
    fn all_peers_are_measured_unless_some_are_named() {
        assert_eq!(chosen(&[]).unwrap(), ["davit", "crun", "runc"]);
        assert_eq!(
            chosen(&["--only", "runc,davit"]).unwrap(),
            ["davit", "runc"]
        );
    }

    #[test]
    fn a_mistyped_peer_is_an_error() {
        assert!(
            chosen(&["--only", "rnuc"])
                .unwrap_err()
                .to_string()
                .contains("rnuc")
        );
    }

    #[test]
    fn a_sub_commands_rounds_hold_unless_the_user_says_otherwise() {
        let bench = Bench {
            peers: &[],
            quantities: &[],
            targets: &[],
            rounds: 50,
            warm_up_rounds: 5,
        };
        let rounds = |arguments: &[&str]| {
            let plan = options(arguments).plan(&bench);
            (plan.warm_up_rounds, plan.rounds)
        };
        assert_eq!(rounds(&[]), (5, 50));
        assert_eq!(rounds(&["--rounds", "3", "--warm-up", "0"]), (0, 3));
    }
}
