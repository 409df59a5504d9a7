//! What every sub-command does around its peers: the stage they run on, the rounds, the report.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};

use crate::davit::Davit;
use crate::davit::executor::Executor;
use crate::image;
use crate::peers::{Peer, ctr};
use crate::report::{Report, Rows, SUBJECT, Target};
use crate::runner::{self, Failure, Plan};
use crate::sample::Quantity;

/// What every sub-command is told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds counted; each runs every peer once.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Rounds run first and thrown away.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    warm_up: u32,
    /// Seed of the orders within rounds; by default another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Only these peers, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where to write the results as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Which commit is measured, for the report.
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// Where state and bundles go: a real disk, as on any host.
    #[arg(long, default_value = "/var/lib/davit")]
    scratch: PathBuf,
}

impl Options {
    /// Those of `all` to measure, in that order.
    ///
    /// # Errors
    /// When one was asked for that is not among `all`.
    pub(crate) fn choose(&self, all: &[&'static str]) -> anyhow::Result<Vec<&'static str>> {
        if let Some(wrong) = self.only.iter().find(|name| !all.contains(&name.as_str())) {
            anyhow::bail!("--only {wrong}: the peers are {}", all.join(", "));
        }
        let wanted =
            |name: &&str| self.only.is_empty() || self.only.iter().any(|only| only == name);
        Ok(all.iter().copied().filter(wanted).collect())
    }

    fn plan(&self) -> Plan {
        Plan {
            warm_up_rounds: self.warm_up,
            rounds: self.rounds,
            seed: self.seed.unwrap_or_else(seed_of_now),
        }
    }
}

/// Where the peers run: the image is in the registry, pulled and unpacked; an executor serves if one
/// of them needs it.
pub(crate) struct Stage {
    scratch: tempfile::TempDir,
    davit: Option<(Executor, Davit)>,
}

impl Stage {
    pub(crate) fn set(options: &Options) -> anyhow::Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "needs root: it starts containers"
        );
        let scratch = tempfile::Builder::new()
            .prefix("bench.")
            .tempdir_in(&options.scratch)
            .with_context(|| format!("make a directory in {}", options.scratch.display()))?;
        say(&format!("preparing the payload image {}", image::REFERENCE))?;
        image::push(scratch.path())?;
        ctr::pull()?;
        // What a build has just written would else reach the disk amid the fsyncs that are measured.
        rustix::fs::sync();
        Ok(Self {
            scratch,
            davit: None,
        })
    }

    /// A directory that ends with the stage.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// A client of the stage's executor, which is started by the first call, and the executor's socket.
    pub(crate) fn davit(&mut self) -> anyhow::Result<(Davit, PathBuf)> {
        if self.davit.is_none() {
            let executor = Executor::start(self.scratch.path())?;
            let davit = Davit::connect(executor.socket())?;
            davit.pull().with_context(|| executor.log_tail())?;
            self.davit = Some((executor, davit));
        }
        let (executor, davit) = self.davit.as_ref().context("started above")?;
        Ok((davit.clone(), executor.socket().to_owned()))
    }

    fn explain(&self, failure: Failure) -> anyhow::Error {
        let place = format!(
            "{} failed in round {}; no ratios",
            failure.peer, failure.round
        );
        let error = failure.error.context(place);
        match &self.davit {
            Some((executor, _)) if failure.peer.starts_with(SUBJECT) => error.context(format!(
                "the executor's log ends with:\n{}",
                executor.log_tail()
            )),
            _ => error,
        }
    }
}

/// Measures `peers` as `options` say and reports, with a verdict on each of `targets`.
///
/// # Errors
/// When anything at all failed; what was measured until then is shown, without ratios.
pub(crate) fn measure(
    options: &Options,
    stage: &Stage,
    peers: &mut [Box<dyn Peer>],
    targets: &[Target],
) -> anyhow::Result<()> {
    let plan = options.plan();
    let names: Vec<&str> = peers.iter().map(|peer| peer.name()).collect();
    say(&format!(
        "{} rounds of {} after {} for warming up, seed {}",
        plan.rounds,
        names.join(", "),
        plan.warm_up_rounds,
        plan.seed
    ))?;
    let outcome = runner::run(peers, plan);
    let mut rows = Rows::default();
    for quantity in Quantity::ALL {
        for peer in peers.iter() {
            if let Some(values) = outcome.values.get(&(quantity, peer.name())) {
                rows.add(quantity, peer.name(), values);
            }
        }
    }
    let report = Report::new(&options.commit, rows, outcome.failure.is_none())?;
    show(&report, targets)?;
    if let Some(failure) = outcome.failure {
        return Err(stage.explain(failure));
    }
    options
        .json
        .as_deref()
        .map_or(Ok(()), |file| report.write_json(file))
}

fn show(report: &Report, targets: &[Target]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", report.table()).context("print the table")?;
    for verdict in targets.iter().filter_map(|target| report.verdict(target)) {
        writeln!(out, "{verdict}").context("print the targets")?;
    }
    Ok(())
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

    fn chosen(arguments: &[&str]) -> anyhow::Result<Vec<&'static str>> {
        let line = std::iter::once(&"bench").chain(arguments);
        Line::parse_from(line)
            .options
            .choose(&["davit", "crun", "runc"])
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
}
